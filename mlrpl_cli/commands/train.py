"""`mlrpl train`: options to a configuration, one call, a summary."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from mlrpl_cli.commands import console, options

if TYPE_CHECKING:
    from mlrpl_cli.core.training.train import TrainingSummary

INTERRUPTED = 130


def train(
    context: typer.Context,
    data: options.Data = None,
    method: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="zero-shot, baseline, sd, cspo, sarl, sarl+, sa, dualcoop or linear."),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="tiny, RN50, RN101, ViT-B/16, …, a checkpoint file, random:RN101."),
    ] = None,
    image_size: Annotated[int | None, typer.Option(metavar="N", help="Side of the square input in pixels.")] = None,
    epochs: Annotated[int | None, typer.Option(metavar="N", help="Passes over the training images.")] = None,
    lr: Annotated[float | None, typer.Option(metavar="X", help="Peak learning rate of the attention.")] = None,
    semantics: Annotated[
        str | None, typer.Option(metavar="NAME", help="What guides the attention: clip or glove.")
    ] = None,
    glove: Annotated[Path | None, typer.Option(metavar="FILE", help="Word vectors in GloVe's text format.")] = None,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    precision: options.Precision = None,
    workers: options.Workers = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed of initialisation, order and views.")] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Run folder to write.", show_default="a new one below ./runs")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue --run (default: the newest) from its last epoch.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML file of options; flags override it.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any option by its name in the configuration; repeatable."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Train a method on a prepared folder (default: the newest one below ./prepared).

    Writes checkpoints, a log and TensorBoard events to the run folder. Ctrl-C ends after the last finished epoch,
    and --resume goes on from there to the same weights as an uninterrupted run.
    """
    from mlrpl_cli.core.config import given_options, make_config, option_names
    from mlrpl_cli.core.runs.options import config_problems, resume_config
    from mlrpl_cli.core.training.train import train as train_method

    flags = {name: value for name, value in context.params.items() if name in option_names()}
    given = given_options(assignments, flags)
    chosen = resume_config(run, config, given) if resume else make_config(config, given, config_problems)
    summary = train_method(chosen, console.progress(), resume)
    if as_json:
        console.print_json(summary)
    else:
        _print_summary(summary)
    if summary.interrupted:
        raise typer.Exit(INTERRUPTED)


def _print_summary(summary: TrainingSummary) -> None:
    rows = [
        ("method", summary.method),
        ("learned parameters", f"{summary.learned_parameters:,}"),
        ("epochs done", str(summary.epochs_done)),
        (f"{summary.selection} mAP, last epoch", console.percent(summary.last_map)),
        (f"{summary.selection} mAP, best epoch ({summary.best_epoch})", console.percent(summary.best_map)),
    ]
    title = f"{'Interrupted' if summary.interrupted else 'Trained'}: {summary.run}"
    console.print_table(title, ("", ""), rows)
    following = "train --resume" if summary.interrupted else "eval"
    console.print_note(f"next: mlrpl {following} --run {quote(str(summary.run))}")
