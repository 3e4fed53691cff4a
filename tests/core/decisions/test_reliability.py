"""Calibration error, Brier score and log loss against slow versions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlrpl_cli.core.decisions.reliability import bins_of, calibration_errors, reliability
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.random((97, 3)).round(2), generator.choice([ABSENT, UNKNOWN, PRESENT], (97, 3))


def slow_error(p: np.ndarray, labels: np.ndarray, bins: int) -> float:
    """Σ_b n_b/n |mean p - share present| over bins that differ by at most one cell, the larger ones first."""
    cells = sorted(
        ((float(x), label == PRESENT) for x, label in zip(p, labels, strict=True) if label), key=lambda c: c[0]
    )
    total, start = 0.0, 0
    for b in range(bins):
        size = len(cells) // bins + (b < len(cells) % bins)
        of = cells[start : start + size]
        total += abs(math.fsum(x for x, _ in of) - sum(y for _, y in of))
        start += size
    return total / len(cells)


def test_errors_equal_the_slow_version(drawn) -> None:
    p, labels = drawn
    expected = [slow_error(p[:, c], labels[:, c], 15) for c in range(3)]
    np.testing.assert_allclose(calibration_errors(p, labels), expected)
    assert reliability(p, labels).ece == pytest.approx(np.mean(expected))


def test_brier_and_log_loss_equal_the_slow_version(drawn) -> None:
    p, labels = drawn
    cells = [(x, y > 0) for x, y in zip(p.ravel(), labels.ravel(), strict=True) if y]
    found = reliability(p, labels)
    assert found.brier == pytest.approx(math.fsum((x - y) ** 2 for x, y in cells) / len(cells))
    told = [max(x if y else 1 - x, 1e-12) for x, y in cells]
    assert found.log_loss == pytest.approx(-math.fsum(map(math.log, told)) / len(cells))
    assert found.present == pytest.approx(np.mean([y for _, y in cells]))


def test_a_class_with_cells_of_one_kind_has_no_error_and_no_cell_gives_none(drawn) -> None:
    p, labels = drawn
    labels[:, 1] = np.where(labels[:, 1] == ABSENT, UNKNOWN, labels[:, 1])
    assert np.isnan(calibration_errors(p, labels)).tolist() == [False, True, False]
    assert np.isnan(reliability(p, np.zeros_like(labels)).brier)


def test_bins_hold_as_many_cells_each_and_one_cell_at_least() -> None:
    p, labels = np.linspace(0, 1, 7), np.array([1, -1, 1, 0, 1, -1, 1])
    assert bins_of(p, labels)[:, 2].tolist() == [1] * 6
    assert bins_of(p, labels, 4)[:, 2].tolist() == [2, 2, 1, 1]
    assert bins_of(p, np.zeros(7)).shape == (0, 3)
