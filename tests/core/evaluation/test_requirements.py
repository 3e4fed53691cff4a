import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrpl_cli.core.evaluation.requirements import SHARES, Requirement, check, judge, parse
from mlrpl_cli.core.io.errors import ConfigError

CLASSES = ("person", "a>=b", "x]<y", "dog  house")
NAN = float("nan")


@pytest.mark.parametrize(
    ("text", "figure", "sign", "bound"),
    [
        ("map>=0.6", "map", ">=", 0.6),
        (" map  > .5 ", "map", ">", 0.5),
        ("ap[a>=b]<=1e-2", "ap[a>=b]", "<=", 0.01),
        ("ap[x]<y] < 1", "ap[x]<y]", "<", 1.0),
        ("ap[dog  house]>=0", "ap[dog  house]", ">=", 0.0),
    ],
)
def test_a_requirement_is_a_figure_an_operator_and_a_share(text, figure, sign, bound):
    assert parse(text) == Requirement(text.strip(), figure, sign, bound)
    check([parse(text)], CLASSES)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("map", "expected a figure, one of >= <= > < and a number, got 'map'"),
        ("map=0.6", "expected a figure, one of"),
        ("map>=60", r"expected a share from 0 to 1 \(0.6, not 60\) in 'map>=60', got '60'"),
        ("map>=60%", "not 60.*got '60%'"),
        ("map>=-1", "not 60.*got '-1'"),
        ("map>=nan", "got 'nan'"),
        ("map>=", "got ''"),
        ("map>=1_0", "got '1_0'"),
        ("map>=٠", "got '٠'"),
    ],
)
def test_another_form_and_a_bound_that_is_no_share_are_refused(text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("mpa>=0.5", r"no figure is called 'mpa'; known: map, map_learnable, op, or, .*, ap\[CLASS\]"),
        ("=>0.5", "no figure is called '='"),
        (">0.5", "no figure is called ''"),
        ("cf1>=0.5", "known: .*cf1_of_means, cf1_mean_of_f1"),
        ("ap[persn]>=0.5", r"no figure is called 'ap\[persn\]'; did you mean 'ap\[person\]'\?"),
    ],
)
def test_a_figure_that_there_is_not_is_told_with_those_that_there_are(text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        check([parse(text)], CLASSES)


@pytest.mark.parametrize(("sign", "met"), [(">=", "≥"), ("<=", "≤"), (">", ">"), ("<", "<")])
def test_operators_mean_what_they_say_below_at_and_above_the_bound(sign, met):
    """By hand: which of 0.25, 0.5 and 0.75 pass a bound of 0.5."""
    expected = {"≥": [0, 1, 1], "≤": [1, 1, 0], ">": [0, 0, 1], "<": [1, 0, 0]}[met]
    figures = [judge([parse(f"map{sign}0.5")], {"map": value}, {})[0].met for value in (0.25, 0.5, 0.75)]
    assert figures == [bool(passes) for passes in expected]
    assert not judge([parse(f"map{sign}0.5")], {"map": NAN}, {})[0].met


def test_a_failed_requirement_is_told_in_digits_that_show_that_it_failed():
    told = [judge([parse("map>=0.6")], {"map": value}, {})[0].sentence for value in (0.53214, 0.5999999, NAN)]
    assert told == [
        "required map>=0.6, got 0.5321",
        "required map>=0.6, got 0.5999999",
        "required map>=0.6, got no figure: no class can be measured",
    ]
    (judged,) = judge([parse("ap[cat]>0.1")], {"ap[cat]": NAN}, {"ap[cat]": "no AP: without a positive"})
    assert (judged.sentence, math.isnan(judged.value)) == ("required ap[cat]>0.1, got no AP: without a positive", True)


@given(st.text(max_size=30), st.sampled_from([">=", "<=", ">", "<"]), st.floats(0, 1))
def test_any_class_can_be_required(name, sign, bound):
    text = f"ap[{name}]{sign}{bound}"
    requirement = parse(text)
    check([requirement], [name])
    assert (requirement.figure, requirement.operator, requirement.bound) == (f"ap[{name}]", sign, bound)


@given(st.text(alphabet=string.printable + "<>=٣∞é", max_size=40))
def test_any_text_is_a_requirement_or_refused_in_one_message(text):
    try:
        requirement = parse(text)
        check([requirement], [])
    except ConfigError:
        return
    assert requirement.figure in SHARES
    assert 0 <= requirement.bound <= 1
