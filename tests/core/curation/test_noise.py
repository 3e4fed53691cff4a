"""How often labels are wrong is found where it is known, and p is Bayes' rule."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad

from mlrpl_cli.core.curation.noise import Noise, _Cells, estimate
from mlrpl_cli.core.runs.decided.calibration import sigmoid

CLASSES, OFFSETS = 4, np.array([-0.4, 0.0, 0.2, 0.5])


def drawn(low: float, high: float, cells: int = 40_000) -> tuple[np.ndarray, ...]:
    """Logits, given labels, classes and true labels; `low` of the absent cells and `high` of the present are wrong."""
    random = np.random.default_rng(0)
    columns, logits = random.integers(0, CLASSES, cells), random.normal(-2, 3, cells)
    truth = random.random(cells) < sigmoid(1.2 * logits + OFFSETS[columns])
    wrong = random.random(cells) < np.where(truth, high, low)
    return logits, np.where(truth ^ wrong, 1, -1), columns, np.where(truth, 1, -1)


@pytest.mark.parametrize(("low", "high"), [(0.02, 0.02), (0.05, 0.05), (0.005, 0.15)])
def test_rates_are_found_and_p_is_as_often_right_as_it_says(low, high):
    logits, given, columns, truth = drawn(low, high)
    found = estimate(logits, given, columns, CLASSES)
    right = found.right(logits, given, columns)
    assert (found.given_present, found.given_absent) == pytest.approx((low, high), abs=0.01)
    assert 1 - right.mean() == pytest.approx((given != truth).mean(), rel=0.15)
    for least, most in ((0, 0.2), (0.2, 0.8), (0.8, 1)):
        cells = (right >= least) & (right < most)
        assert right[cells].mean() == pytest.approx((given == truth)[cells].mean(), abs=0.08)


def test_labels_without_an_error_have_none():
    logits, given, columns, _ = drawn(0, 0)
    found = estimate(logits, given, columns, CLASSES)
    assert 1 - found.right(logits, given, columns).mean() < 0.002
    assert found.offset == pytest.approx(OFFSETS, abs=0.15)


@pytest.mark.parametrize("cells", [150, 600])
def test_few_right_labels_of_a_class_are_hardly_ever_called_wrong(cells):
    """Of thirty draws, each with its own calibration a little off; one in fifty is expected to find errors."""
    random, seen = np.random.default_rng(3), 0
    for _ in range(30):
        logits = random.normal(-1.5, 2.5, cells)
        given = np.where(random.random(cells) < sigmoid(logits), 1, -1)
        found = estimate(logits, given, np.zeros(cells, int), 1)
        seen += found.is_seen
        if not found.is_seen:
            assert (found.right(logits, given, np.zeros(cells, int)) > 0.5).all()
    assert seen <= 3


def test_p_is_bayes_rule():
    """Closed form: P(right | given present) = (1 - ε₁) s / (ε₀ (1 - s) + (1 - ε₁) s), and the same turned over."""
    noise = Noise(np.array([2.0]), np.array([0.5]), 0.1, 0.2)
    u = np.array([-1.0, 0.3, 2.0])
    s, column = sigmoid(2 * u + 0.5), np.zeros(3, int)
    assert noise.right(u, np.ones(3), column) == pytest.approx(0.8 * s / (0.1 * (1 - s) + 0.8 * s))
    assert noise.right(u, -np.ones(3), column) == pytest.approx(0.9 * (1 - s) / (0.2 * s + 0.9 * (1 - s)))


def test_p_is_finite_however_sure_a_score_is():
    noise = Noise(np.array([50.0]), np.zeros(1), 0.0, 0.1)
    right = noise.right(np.array([-30.0, 30.0, -30.0, 30.0]), np.array([1, 1, -1, -1]), np.zeros(4, int))
    assert right.tolist() == [1, 1, 1, 0]


def test_the_slope_of_the_loss_is_that_of_finite_differences():
    logits, given, columns, _ = drawn(0.1, 0.1, 300)
    cells = _Cells(logits, given == 1, columns, CLASSES)
    for point in np.random.default_rng(1).normal(-1, 0.5, (3, 4 + 2 * CLASSES)):
        assert check_grad(lambda at: cells.loss(at)[0], lambda at: cells.loss(at)[1], point) < 1e-6
