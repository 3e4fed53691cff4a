"""Calibration: the maximum by another optimiser, a known truth, ranks, few cells, cells of one kind."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from mlrpl_cli.core.decisions import calibration
from mlrpl_cli.core.decisions.calibration import CANDIDATES, Candidate, cell_losses, choose, fit
from mlrpl_cli.core.decisions.newton import LEAST_SLOPE
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from mlrpl_cli.core.runs.decided.calibration import BETA, NONE, PLATT, TEMPERATURE, sigmoid, terms


def drawn(images: int, classes: int, seed: int = 0, known: float = 1.0, slope: float = 1.0, offset: float = 0.0):
    """Logits of a recognizer that is wrong by `slope` and `offset`: the truth is drawn from slope z + offset."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(-1, 2, (images, classes))
    truth = np.where(generator.random(logits.shape) < sigmoid(slope * logits + offset), PRESENT, ABSENT)
    return logits, np.where(generator.random(logits.shape) < known, truth, UNKNOWN), truth


def objective(theta: np.ndarray, x: np.ndarray, y: np.ndarray, centre: np.ndarray, precision: np.ndarray) -> float:
    return float(np.log1p(np.exp(-y * (x @ theta))).sum() + (precision * (theta - centre) ** 2).sum() / 2)


@pytest.mark.parametrize("family", [TEMPERATURE, PLATT, BETA])
def test_the_fit_is_the_minimum_that_another_optimiser_finds(family: str) -> None:
    """scipy's L-BFGS-B with the same bounds, one class at a time, from the equation in the module's docstring."""
    logits, labels, _ = drawn(60, 3, known=0.7, slope=0.4, offset=1.0)
    found = fit(logits, labels, Candidate(family, 16.0))
    rows, columns = np.nonzero(labels)
    x, y = terms(family, logits[rows, columns]), labels[rows, columns].astype(float)
    size, slopes = (x**2).mean(axis=0), {TEMPERATURE: 1, PLATT: 1, BETA: 2}[family]
    identity = np.array({TEMPERATURE: (1,), PLATT: (1, 0), BETA: (1, 1, 0)}[family], float)
    bounds = [(LEAST_SLOPE, None) if k < slopes else (None, None) for k in range(len(identity))]
    options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 5000}
    rule = minimize(objective, identity, (x, y, identity, size), "L-BFGS-B", bounds=bounds, options=options).x
    for c in range(3):
        of = columns == c
        arguments = (x[of], y[of], rule, 16 * size)
        own = minimize(objective, rule, arguments, "L-BFGS-B", bounds=bounds, options=options).x
        assert objective(found.coefficients[c], *arguments) <= objective(own, *arguments) + 1e-6
        np.testing.assert_allclose(found.coefficients[c], own, atol=2e-3)


@pytest.mark.parametrize("candidate", CANDIDATES, ids=str)
def test_a_calibration_changes_no_ranking(candidate: Candidate) -> None:
    """Also where the labels are the other way round than the scores, which a slope below zero would fit."""
    logits, labels, _ = drawn(200, 4, slope=-2.0)
    rising = np.sort(np.random.default_rng(1).normal(0, 5, (300, 4)), axis=0)
    calibrated = fit(logits, labels, candidate).calibrated_logits(rising)
    assert (np.diff(calibrated, axis=0) > 0).all()


def test_a_known_distortion_is_undone() -> None:
    """The truth is drawn from 0.5 z - 1: the coefficients are near it, and the log loss is near the truth's own."""
    logits, labels, _ = drawn(3000, 5, slope=0.5, offset=-1.0)
    chosen = choose(logits, labels, np.random.default_rng(0)).calibration
    fresh, _, truth = drawn(4000, 5, seed=9, slope=0.5, offset=-1.0)
    best = cell_losses(0.5 * fresh - 1, truth).mean()
    assert chosen.family in (PLATT, BETA)
    assert cell_losses(chosen.calibrated_logits(fresh), truth).mean() < best + 0.002
    assert cell_losses(fresh, truth).mean() > best + 0.05  # as it was


def test_probabilities_that_are_right_are_left_alone() -> None:
    """Drawn from the scores themselves, "none" is within one standard error of whatever looks best."""
    kept = [choose(*drawn(400, 6, seed, known=0.3)[:2], np.random.default_rng(0)).calibration for seed in range(8)]
    assert sum(one.family == NONE for one in kept) >= 6


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.5, -1.0)])
def test_with_five_known_cells_a_class_it_is_no_worse_than_none(slope: float, offset: float) -> None:
    """The mean over 40 data sets of the excess of log loss on fresh cells lies below two of its standard errors."""
    excess = []
    for seed in range(40):
        logits, labels, _ = drawn(200, 10, seed, slope=slope, offset=offset)
        order = np.random.default_rng(seed).random(labels.shape).argsort(axis=0).argsort(axis=0)
        found = choose(logits, np.where(order < 5, labels, UNKNOWN), np.random.default_rng(seed)).calibration
        fresh, _, truth = drawn(500, 10, 1000 + seed, slope=slope, offset=offset)
        calibrated = cell_losses(found.calibrated_logits(fresh), truth).mean()
        excess.append(calibrated - cell_losses(fresh, truth).mean())
    assert found.shared.all()
    assert np.mean(excess) <= 2 * np.std(excess) / np.sqrt(len(excess))


