"""Yes, no and unsure."""

from __future__ import annotations

import numpy as np

from mlrpl_cli.core.runs.decided.calibration import PLATT, Calibration, logit, sigmoid
from mlrpl_cli.core.runs.decided.verdicts import verdicts


def calibration(error: float) -> Calibration:
    """Two classes with z - 1, whose offset has this standard error."""
    covariance = np.array([[0, 0], [0, error**2]])
    cells = np.full(2, 50)
    return Calibration(
        PLATT, np.array([[1.0, -1.0]] * 2), np.stack([covariance] * 2), cells, cells, np.zeros(2, bool), 16.0
    )


def test_a_threshold_within_the_interval_of_p_is_unsure() -> None:
    """t = 0.5 is logit 0, and z - 1 has a standard error of 0.5: nine tenths are 0.82 to each side."""
    logits = np.array([[0.1], [0.3], [1.0], [1.7], [1.9]]).repeat(2, axis=1)
    found = verdicts(logits, calibration(0.5), np.array([0.5, 0.5]))
    assert found[:, 0].tolist() == ["no", "unsure", "unsure", "unsure", "yes"]
    assert verdicts(logits, calibration(0.0), np.array([0.5, 0.5]))[:, 0].tolist() == ["no", "no", "yes", "yes", "yes"]


def test_no_threshold_and_what_could_not_be_learned_are_unsure() -> None:
    logits = np.array([[-9.0, 9.0]])
    assert verdicts(logits, calibration(0.1), np.array([np.nan, 0.5])).tolist() == [["unsure", "yes"]]
    assert verdicts(logits, calibration(0.1), np.array([0.5, 0.5]), np.array([True, False]))[0, 1] == "unsure"


def test_thresholds_of_0_and_1_are_reached_by_what_is_as_sure() -> None:
    """p ≥ t as everywhere: also where p is 1 to the last digit."""
    found = verdicts(np.array([[-9.0, 9.0], [9.0, 60.0]]), calibration(0.1), np.array([0.0, 1.0]))
    assert found.tolist() == [["yes", "no"], ["yes", "yes"]]


def test_an_image_whose_p_is_the_threshold_is_yes() -> None:
    logits = np.random.default_rng(0).normal(size=(600, 1)).repeat(2, axis=1)
    exact = calibration(0.0)
    thresholds = exact.apply(logits)
    for z, t in zip(logits, thresholds, strict=True):
        assert verdicts(z[None], exact, t)[0].tolist() == ["yes", "yes"]


def test_sigmoid_and_logit_undo_each_other() -> None:
    logits = np.linspace(-30, 30, 13)
    np.testing.assert_allclose(logit(sigmoid(logits)), logits, atol=1e-2)
    assert sigmoid(np.array([-1e4, 1e4])).tolist() == [0, 1]
