"""`mlrpl eval`: a trained run's figures on a split, as tables, JSON and CSV."""

from __future__ import annotations

import csv
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option
from mlrpl_cli.core.io.files import atomic_file, check_writable

if TYPE_CHECKING:
    from mlrpl_cli.core.evaluation.evaluate import Evaluation


def eval(
    context: typer.Context,
    run: options.Run = None,
    data: Annotated[Path | None, option("DIR", "Prepared folder.", show_default="that of the run")] = None,
    checkpoint: options.Checkpoint = "best",
    split: Annotated[str, option("NAME", "test, or validation or train by their observed labels.")] = "test",
    threshold: Annotated[float, option(None, "Predicted are classes more probable than this.", min=0.0, max=1.0)] = 0.5,
    top_k: Annotated[int, option(None, "Also: predicted are the k most probable.", min=1)] = 3,
    ap: Annotated[str, option("NAME", "Average precision: all-point, interpolated or 11-point.")] = "all-point",
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    device: options.Device = None,
    precision: options.Precision = None,
    as_json: options.Json = False,
    csv_file: Annotated[Path | None, option("FILE", "Write the per-class figures as CSV.", "--csv")] = None,
) -> None:
    """Measure a trained run: mAP, AP per class, and precision, recall and F1 at a threshold and for the top k.

    The mAP leaves out classes without a positive in the split, and names them. CF1 has two definitions: the
    harmonic mean of CP and CR (SSGRL, SST, SARB, HST) and the mean of the classes' F1 (DualCoOp); both are given.
    """
    from mlrpl_cli.core.evaluation.evaluate import EvaluationOptions, as_dict, evaluate
    from mlrpl_cli.core.runs.folder import newest_run

    chosen = EvaluationOptions(**{**options.given(context, EvaluationOptions), "run": run or newest_run()})
    if csv_file is not None:
        check_writable(csv_file)
    result = evaluate(chosen, console.progress())
    if csv_file is not None and console.is_main_process():
        _write_csv(result, csv_file)
    if as_json:
        console.print_json(as_dict(result))
    else:
        _print_tables(result)


def _print_tables(result: Evaluation) -> None:
    metrics, chosen = result.metrics, result.options
    title = f"{result.method}, epoch {result.epoch} of {chosen.run}, {result.images} {chosen.split} images"
    average_precision = map(console.percent, metrics.average_precision.tolist())
    rows = list(zip(result.classes, result.positives.tolist(), average_precision, strict=True))
    console.print_table(f"Average precision (%) · {title}", ("class", "positives", "AP"), rows)
    columns = ("predicted when", "OP", "OR", "OF1", "CP", "CR", "CF1 (of CP, CR)", "CF1 (mean of F1)")
    ways = {f"p > {chosen.threshold:g}": metrics.at_threshold, f"top {chosen.top_k}": metrics.at_top_k}
    figures = [(name, *map(console.percent, astuple(way))) for name, way in ways.items()]
    console.print_table("Precision and recall (%)", columns, figures)
    if result.left_out:
        console.print_line(f"left out of the mean, without a positive: {', '.join(result.left_out)}")
    console.print_line(f"mAP ({chosen.ap}): {console.percent(metrics.mean_average_precision)}")


def _write_csv(result: Evaluation, path: Path) -> None:
    names = map(console.csv_text, result.classes)
    rows = zip(names, result.positives, result.metrics.average_precision, strict=True)
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("class", "positives", "average_precision"), *rows])
