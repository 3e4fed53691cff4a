"""`mlrpl eval`: a trained run's figures on a split, as tables, JSON and CSV."""

from __future__ import annotations

import csv
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.io.errors import first_few
from mlrpl_cli.core.io.files import atomic_file, check_writable

if TYPE_CHECKING:
    from mlrpl_cli.core.evaluation.evaluate import Evaluation


@options.with_flags({"": EvaluationOptions})
def eval(
    as_json: options.Json = False,
    csv_file: Annotated[Path | None, option("FILE", "Write the per-class figures as CSV.", "--csv")] = None,
    **given: Any,
) -> None:
    """Measure a trained run: mAP, AP per class, and precision, recall and F1 at a threshold and for the top k.

    Every figure leaves out the classes without a positive, or without a known absent cell, in the split, and they are
    named. CF1 has two definitions: the harmonic mean of CP and CR (SSGRL, SST, SARB, HST) and the mean of the classes'
    F1 (DualCoOp); both are given.
    """
    from mlrpl_cli.core.evaluation.evaluate import as_dict, evaluate

    chosen = EvaluationOptions(**given)
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
    for lacked, names in (("positive", result.without_present), ("known absent cell", result.without_absent)):
        if names:
            of = f"{len(names)} of {len(result.classes)} classes: {first_few(names, 10)}"
            console.print_line(f"left out of every figure, without a {lacked}: {of}")
    console.print_line(f"mAP ({chosen.ap}): {console.percent(metrics.mean_average_precision)}")


def _write_csv(result: Evaluation, path: Path) -> None:
    names = map(console.csv_text, result.classes)
    rows = zip(names, result.positives, result.metrics.average_precision, strict=True)
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("class", "positives", "average_precision"), *rows])
