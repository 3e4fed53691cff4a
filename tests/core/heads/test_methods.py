"""A method is what its entry says: no part of it, no option and no rate can be another method's."""

import dataclasses
from dataclasses import replace

import pytest
import torch

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.heads import methods, published_methods
from mlrpl_cli.core.heads.methods import OF_METHODS, Method, ParameterGroup, load_method, method_options
from mlrpl_cli.core.heads.registry import METHODS
from mlrpl_cli.core.io.errors import ConfigError
from tests.core.heads.test_recognizers import build, random_features

SARL = published_methods.SARL
ODD = "odd"


def enter(monkeypatch: pytest.MonkeyPatch, method: object) -> None:
    monkeypatch.setattr(published_methods, "ODD", method, raising=False)
    monkeypatch.setitem(METHODS, ODD, "mlrpl_cli.core.heads.published_methods:ODD")


def test_an_entry_that_names_nothing_is_an_error_and_not_another_method(monkeypatch):
    monkeypatch.setitem(METHODS, ODD, "mlrpl_cli.core.heads.published_methods:UNHEARD")
    with pytest.raises(ConfigError, match=r"method 'odd' of mlrpl cannot be loaded from '.*:UNHEARD': AttributeError"):
        build(ODD)


def test_an_entry_that_is_no_method_is_an_error(monkeypatch):
    enter(monkeypatch, published_methods.decoupled)
    with pytest.raises(ConfigError, match=r"method 'odd': expected a Method at '.*:ODD', got a function"):
        build(ODD)


@dataclasses.dataclass(frozen=True)
class Unchecked:
    width: int = 1


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"rebuild": "visual_heads:PooledHead"}, "its rebuild is no function"),
        ({"recognizer": None}, "its recognizer is no function"),
        ({"options": Unchecked}, "its options are no class of pydantic.dataclasses.dataclass"),
        ({"uses": ("widht",)}, "its uses has 'widht', none of context_tokens, "),
    ],
)
def test_a_part_that_cannot_be_one_is_told_when_the_method_is_made(part, told):
    with pytest.raises(ConfigError, match=told):
        replace(SARL, **part)


@pytest.mark.parametrize("name", OF_METHODS)
def test_to_read_an_option_that_is_not_declared_is_an_error(monkeypatch, name):
    def reading(inputs, channels, embed_dim):
        assert inputs.config.epochs == 20  # of every run
        return getattr(inputs.config, name)

    enter(monkeypatch, replace(SARL, recognizer=reading, uses=tuple(other for other in OF_METHODS if other != name)))
    with pytest.raises(ConfigError, match=f"method 'odd' reads {name}, which its uses lacks"):
        build(ODD)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_what_it_is_and_declares_what_it_reads(name):
    """Building and grouping would raise for an option that is read and not declared."""
    assert len(load_method(name).summary) > 10
    groups = methods.parameter_groups(build(name), TrainConfig(method=name, lr=0.1, context_lr=0.2, weight_decay=0.3))
    matrices = [group for group in groups if group.weight_decay]
    assert all(parameter.ndim == 2 for group in matrices for parameter in group.parameters)
    assert {group.lr for group in groups if all(each.ndim < 3 for each in group.parameters)} <= {0.1}


@pytest.mark.parametrize(("name", "relative"), [("sarl", False), ("dualcoop", False), ("sarl-warm", True)])
def test_contexts_that_start_as_words_learn_at_a_rate_relative_to_these(name, relative):
    trainable = build(name)
    groups = methods.parameter_groups(trainable, TrainConfig(method=name, lr=0.1, context_lr=0.2))
    (rate,) = [group.lr for group in groups if any(each.ndim == 3 for each in group.parameters)]
    words = torch.cat([each.detach().flatten() for each in trainable.text_head.contexts().values()])
    size = float(words.square().mean().sqrt())
    assert rate == pytest.approx(0.2 * size if relative else 0.2)


@pytest.mark.parametrize("count", [0, 2])
def test_a_parameter_that_no_group_or_two_groups_hold_is_an_error(monkeypatch, count):
    def groups(trainable, config):
        bias = trainable.recognizer.bias
        others = [parameter for parameter in trainable.learned().values() if parameter is not bias]
        return [ParameterGroup([*others, *[bias] * count], config.lr, 0.0)]

    enter(monkeypatch, replace(SARL, groups=groups))
    with pytest.raises(ConfigError, match=rf"in one group .* got recognizer.bias in {count}; correct its groups"):
        methods.parameter_groups(build(ODD), TrainConfig(method=ODD))


def test_the_options_of_a_method_are_its_own_with_their_ranges():
    assert method_options("sa", {}).attention_temperature == 0.05
    for name, given, told in (
        ("sarl", {"width": 3}, "method sarl has no options, got width; leave them out"),
        ("sa", {"width": 3}, "method sa: unknown option 'width'; known: attention_temperature"),
        (
            "sa",
            {"attention_temperature": 0},
            "^method sa: attention_temperature: expected a number from 0.001",
        ),
        ("sa", {"attention_temperature": True}, "expected a number from 0.001 to 100, got True"),
    ):
        with pytest.raises(ConfigError, match=told):
            method_options(name, given)


@torch.no_grad()
def test_the_temperature_of_fusion_sharpens_its_attention_and_is_kept_by_a_rebuilt_recognizer():
    cold, features = build("sa:attention_temperature=0.01"), random_features()
    attention = cold(features).attention
    assert (attention.amax(dim=-1) > build("sa")(features).attention.amax(dim=-1)).all()
    state = cold.recognizer.state_dict()
    rebuilt = methods.rebuild_recognizer("sa", 2, state, {"attention_temperature": 0.01})
    assert torch.equal(rebuilt(features, cold.text_head()).attention, attention)


def test_all_entries_are_methods():
    assert all(isinstance(load_method(name), Method) for name in METHODS)
