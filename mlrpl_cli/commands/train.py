"""`mlrpl train`: options to a configuration, one call, a summary."""

from __future__ import annotations

from dataclasses import asdict
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option
from mlrpl_cli.core.config import LAST, TrainConfig
from mlrpl_cli.core.heads.registry import LOSSES, METHODS
from mlrpl_cli.core.io.errors import ConfigError, first_few

if TYPE_CHECKING:
    from mlrpl_cli.core.training.train import TrainingSummary


@options.with_flags({"": TrainConfig}, {"method": METHODS, "loss": LOSSES})
def train(
    resume: Annotated[
        bool, option(None, "Continue --run, or the newest run, from its last epoch.", "--resume")
    ] = False,
    fresh: Annotated[bool, option(None, "Start over where --run holds a run.", "--fresh")] = False,
    config: options.Config = None,
    assignments: options.Assignments = None,
    as_json: options.Json = False,
    **given: Any,
) -> None:
    """Train a method on a prepared folder.

    Writes checkpoints, a log and TensorBoard events to the run folder. Ctrl-C ends after the last finished epoch, and
    the same command goes on from there to the same weights as an uninterrupted run; once it is finished it says so.
    Other options need another --run, or --fresh, which starts over.
    """
    from mlrpl_cli.core.decisions.after_training import train_and_decide
    from mlrpl_cli.core.runs.options import asked_config

    if resume and fresh:
        raise ConfigError("--resume goes on with a run and --fresh starts it over; leave one of them out")
    asked = asked_config(config, given, assignments or (), resume)
    summary = train_and_decide(asked, console.progress(), resume, fresh)
    if as_json:
        from mlrpl_cli.commands.results import print_result
        from mlrpl_cli.core.runs.checkpoint import load_checkpoint
        from mlrpl_cli.core.runs.folder import load_config
        from mlrpl_cli.core.runs.provenance import of_run

        run = summary.run
        print_result("train", summary, asdict(load_config(run)), of_run(run, load_checkpoint(run, LAST).info))
    else:
        _print_summary(summary)
    if summary.interrupted:
        raise typer.Exit(console.INTERRUPTED)


def _print_summary(summary: TrainingSummary) -> None:
    rows = [
        ("method", summary.method),
        ("learned parameters", f"{summary.learned_parameters:,}"),
        ("epochs done", str(summary.epochs_done)),
    ]
    if summary.selected:
        rows += [
            (f"{summary.selection} mAP, last epoch", console.percent(summary.last_map)),
            (f"{summary.selection} mAP, best epoch ({summary.best_epoch})", console.percent(summary.best_map)),
        ]
    if summary.folds:
        rows.append((f"out-of-fold mAP, {summary.folds} folds", console.percent(summary.out_of_fold_map)))
    if summary.calibration:
        losses = " → ".join(map(console.figure, (summary.log_loss_before, summary.log_loss_after)))
        rows.append((f"log loss of held-out cells, calibrated ({summary.calibration})", losses))
    if names := summary.not_learnable:
        rows.append((f"cannot be learned: {len(names)} of {summary.classes} classes", first_few(names, 10)))
    state, following = "Trained", "eval" if summary.tested else "predict IMAGES"
    if summary.interrupted:
        state, following = "Interrupted", "train --resume"
    console.print_table(f"{state}: {summary.run}", ("", ""), rows)
    console.print_note(f"next: mlrpl {following} --run {quote(str(summary.run))}")
