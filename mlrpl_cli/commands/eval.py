"""`mlrpl eval`: a trained run's figures on a split, as tables, JSON and CSV."""

from __future__ import annotations

import csv
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.io.errors import csv_text, first_few
from mlrpl_cli.core.io.files import atomic_file, check_writable
from mlrpl_cli.core.labels.records import TRAIN

if TYPE_CHECKING:
    from mlrpl_cli.core.decisions.measured import MeasuredDecisions
    from mlrpl_cli.core.evaluation.evaluate import Evaluation

CSV_COLUMNS = ("class", "positives", "average_precision", "learnable", "negatives")


@options.with_flags({"": EvaluationOptions})
def eval(
    as_json: options.Json = False,
    csv_file: Annotated[Path | None, option("FILE", "Write the per-class figures as CSV.", "--csv")] = None,
    require: Annotated[
        list[str] | None,
        option("FIGURE>=X", "Exit with 3 unless a figure is so: map>=0.6, ap[person]>=0.7; repeatable.", "--require"),
    ] = None,
    **given: Any,
) -> None:
    """Measure a trained run: mAP, AP per class, and precision, recall and F1 at a threshold and for the top k.

    Every figure leaves out the classes without a positive, or without a known absent cell, in the split, and they are
    named. CF1 has two definitions: the harmonic mean of CP and CR (SSGRL, SST, SARB, HST) and the mean of the classes'
    F1 (DualCoOp); both are given.

    --threshold and the top k are of probabilities as the method gives them, as the literature has it; where the run is
    calibrated there are figures at its thresholds, too. Images that the run was trained on are left out, whatever they
    are called. --require takes map, map_learnable,
    ap[CLASS], and at the threshold op, or, of1, cp, cr, cf1_of_means, cf1_mean_of_f1: shares from 0 to 1.
    """
    from mlrpl_cli.core.decisions import measured
    from mlrpl_cli.core.evaluation.evaluate import as_dict, evaluate

    chosen = EvaluationOptions(**given, require=tuple(require or ()))
    if csv_file is not None:
        check_writable(csv_file)
    result = evaluate(chosen, console.progress())
    decisions = measured.measure(result, console.progress())
    if csv_file is not None and console.is_main_process():
        _write_csv(result, csv_file)
    if as_json:
        from mlrpl_cli.commands.results import print_result
        from mlrpl_cli.core.runs.provenance import of_run

        settled = vars(result.options) | {"data": result.prepared.folder}
        told = as_dict(result) | {"decisions": measured.as_dict(decisions)}
        print_result("eval", told, settled, of_run(settled["run"], result.info, result.prepared))
    else:
        _print_tables(result, decisions)
    failed = [judged for judged in result.requirements if not judged.met]
    for judged in failed if console.is_main_process() else ():
        console.print_error(f"mlrpl: {judged.sentence}")
    if failed:
        raise typer.Exit(console.REQUIREMENT_FAILED)


def _print_tables(result: Evaluation, decisions: MeasuredDecisions) -> None:
    metrics, chosen = result.metrics, result.options
    seen = f", {result.seen.trained_on} of them trained on" if chosen.split == TRAIN and result.seen.trained_on else ""
    title = f"{result.method}, epoch {result.epoch} of {chosen.run}, {result.images} {chosen.split} images{seen}"
    average_precision = map(console.percent, metrics.average_precision.tolist())
    names = (console.marked(name, name not in result.not_learnable) for name in result.classes)
    cells = result.positives.tolist(), result.negatives.tolist()
    rows = list(zip(names, *cells, average_precision, strict=True))
    console.print_table(f"Average precision (%) · {title}", ("class", "positives", "negatives", "AP"), rows)
    columns = ("predicted when", "OP", "OR", "OF1", "CP", "CR", "CF1 (of CP, CR)", "CF1 (mean of F1)")
    method = "method's " if decisions.at_thresholds else ""
    ways = {f"{method}p > {chosen.threshold:g}": metrics.at_threshold, f"{method}top {chosen.top_k}": metrics.at_top_k}
    figures = [(name, *map(console.percent, astuple(way))) for name, way in (ways | decisions.decided).items()]
    console.print_table("Precision and recall (%)", columns, figures)
    _print_reliability(decisions)
    _print_classes_told_apart(result)
    mean, of_learnable = (console.percent(figure) for figure in (metrics.mean_average_precision, result.map_learnable))
    differs = result.not_learnable and of_learnable != mean
    beside = f"; of the classes that could be learned: {of_learnable}" if differs else ""
    console.print_line(f"mAP ({chosen.ap}): {mean}{beside}")


def _print_reliability(decisions: MeasuredDecisions) -> None:
    columns = ("probabilities", "calibration error", "Brier score", "log loss", "mean p", "present")
    rows = [(name, *map(console.figure, astuple(way))) for name, way in decisions.reliabilities.items()]
    console.print_table("Reliability over known cells", columns, rows)
    if decisions.unsure is not None:
        console.print_line(f"neither yes nor no: {console.percent(decisions.unsure)}% of the known cells")


def _print_classes_told_apart(result: Evaluation) -> None:
    told = {
        "left out of every figure, without a positive": result.without_present,
        "left out of every figure, without a known absent cell": result.without_absent,
        console.NOT_LEARNABLE: result.not_learnable,
    }
    for what, names in told.items():
        if names:
            console.print_line(f"{what}: {len(names)} of {len(result.classes)} classes: {first_few(names, 10)}")


def _write_csv(result: Evaluation, path: Path) -> None:
    names, aps = map(csv_text, result.classes), result.metrics.average_precision
    learnable = map(console.csv_truth, result.learnable or [None] * len(aps))
    rows = zip(names, result.positives, aps, learnable, result.negatives, strict=True)
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([CSV_COLUMNS, *rows])
