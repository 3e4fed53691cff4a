"""`mlrpl train`: options to a configuration, one call, a summary."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.heads.registry import LOSSES, METHODS

if TYPE_CHECKING:
    from mlrpl_cli.core.training.train import TrainingSummary


@options.with_flags({"": TrainConfig}, {"method": METHODS, "loss": LOSSES})
def train(
    resume: Annotated[
        bool, option(None, "Continue --run, or the newest run, from its last epoch.", "--resume")
    ] = False,
    config: options.Config = None,
    assignments: options.Assignments = None,
    as_json: options.Json = False,
    **given: Any,
) -> None:
    """Train a method on a prepared folder.

    Writes checkpoints, a log and TensorBoard events to the run folder. Ctrl-C ends after the last finished epoch,
    and --resume goes on from there to the same weights as an uninterrupted run.
    """
    from mlrpl_cli.core.runs.options import asked_config
    from mlrpl_cli.core.training.train import train as train_method

    summary = train_method(asked_config(config, given, assignments or (), resume), console.progress(), resume)
    if as_json:
        console.print_json(summary)
    else:
        _print_summary(summary)
    if summary.interrupted:
        raise typer.Exit(console.INTERRUPTED)


def _print_summary(summary: TrainingSummary) -> None:
    rows = [
        ("method", summary.method),
        ("learned parameters", f"{summary.learned_parameters:,}"),
        ("epochs done", str(summary.epochs_done)),
        (f"{summary.selection} mAP, last epoch", console.percent(summary.last_map)),
        (f"{summary.selection} mAP, best epoch ({summary.best_epoch})", console.percent(summary.best_map)),
    ]
    state, following = ("Interrupted", "train --resume") if summary.interrupted else ("Trained", "eval")
    console.print_table(f"{state}: {summary.run}", ("", ""), rows)
    console.print_note(f"next: mlrpl {following} --run {quote(str(summary.run))}")
