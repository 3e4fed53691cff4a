import numpy as np
import pytest

from mlrpl_cli.core.prediction.predictor import Predictor

PROBABILITIES = np.array([0.5, 0.75, 0.25, 0.75, 1.0])


@pytest.mark.parametrize(
    ("classes", "top_k", "threshold", "told"),
    [
        (None, None, None, "ebd"),
        (None, 5, None, "ebdac"),  # the earlier of equals first
        (None, 2, None, "eb"),
        (None, None, 0.5, "ebd"),
        (None, 4, 0.5, "ebd"),
        (None, 1, 0.5, "e"),
        ("ca", None, None, "ac"),
        ("ca", 5, 0.5, ""),
    ],
)
def test_a_class_passes_both_limits_and_the_most_probable_comes_first(classes, top_k, threshold, told):
    predictor = Predictor.__new__(Predictor)
    predictor.classes = tuple("abcde")
    found = predictor.selection(classes, top_k, threshold, few=True)(PROBABILITIES)
    assert "".join(name for name, _ in found) == told
    assert [probability for _, probability in found] == [PROBABILITIES["abcde".index(name)] for name in told]


def test_without_anything_asked_all_classes_are_told_where_there_is_room():
    predictor = Predictor.__new__(Predictor)
    predictor.classes = tuple("abcde")
    assert "".join(name for name, _ in predictor.selection()(PROBABILITIES)) == "ebdac"
