"""Thresholds: against a search over all of them, and the closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from mlrpl_cli.core.decisions.thresholds import choose_thresholds, expected, threshold
from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.runs.decided.objective import FORMS, Objective, parse_objective

P = np.random.default_rng(0).beta(0.5, 1.5, (200, 6))


def test_f1_is_the_highest_that_any_threshold_reaches() -> None:
    for p in P.T:
        best = max(expected(p, t)[2] for t in p)
        found = threshold(p, Objective())
        assert expected(p, found)[2] == pytest.approx(best)
        assert found == pytest.approx(best / 2)  # Lipton et al. 2014


@pytest.mark.parametrize("target", [0.3, 0.6, 0.9])
def test_precision_is_reached_with_the_highest_recall(target: float) -> None:
    for p in P.T:
        found = threshold(p, parse_objective(f"precision={target}"))
        reaching = [expected(p, t)[1] for t in p if expected(p, t)[0] >= target]
        assert expected(p, found)[0] >= target
        assert expected(p, found)[1] == max(reaching)


@pytest.mark.parametrize("target", [0.5, 0.95])
def test_recall_is_reached_with_the_highest_precision(target: float) -> None:
    for p in P.T:
        found = threshold(p, parse_objective(f"recall={target}"))
        reaching = [expected(p, t)[0] for t in p if expected(p, t)[1] >= target - 1e-12]
        assert expected(p, found)[1] >= target - 1e-12
        assert expected(p, found)[0] == pytest.approx(max(reaching))


def test_the_least_cost_is_at_its_closed_form() -> None:
    """A miss costs 5: the expected cost 5 Σ_{p < t} p + Σ_{p ≥ t} (1 - p) is least at 1/6."""
    costs = [5 * p[p < 1 / 6].sum() + (1 - p[p >= 1 / 6]).sum() for p in P.T]
    least = [min(5 * p[p < t].sum() + (1 - p[p >= t]).sum() for t in (*p, 2.0)) for p in P.T]
    np.testing.assert_allclose(costs, least)
    assert threshold(P[:, 0], parse_objective("cost=5:1")) == pytest.approx(1 / 6)
    assert threshold(P[:, 0], parse_objective("cost=10:2")) == pytest.approx(1 / 6)


def test_what_no_threshold_reaches_has_none() -> None:
    assert np.isnan(threshold(np.array([0.6, 0.2]), parse_objective("precision=0.9")))
    assert np.isnan(threshold(np.zeros(5), Objective()))


def test_equal_probabilities_are_claimed_together() -> None:
    """Ten of 0.85 below one of 0.99: with all of them the precision is 0.863, and without them it is 0.99."""
    assert threshold(np.array([0.99] + [0.85] * 10), parse_objective("precision=0.9")) == 0.99
    rounded = P.round(1)
    for p in rounded.T:
        t = threshold(p, parse_objective("precision=0.6"))
        assert np.isnan(t) or p[p >= t].mean() >= 0.6


def test_a_shared_class_reaches_a_precision_too_or_has_no_threshold() -> None:
    p = np.stack([np.linspace(0.5, 1, 40), np.linspace(0, 0.55, 40), np.linspace(0, 0.8, 40)], axis=1)
    objective, shared = parse_objective("precision=0.6"), np.array([False, True, True])
    found = choose_thresholds(p, objective, shared)
    assert found[2] == threshold(p[:, 2], objective) > threshold(p.ravel(), objective)
    assert np.isnan(found[1])
    recall = parse_objective("recall=0.95")
    found = choose_thresholds(p, recall, shared)
    assert found[1] == threshold(p[:, 1], recall) < threshold(p.ravel(), recall)


def test_shared_classes_take_the_threshold_of_all_cells_together() -> None:
    shared = np.array([True, False, False, True, False, False])
    found = choose_thresholds(P, Objective(), shared)
    assert found[0] == found[3] == threshold(P.ravel(), Objective())
    assert found[1] == threshold(P[:, 1], Objective())


@pytest.mark.parametrize("text", ["f1", "precision=0.9", "recall=0.95", "cost=5:1", "cost=2.5:1", "cost=1e-05:1"])
def test_an_objective_reads_back(text: str) -> None:
    parsed = parse_objective(text)
    assert parse_objective(str(parsed)) == parsed
    assert str(parsed) == text


@pytest.mark.parametrize("text", ["cost=1:3", "cost=1:100000", "cost=1e9:0.001", "precision=0.00001", "RECALL = .5"])
def test_whatever_is_taken_reads_back_to_the_bit(text: str) -> None:
    assert parse_objective(str(parse_objective(text))) == parse_objective(text)


@pytest.mark.parametrize("text", ["", "f2", "precision", "precision=90", "recall=0", "cost=5", "cost=0:1", "cost=1:0"])
def test_another_text_lists_the_forms(text: str) -> None:
    with pytest.raises(ConfigError, match="--objective: expected f1, precision") as raised:
        parse_objective(text)
    assert FORMS in str(raised.value)
