"""`train`, and then the decisions of the run, which need no option: `mlrpl decide` changes them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from accelerate import PartialState

from mlrpl_cli.core.config import BEST, LAST, TrainConfig
from mlrpl_cli.core.decisions.of_run import HOLDING_OUT, current_held_out, decide, notice_of
from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.runs.checkpoint import load_checkpoint
from mlrpl_cli.core.runs.decided.decisions import Decision, read_decisions
from mlrpl_cli.core.runs.decided.scores import HeldOut
from mlrpl_cli.core.training.train import TrainingSummary, train

WITHOUT = f"no held-out image to calibrate by: probabilities stay as the method gives them; {HOLDING_OUT}"


def train_and_decide(
    config: TrainConfig, progress: Progress | None = None, resume: bool = False, fresh: bool = False
) -> TrainingSummary:
    """Train as `training.train.train`, then choose calibration and thresholds; errors are those of `train`."""
    progress = progress or Silent()
    summary = train(config, progress, resume, fresh)
    if not PartialState().is_main_process:
        return summary
    held = current_held_out(summary.run)
    if not held:
        progress.warn(WITHOUT)
        return summary
    decided = _kept(summary.run, held) or decide(summary.run, progress=progress).of
    chosen = decided.get(BEST) or decided[LAST]
    if notice := notice_of(chosen, load_checkpoint(summary.run, LAST).info.classes):
        progress.warn(notice)
    before, after = chosen.before, chosen.after
    return replace(
        summary, calibration=chosen.calibration.family, ece_before=before.ece, ece_after=after.ece,
        log_loss_before=before.log_loss, log_loss_after=after.log_loss,
    )  # fmt: skip


def _kept(run: Path, held: Mapping[str, HeldOut]) -> dict[str, Decision]:
    """The decisions that a run has, where they are of its checkpoints as they are; else none."""
    with suppress(RunError):  # a damaged file is made again
        found = read_decisions(run)
        if {which: one.checkpoint for which, one in found.items()} == {w: one.checkpoint for w, one in held.items()}:
            return found
    return {}
