import numpy as np
import pytest

from mlrpl_cli.core.prediction.selection import Selection

PROBABILITIES = np.array([0.5, 0.75, 0.25, 0.75, 1.0])


@pytest.mark.parametrize(
    ("columns", "top_k", "threshold", "told"),
    [
        (range(5), None, None, "ebdac"),  # the earlier of equals first
        (range(5), 2, None, "eb"),
        (range(5), None, 0.5, "ebd"),
        (range(5), 4, 0.5, "ebd"),
        (range(5), 1, 0.5, "e"),
        ((2, 0), None, None, "ac"),
        ((2, 0), 5, 0.5, ""),
    ],
)
def test_a_class_passes_both_limits_and_the_most_probable_comes_first(columns, top_k, threshold, told):
    found = Selection(tuple("abcde"), columns, top_k, threshold).of(PROBABILITIES)
    assert "".join(name for name, _ in found) == told
    assert [probability for _, probability in found] == [PROBABILITIES["abcde".index(name)] for name in told]
