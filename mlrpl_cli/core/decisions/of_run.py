"""The decisions of a run: chosen from its scores of held-out images, without an image and without training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mlrpl_cli.core.config import LAST
from mlrpl_cli.core.decisions.calibration import Chosen, choose
from mlrpl_cli.core.decisions.exchangeable import unlike_unknown
from mlrpl_cli.core.decisions.reliability import reliability
from mlrpl_cli.core.decisions.thresholds import choose_thresholds
from mlrpl_cli.core.evaluation.metrics import or_none
from mlrpl_cli.core.io.errors import RunError, agreeing, first_few
from mlrpl_cli.core.io.files import sole_writer
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from mlrpl_cli.core.runs.checkpoint import RunInfo, load_checkpoint
from mlrpl_cli.core.runs.decided.calibration import IDENTITY, sigmoid
from mlrpl_cli.core.runs.decided.decisions import Decision, Measured, read_decisions, write_decisions
from mlrpl_cli.core.runs.decided.objective import Objective
from mlrpl_cli.core.runs.decided.scores import HeldOut, checkpoint_sha256, read_held_out
from mlrpl_cli.core.runs.folder import load_config, newest_run

HOLDING_OUT = "`mlrpl prepare` with --validation-fraction 0.1, or with --folds 5, holds images out"
AS_THEY_ARE = "probabilities stay as the method gives them, and no threshold is chosen"
ONE_KIND = f"no class has present and absent cells among the held-out images: {AS_THEY_ARE}"
NOT_BY_CHANCE = f"known cells of held-out images do not stand for the unknown ones: {AS_THEY_ARE}"


@dataclass(frozen=True)
class Decided:
    """The decisions of a run's checkpoints."""

    run: Path
    info: RunInfo
    """Of the last checkpoint."""
    of: dict[str, Decision]
    """By "best" and "last"."""
    held: dict[str, HeldOut]
    """The scores that they were chosen by."""


def decide(run: Path | None = None, objective: Objective | None = None, progress: Progress | None = None) -> Decided:
    """Choose calibration and thresholds of both checkpoints of `run` (None: the newest) and write them to its folder.

    Without an `objective` it is the one that was chosen before, or F1, which is told where it cannot be read. Raises
    RunError for a run without scores of held-out images, or with damaged ones, and DataError while another process
    writes to the folder.
    """
    run = run or newest_run()
    info = load_checkpoint(run, LAST).info
    held = current_held_out(run)
    if not held:
        advice = f"`mlrpl train --resume --run {run}` writes them where its data has such images; {HOLDING_OUT}"
        raise RunError(f"{run} has no scores of held-out images to choose by; {advice}")
    objective = objective or _objective_before(run, progress or Silent())
    generator_seed = load_config(run).seed
    with sole_writer(run, "choose another --run"):
        found = {which: decision(scores, objective, generator_seed) for which, scores in held.items()}
        write_decisions(run, info.classes, found)
    return Decided(run, info, found, held)


def decision(held: HeldOut, objective: Objective, seed: int) -> Decision:
    """What one checkpoint's held-out scores say; the parts of the cross-validation are drawn from `seed`."""
    chosen = cross_validated(held, seed)
    calibration = chosen.calibration
    thresholds = choose_thresholds(calibration.apply(held.logits), objective, calibration.shared)
    # Of these it is not known what the probabilities are worth.
    thresholds[list(calibration.unlike) if calibration.checked else slice(None)] = np.nan
    before, after = (_measured(p, held.labels) for p in (sigmoid(held.logits), chosen.held_out))
    return Decision(held.checkpoint, held.source, len(held.rows), objective, calibration, thresholds, before, after)


def cross_validated(held: HeldOut, seed: int) -> Chosen:
    """The calibration, with probabilities of each held-out image that it was not fitted to.

    Classes whose known cells do not stand for the unknown ones have no part in it, and stay as they are.
    """
    unlike = unlike_unknown(held.logits, held.labels)
    labels = np.where(unlike, UNKNOWN, held.labels).astype(np.int8)
    chosen = choose(held.logits, labels, np.random.default_rng(seed))
    found, columns = chosen.calibration, np.flatnonzero(unlike)
    coefficients, covariance, held_out = found.coefficients.copy(), found.covariance.copy(), chosen.held_out.copy()
    coefficients[columns], covariance[columns] = IDENTITY[found.family], 0.0
    held_out[:, columns] = sigmoid(held.logits[:, columns])
    counts = {name: (held.labels == state).sum(axis=0) for name, state in (("present", PRESENT), ("absent", ABSENT))}
    made = replace(found, coefficients=coefficients, covariance=covariance, unlike=tuple(columns.tolist()), **counts)
    return replace(chosen, calibration=made, held_out=held_out)


def current_held_out(run: Path) -> dict[str, HeldOut]:
    """Scores of the checkpoints as they are now."""
    return {
        which: held for which, held in read_held_out(run).items() if held.checkpoint == checkpoint_sha256(run, which)
    }


def notice_of(decision: Decision, classes: Sequence[str]) -> str | None:
    """What has to be said of classes that could not be calibrated; None where there is none."""
    calibration = decision.calibration
    if not calibration.checked:
        return NOT_BY_CHANCE if calibration.both.any() else ONE_KIND
    if not calibration.unlike:
        return None
    names = [classes[column] for column in calibration.unlike]
    told = agreeing(len(names), "classes have known cells that do not stand for their unknown ones")
    return f"{told} ({first_few(names)}): their {AS_THEY_ARE}"


def _objective_before(run: Path, progress: Progress) -> Objective:
    try:
        return next((one.objective for one in read_decisions(run).values()), Objective())
    except RunError as error:  # it is written anew
        progress.warn(f"{error.args[0].partition(';')[0]}; it is made again, for f1: --objective says another")
        return Objective()


def _measured(probabilities: np.ndarray, labels: np.ndarray) -> Measured:
    found = reliability(probabilities, labels)
    return Measured(or_none(found.ece), or_none(found.brier), or_none(found.log_loss))