@pytest.mark.parametrize("images", [2, 5, 10, 15])
def test_with_a_handful_of_images_it_is_no_worse_than_none(images: int) -> None:
    """All their cells are known, and the scores are right: mean excess over 60 data sets below two standard errors."""
    excess = []
    for seed in range(60):
        logits, labels, _ = drawn(images, 10, seed)
        found = choose(logits, labels, np.random.default_rng(seed)).calibration
        fresh, _, truth = drawn(500, 10, 1000 + seed)
        excess.append((cell_losses(found.calibrated_logits(fresh), truth) - cell_losses(fresh, truth)).mean())
    assert np.mean(excess) <= 2 * np.std(excess) / np.sqrt(len(excess))


def test_logits_that_are_all_zero_are_fitted() -> None:
    labels = np.tile([[PRESENT, ABSENT]], (20, 1)).T.reshape(20, 2)
    assert np.isfinite(fit(np.zeros((20, 2)), labels, Candidate(PLATT, 16.0)).coefficients).all()


def test_few_cells_take_the_rule_of_all_and_more_cells_move_away_from_it() -> None:
    """One class is off by its own offset: the more of its cells are known, the nearer its rule is to that."""
    logits, labels, _ = drawn(2000, 8)
    generator = np.random.default_rng(2)
    labels[:, 0] = np.where(generator.random(2000) < sigmoid(logits[:, 0] - 2), PRESENT, ABSENT)
    offsets = []
    for cells in (8, 60, 300, 2000):
        seen = labels.copy()
        seen[cells:, 0] = UNKNOWN
        found = fit(logits, seen, Candidate(PLATT, 16.0))
        offsets.append(found.coefficients[0, 1] - found.coefficients[1:, 1].mean())
    assert offsets == sorted(offsets, reverse=True)
    assert offsets[0] > -0.6
    assert offsets[-1] == pytest.approx(-2, abs=0.5)


def test_rare_classes_count_so_that_the_mean_of_p_is_the_share_present() -> None:
    """At the maximum Σ (p - y) is 0 but for the weak prior, over all cells, also of classes without a present one."""
    logits, labels, _ = drawn(40, 12, offset=-3.0)
    assert ((labels == PRESENT).sum(axis=0) == 0).any()
    p = fit(logits, labels, Candidate(PLATT, np.inf)).apply(logits)
    assert p.sum() == pytest.approx((labels == PRESENT).sum(), abs=3)


def test_a_class_with_present_cells_alone_takes_the_rule_of_the_others_and_has_no_part_in_it() -> None:
    logits, labels, _ = drawn(300, 4, slope=0.5)
    without = fit(logits[:, 1:], labels[:, 1:], Candidate(PLATT, np.inf))
    labels[:, 0] = np.where(labels[:, 0] == PRESENT, PRESENT, UNKNOWN)
    found = fit(logits, labels, Candidate(PLATT, np.inf))
    assert found.shared.tolist() == [True, False, False, False]
    np.testing.assert_allclose(found.coefficients[0], without.coefficients[0], rtol=1e-9)


@pytest.mark.parametrize("state", [PRESENT, UNKNOWN])
def test_without_an_absent_cell_nothing_is_calibrated(state: int) -> None:
    logits, labels, _ = drawn(50, 3)
    chosen = choose(logits, np.where(labels == PRESENT, state, UNKNOWN), np.random.default_rng(0))
    assert not chosen.calibration.checked
    assert chosen.calibration.family == NONE
    np.testing.assert_allclose(chosen.calibration.apply(logits), sigmoid(logits))


def test_the_standard_error_covers_the_spread_over_data_sets() -> None:
    """Of the offset at z = 0 over 60 draws of the data, by the spread of what is fitted to them."""
    at = np.zeros((1, 1))
    fits = [fit(*drawn(400, 1, seed)[:2], Candidate(PLATT, np.inf)) for seed in range(60)]
    spread = np.std([one.calibrated_logits(at)[0, 0] for one in fits])
    assert np.mean([one.standard_error(at)[0, 0] for one in fits]) == pytest.approx(spread, rel=0.25)


def test_what_is_held_out_was_not_fitted_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flipping the labels of one part's images changes the fits of the others, and never its own probabilities."""
    monkeypatch.setattr(calibration, "CANDIDATES", (Candidate(PLATT, 16.0),))
    logits, labels, _ = drawn(100, 3)
    part = np.random.default_rng(0).permutation(np.arange(100) % calibration.PARTS)
    flipped = np.where((part == 0)[:, None], -labels, labels)
    before, after = (choose(logits, seen, np.random.default_rng(0)).held_out for seen in (labels, flipped))
    same = np.isclose(before, after, rtol=1e-6).all(axis=1)
    assert same[part == 0].all()
    assert not same[part != 0].any()
