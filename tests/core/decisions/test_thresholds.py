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


def test_shared_classes_take_the_threshold_of_all_cells_together() -> None:
    shared = np.array([True, False, False, True, False, False])
    found = choose_thresholds(P, Objective(), shared)
    assert found[0] == found[3] == threshold(P.ravel(), Objective())
    assert found[1] == threshold(P[:, 1], Objective())


@pytest.mark.parametrize("text", ["f1", "precision=0.9", "recall=0.95", "cost=5:1", "cost=2.5:1"])
def test_an_objective_reads_back(text: str) -> None:
    assert str(parse_objective(text)) == text


@pytest.mark.parametrize("text", ["", "f2", "precision", "precision=90", "recall=0", "cost=5", "cost=0:1", "cost=1:0"])
def test_another_text_lists_the_forms(text: str) -> None:
    with pytest.raises(ConfigError, match="--objective: expected f1, precision") as raised:
        parse_objective(text)
    assert FORMS in str(raised.value)
