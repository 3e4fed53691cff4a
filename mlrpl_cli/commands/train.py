"""`mlrpl train`: options to a configuration, one call, a summary."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option

if TYPE_CHECKING:
    from mlrpl_cli.core.training.train import TrainingSummary


def train(
    context: typer.Context,
    data: options.Data = None,
    method: Annotated[
        str | None, option("NAME", "zero-shot, baseline, sd, cspo, sarl, sarl+, sa, dualcoop or linear.")
    ] = None,
    backbone: Annotated[
        str | None, option("NAME", "tiny, RN50, RN101, ViT-B/16, …, a checkpoint file, random:RN101.")
    ] = None,
    image_size: Annotated[int | None, option("N", "Side of the square input in pixels.")] = None,
    epochs: Annotated[int | None, option("N", "Passes over the training images.")] = None,
    lr: Annotated[float | None, option("X", "Peak learning rate of the attention.")] = None,
    semantics: Annotated[str | None, option("NAME", "What guides the attention: clip or glove.")] = None,
    glove: Annotated[Path | None, option("FILE", "Word vectors in GloVe's text format.")] = None,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    precision: options.Precision = None,
    workers: options.Workers = None,
    seed: Annotated[int | None, option("N", "Seed of initialisation, order and views.")] = None,
    run: Annotated[Path | None, option("DIR", "Run folder to write.", show_default="a new one below ./runs")] = None,
    resume: Annotated[
        bool, option(None, "Continue --run (default: the newest) from its last epoch.", "--resume")
    ] = False,
    config: Annotated[Path | None, option("FILE", "YAML file of options; flags override it.")] = None,
    assignments: Annotated[
        list[str] | None, option("KEY=VALUE", "Any option by its name in the configuration; repeatable.", "--set")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Train a method on a prepared folder (default: the newest one below ./prepared).

    Writes checkpoints, a log and TensorBoard events to the run folder. Ctrl-C ends after the last finished epoch,
    and --resume goes on from there to the same weights as an uninterrupted run.
    """
    from mlrpl_cli.core.config import TrainConfig, given_options, make_config
    from mlrpl_cli.core.runs.options import config_problems, resume_config
    from mlrpl_cli.core.training.train import train as train_method

    given = given_options(assignments, options.given(context, TrainConfig))
    chosen = resume_config(run, config, given) if resume else make_config(config, given, config_problems)
    summary = train_method(chosen, console.progress(), resume)
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
