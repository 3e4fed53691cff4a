"""What answers make of the labels that were given."""

from __future__ import annotations

import numpy as np
import pytest

from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.labels.answers.records import Standing
from mlrpl_cli.core.labels.answers.settling import settled
from tests.core.labels.answers.about import GIVEN


def standing(*answers: tuple[int, int, str, str]) -> list[Standing]:
    return [Standing(*answer, str(number), "", None) for number, answer in enumerate(answers)]


ONE = (0, 0, "absent", "ann"), (1, 0, "present", "ann"), (1, 0, "present", "bob"), (0, 1, "unsure", "ann")
TWO = (1, 1, "present", "ann"), (1, 1, "absent", "bob"), (1, 1, "unsure", "çağ")
THREE = (2, 2, "absent", "ann"), (2, 2, "absent", "bob"), (2, 2, "present", "çağ"), (3, 2, "unsure", "ann")


@pytest.mark.parametrize(("disagreements", "two", "three"), [("unknown", 0, 0), ("newest", -1, 1), ("majority", 0, -1)])
def test_present_and_absent_replace_what_was_given_and_disagreements_are_as_asked(disagreements, two, three):
    labels, disputed = settled(GIVEN, standing(*ONE, *TWO, *THREE), disagreements)
    expected = GIVEN.copy()
    expected[0, 0], expected[1, 0], expected[1, 1], expected[2, 2] = -1, 1, two, three
    assert labels.dtype == np.int8
    assert np.array_equal(labels, expected)
    assert np.argwhere(disputed).tolist() == [[1, 1], [2, 2]]


def test_without_answers_the_labels_are_those_given_and_a_copy():
    labels, disputed = settled(GIVEN, [])
    labels[0, 0] = 0
    assert GIVEN[0, 0] == 1
    assert not disputed.any()


def test_an_unknown_way_is_refused():
    with pytest.raises(ConfigError, match="no way with disagreements is called 'newst'; did you mean 'newest'"):
        settled(GIVEN, [], "newst")
