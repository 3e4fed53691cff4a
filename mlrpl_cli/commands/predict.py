"""`mlrpl predict`: probabilities of classes for images, folders, patterns or names from standard input."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option
from mlrpl_cli.core.images.find import find_images
from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.prediction.options import PredictOptions

Rows = Iterator[tuple[str, list[tuple[str, float]]]]
"""Images, each with the probabilities of its classes."""


@options.with_flags({"": PredictOptions})
def predict(
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE|FOLDER|GLOB|-", help="What to predict; - reads names from standard input."),
    ],
    classes: options.Classes = None,
    output: Annotated[str, option("NAME", "table, json, jsonl or csv.", "--format", default="table")] = "table",
    **given: Any,
) -> None:
    """Predict which classes images show, with a trained run.

    With both --top-k and --threshold a class must pass both. An image that cannot be read is named on stderr, the
    others are predicted, and the exit code is 1.
    """
    from mlrpl_cli.core.prediction.predictor import Predictor, Unreadable

    if output not in WRITERS:
        raise ConfigError(f"--format: expected one of {', '.join(WRITERS)}, got '{output}'")
    chosen, paths = PredictOptions(**given), find_images(images, progress=console.progress())
    predictor = Predictor.from_run(chosen.run, chosen.checkpoint, chosen.device)
    selected = predictor.selection(classes, chosen.top_k, chosen.threshold)
    failed = False

    def rows() -> Rows:
        nonlocal failed
        for result in predictor.predict_files(paths, chosen.batch_size, chosen.workers):
            if isinstance(result, Unreadable):
                failed = True
                console.print_error(f"mlrpl: error: {result.reason}")
            else:
                yield str(result.path), selected(result.probabilities)

    WRITERS[output](rows())
    if failed:
        raise typer.Exit(1)


def _write_table(rows: Rows) -> None:
    lines = [(path, ", ".join(f"{name} {score:.3f}" for name, score in scores) or "–") for path, scores in rows]
    if lines:
        console.print_table("Predictions", ("image", "classes and their probabilities"), lines)


def _write_json(rows: Rows) -> None:
    console.print_json(list(_records(rows)))


def _write_jsonl(rows: Rows) -> None:
    for record in _records(rows):
        console.print_json(record, indent=None)


def _write_csv(rows: Rows) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["image", "class", "probability"])
    for path, scores in rows:
        image = console.csv_text(path)
        writer.writerows((image, console.csv_text(name), f"{score:.6f}") for name, score in scores)


def _records(rows: Rows) -> Iterator[dict[str, Any]]:
    for path, scores in rows:
        yield {"image": path, "classes": [{"class": name, "probability": score} for name, score in scores]}


WRITERS = {"table": _write_table, "json": _write_json, "jsonl": _write_jsonl, "csv": _write_csv}
