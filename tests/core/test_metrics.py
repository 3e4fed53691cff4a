import numpy as np
import pytest

from mlrpl_cli.core.metrics import average_precisions, compute_metrics, precision_recall, top_k_mask
from tests import reference

RNG = np.random.default_rng(0)
SCORES = RNG.permutation(300).reshape(60, 5) / 300
LABELS = np.where(RNG.random((60, 5)) < 0.3, 1, -1).astype(np.int8)

BY_HAND = {
    "all-point": reference.average_precision,
    "interpolated": reference.interpolated_average_precision,
    "11-point": reference.eleven_point_average_precision,
}


@pytest.mark.parametrize("kind", BY_HAND)
def test_average_precision_equals_the_ranking_by_hand(kind):
    expected = [BY_HAND[kind](SCORES[:, c], LABELS[:, c] == 1) for c in range(5)]
    np.testing.assert_allclose(average_precisions(SCORES, LABELS, kind), expected, rtol=1e-9)


def test_unknown_cells_are_left_out():
    labels = LABELS.copy()
    labels[::3] = 0
    known = np.arange(60) % 3 != 0
    expected = [reference.average_precision(SCORES[known, c], LABELS[known, c] == 1) for c in range(5)]
    np.testing.assert_allclose(average_precisions(SCORES, labels), expected, rtol=1e-9)


def test_a_class_without_a_positive_is_left_out_of_the_mean_and_named():
    labels = LABELS.copy()
    labels[:, 2] = -1
    metrics = compute_metrics(SCORES, labels)
    rest = [c for c in range(5) if c != 2]
    assert metrics.without_positive.tolist() == [2]
    assert metrics.mean_average_precision == pytest.approx(average_precisions(SCORES, LABELS)[rest].mean())


def test_without_any_positive_the_mean_is_nan():
    assert np.isnan(compute_metrics(SCORES, np.full((60, 5), -1, dtype=np.int8)).mean_average_precision)


def test_precision_recall_figures_equal_counts_by_hand():
    """Two classes: A has 2 hits of 3 claims and 4 positives, B has 1 hit of 1 claim and 1 positive."""
    predicted = np.array([[1, 1], [1, 0], [1, 0], [0, 0], [0, 0]], dtype=bool)
    labels = np.array([[1, 1], [1, -1], [-1, -1], [1, -1], [1, -1]], dtype=np.int8)
    figures = precision_recall(predicted, labels)
    assert figures.op == pytest.approx(3 / 4)
    assert figures.or_ == pytest.approx(3 / 5)
    assert figures.of1 == pytest.approx(2 * 0.75 * 0.6 / 1.35)
    assert figures.cp == pytest.approx((2 / 3 + 1) / 2)
    assert figures.cr == pytest.approx((1 / 2 + 1) / 2)
    assert figures.cf1_of_means == pytest.approx(2 * (5 / 6) * (3 / 4) / (5 / 6 + 3 / 4))
    assert figures.cf1_mean_of_f1 == pytest.approx((4 / 7 + 1) / 2)


def test_predictions_on_unknown_cells_do_not_count():
    predicted = np.array([[True, True]])
    assert precision_recall(predicted, np.array([[1, 0]], dtype=np.int8)).op == 1.0


def test_top_k_takes_exactly_k_and_the_earlier_class_of_a_tie():
    assert top_k_mask(np.array([[0.5, 0.9, 0.5, 0.5]]), 2).tolist() == [[True, True, False, False]]
    assert top_k_mask(np.array([[0.5, 0.9]]), 3).tolist() == [[True, True]]
