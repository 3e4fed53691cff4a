"""The decisions of a run: chosen from its scores of held-out images, without an image and without training."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlrpl_cli.core.config import LAST
from mlrpl_cli.core.decisions.calibration import Chosen, choose
from mlrpl_cli.core.decisions.reliability import reliability
from mlrpl_cli.core.decisions.thresholds import choose_thresholds
from mlrpl_cli.core.evaluation.metrics import or_none
from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.io.files import sole_writer
from mlrpl_cli.core.runs.checkpoint import RunInfo, load_checkpoint
from mlrpl_cli.core.runs.decided.calibration import sigmoid
from mlrpl_cli.core.runs.decided.decisions import Decision, Measured, read_decisions, write_decisions
from mlrpl_cli.core.runs.decided.objective import Objective
from mlrpl_cli.core.runs.decided.scores import HeldOut, checkpoint_sha256, read_held_out
from mlrpl_cli.core.runs.folder import load_config, newest_run

HOLDING_OUT = "`mlrpl prepare` with --validation-fraction 0.1, or with --folds 5, holds images out"
ONE_KIND = (
    "no class has present and absent cells among the held-out images: probabilities stay as the method gives them, "
    "and no threshold is chosen"
)


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


def decide(run: Path | None = None, objective: Objective | None = None) -> Decided:
    """Choose calibration and thresholds of both checkpoints of `run` (None: the newest) and write them to its folder.

    Without an `objective` it is the one that was chosen before, or F1. Raises RunError for a run without scores of
    held-out images, or with damaged ones, and DataError while another process writes to the folder.
    """
    run = run or newest_run()
    info = load_checkpoint(run, LAST).info
    held = current_held_out(run)
    if not held:
        advice = f"`mlrpl train --resume --run {run}` writes them where its data has such images; {HOLDING_OUT}"
        raise RunError(f"{run} has no scores of held-out images to choose by; {advice}")
    objective = objective or _objective_before(run)
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
    if not calibration.checked:
        thresholds = np.full(len(thresholds), np.nan)  # what the probabilities are worth is not known
    before, after = (_measured(p, held.labels) for p in (sigmoid(held.logits), chosen.held_out))
    return Decision(held.checkpoint, held.source, len(held.rows), objective, calibration, thresholds, before, after)


def cross_validated(held: HeldOut, seed: int) -> Chosen:
    """The calibration, with probabilities of each held-out image that it was not fitted to."""
    return choose(held.logits, held.labels, np.random.default_rng(seed))


def current_held_out(run: Path) -> dict[str, HeldOut]:
    """Scores of the checkpoints as they are now."""
    return {
        which: held for which, held in read_held_out(run).items() if held.checkpoint == checkpoint_sha256(run, which)
    }


def _objective_before(run: Path) -> Objective:
    with suppress(RunError):  # a damaged file is written anew
        return next((one.objective for one in read_decisions(run).values()), Objective())
    return Objective()


def _measured(probabilities: np.ndarray, labels: np.ndarray) -> Measured:
    found = reliability(probabilities, labels)
    return Measured(or_none(found.ece), or_none(found.brier), or_none(found.log_loss))
