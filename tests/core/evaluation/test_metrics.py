from dataclasses import astuple
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score

from mlrpl_cli.core.evaluation.metrics import (
    average_precisions,
    compute_metrics,
    precision_recall,
    precision_recall_points,
    top_k_mask,
)
from mlrpl_cli.core.evaluation.options import AveragePrecision
from mlrpl_cli.core.io.errors import DataError
from tests import reference

AVERAGE_PRECISIONS = get_args(AveragePrecision)
pytestmark = pytest.mark.filterwarnings("error")

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


@pytest.mark.parametrize("state", [-1, 0, 1])
def test_a_class_without_a_positive_or_without_an_absent_cell_is_nan_and_left_out_of_the_mean(state):
    labels = LABELS.copy()
    labels[:, 2] = np.where(LABELS[:, 2] == 1, state, 0)
    metrics = compute_metrics(SCORES, labels)
    rest = [c for c in range(5) if c != 2]
    assert np.flatnonzero(np.isnan(metrics.average_precision)).tolist() == [2]
    assert metrics.mean_average_precision == pytest.approx(average_precisions(SCORES, LABELS)[rest].mean())


@pytest.mark.parametrize("state", [-1, 0, 1])
def test_without_two_states_of_any_class_every_figure_is_nan(state):
    metrics = compute_metrics(SCORES, np.full((60, 5), state, dtype=np.int8))
    figures = [metrics.mean_average_precision, *astuple(metrics.at_threshold), *astuple(metrics.at_top_k)]
    assert np.isnan(figures).all()


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
    predicted = np.array([[True], [True], [False]])
    assert precision_recall(predicted, np.array([[1], [0], [-1]], dtype=np.int8)).op == 1.0


@pytest.mark.parametrize("states", [(1, 1, 0), (-1, -1, 0), (0, 0, 0)])
def test_a_class_with_one_known_state_changes_no_figure(states):
    """Its precision would be 1, or its precision and recall 0, whatever is predicted."""
    labels = np.array([[1, -1], [-1, 1], [1, -1]], dtype=np.int8)
    predicted = np.array([[1, 1], [1, 0], [0, 0]], dtype=bool)
    column = np.array(states, np.int8)[:, None]
    with_it = precision_recall(np.hstack([predicted, np.ones((3, 1), bool)]), np.hstack([labels, column]))
    assert with_it == precision_recall(predicted, labels)


def test_top_k_takes_exactly_k_and_the_earlier_class_of_a_tie():
    assert top_k_mask(np.array([[0.5, 0.9, 0.5, 0.5]]), 2).tolist() == [[True, True, False, False]]
    assert top_k_mask(np.array([[0.5, 0.9]]), 3).tolist() == [[True, True]]


@st.composite
def scored(draw) -> tuple[np.ndarray, np.ndarray]:
    """Scores in tenths (N, C), so that ties are common, and labels; N and C from 0."""
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=12))
    scores = draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 10))) / 10
    return scores, draw(hnp.arrays(np.int8, shape, elements=st.sampled_from([-1, 0, 1])))


@settings(deadline=None, derandomize=True)
@given(scored())
def test_average_precision_is_scikit_learns_on_the_known_cells(data):
    scores, labels = data
    for c, value in enumerate(average_precisions(scores, labels)):
        known = labels[:, c] != 0
        if (labels[:, c] == 1).any() and (labels[:, c] == -1).any():
            expected = average_precision_score(labels[known, c] == 1, scores[known, c])
            assert value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", AVERAGE_PRECISIONS)
@settings(deadline=None, derandomize=True)
@given(scored())
def test_average_precision_is_a_share_and_nan_exactly_without_two_known_states(kind, data):
    scores, labels = data
    found = average_precisions(scores, labels, kind)
    np.testing.assert_array_equal(np.isnan(found), ~((labels == 1).any(axis=0) & (labels == -1).any(axis=0)))
    told = found[~np.isnan(found)]
    assert ((told >= 0) & (told <= 1)).all()


@pytest.mark.parametrize("kind", AVERAGE_PRECISIONS)
@settings(deadline=None, derandomize=True)
@given(scored())
def test_average_precision_asks_for_the_order_alone(kind, data):
    """Three strictly increasing functions, one of which reaches infinity at both ends."""
    scores, labels = data
    with np.errstate(divide="ignore"):
        logits = np.log(scores) - np.log(1 - scores)
    for moved in (3 * scores - 7, np.exp(scores), logits):
        np.testing.assert_array_equal(average_precisions(moved, labels, kind), average_precisions(scores, labels, kind))


@settings(deadline=None, derandomize=True)
@given(scored(), st.floats(0, 1), st.integers(1, 5))
def test_every_figure_is_defined_and_in_range_whatever_the_labels(data, threshold, top_k):
    """Constant scores, nothing claimed: ratios over nothing are 0. No class with two known states: NaN."""
    metrics = compute_metrics(*data, threshold=threshold, top_k=top_k)
    figures = np.array([metrics.mean_average_precision, *astuple(metrics.at_threshold), *astuple(metrics.at_top_k)])
    if ((data[1] == 1).any(axis=0) & (data[1] == -1).any(axis=0)).any():
        assert ((figures >= 0) & (figures <= 1)).all()
    else:
        assert np.isnan(figures).all()


@pytest.mark.parametrize("kind", AVERAGE_PRECISIONS)
def test_constant_scores_have_the_share_of_positives(kind):
    """One threshold, at which everything is claimed: precision is the share of positives and recall 1."""
    labels = np.array([[1], [-1], [1], [-1], [0]], dtype=np.int8)
    assert average_precisions(np.full((5, 1), 0.3), labels, kind).tolist() == [0.5]


def test_scores_that_are_no_numbers_are_refused():
    scores = SCORES.copy()
    scores[3, 1] = np.nan
    with pytest.raises(DataError, match=r"^1 of 300 scores are NaN; they cannot be ranked$"):
        compute_metrics(scores, LABELS)


def test_the_points_of_a_curve_are_counts_at_each_score_and_none_without_two_known_states():
    scores = np.array([0.9, 0.8, 0.8, 0.3, 0.1])
    labels = np.array([1, -1, 1, 0, -1], np.int8)
    precision, recall = precision_recall_points(scores, labels)
    assert precision.tolist() == [2 / 4, 2 / 3, 1.0, 1.0]
    assert recall.tolist() == [1.0, 1.0, 0.5, 0.0]
    assert [len(part) for part in precision_recall_points(scores, abs(labels))] == [0, 0]
