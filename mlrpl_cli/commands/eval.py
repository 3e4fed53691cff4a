"""`mlrpl eval`: a trained run's figures on a split, as tables, JSON and CSV."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.core.io.files import atomic_file, check_writable

if TYPE_CHECKING:
    from mlrpl_cli.core.evaluation.evaluate import Evaluation
    from mlrpl_cli.core.evaluation.metrics import PrecisionRecall


def eval(
    run: options.Run = None,
    data: options.Data = None,
    checkpoint: options.Checkpoint = "best",
    split: Annotated[
        str, typer.Option("--split", metavar="NAME", help="test, or validation or train by their observed labels.")
    ] = "test",
    threshold: Annotated[
        float, typer.Option("--threshold", min=0.0, max=1.0, help="Predicted are classes more probable than this.")
    ] = 0.5,
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="Also: predicted are the k most probable.")] = 3,
    ap: Annotated[
        str, typer.Option("--ap", metavar="NAME", help="Average precision: all-point, interpolated or 11-point.")
    ] = "all-point",
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    device: options.Device = None,
    precision: options.Precision = None,
    as_json: options.Json = False,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write the per-class figures as CSV.")
    ] = None,
) -> None:
    """Measure a trained run: mAP, AP per class, and precision, recall and F1 at a threshold and for the top k.

    The mAP leaves out classes without a positive in the split, and names them. CF1 has two definitions: the
    harmonic mean of CP and CR (SSGRL, SST, SARB, HST) and the mean of the classes' F1 (DualCoOp); both are given.
    """
    from mlrpl_cli.core.evaluation.evaluate import EvaluationOptions, as_dict, evaluate
    from mlrpl_cli.core.runs.folder import newest_run

    given: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "device": device, "precision": precision}
    given |= {"checkpoint": checkpoint, "split": split, "threshold": threshold, "top_k": top_k, "ap": ap, "data": data}
    chosen = EvaluationOptions(run or newest_run(), **{key: value for key, value in given.items() if value is not None})
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
    per_class = zip(result.classes, result.positives.tolist(), metrics.average_precision.tolist(), strict=True)
    rows = [(name, positives, console.percent(value)) for name, positives, value in per_class]
    console.print_table(f"Average precision (%) · {title}", ("class", "positives", "AP"), rows)
    ways = (
        (f"p > {chosen.threshold:g}", metrics.at_threshold),
        (f"top {chosen.top_k}", metrics.at_top_k),
    )
    columns = ("predicted when", "OP", "OR", "OF1", "CP", "CR", "CF1 (of CP, CR)", "CF1 (mean of F1)")
    console.print_table("Precision and recall (%)", columns, [(name, *_figures(way)) for name, way in ways])
    if result.left_out:
        console.print_line(f"left out of the mean, without a positive: {', '.join(result.left_out)}")
    console.print_line(f"mAP ({chosen.ap}): {console.percent(metrics.mean_average_precision)}")


def _figures(way: PrecisionRecall) -> list[str]:
    values = (way.op, way.or_, way.of1, way.cp, way.cr, way.cf1_of_means, way.cf1_mean_of_f1)
    return [console.percent(value) for value in values]


def _write_csv(result: Evaluation, path: Path) -> None:
    names = [console.csv_text(name) for name in result.classes]
    rows: Any = zip(names, result.positives, result.metrics.average_precision, strict=True)
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["class", "positives", "average_precision"])
        writer.writerows(rows)
