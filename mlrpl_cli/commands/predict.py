"""`mlrpl predict`: probabilities of classes for images, folders, patterns or names from standard input."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.core.images.find import find_images
from mlrpl_cli.core.io.errors import ConfigError

Scores = list[tuple[str, float]]


def predict(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE|FOLDER|GLOB|-…", help="What to predict; - reads names from stdin.")
    ],
    run: options.Run = None,
    checkpoint: options.Checkpoint = "best",
    top_k: Annotated[
        int | None, typer.Option("--top-k", min=1, help="Show the k most probable classes.", show_default="3")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", min=0.0, max=1.0, help="Show classes more probable than this.")
    ] = None,
    classes: options.Classes = None,
    output: Annotated[str, typer.Option("--format", metavar="NAME", help="table, json, jsonl or csv.")] = "table",
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    device: options.Device = None,
) -> None:
    """Predict which classes images show, with a trained run (default: the newest below ./runs).

    With both --top-k and --threshold a class must pass both. An image that cannot be read is named on stderr, the
    others are predicted, and the exit code is 1.
    """
    from mlrpl_cli.core.prediction.predictor import Predictor, Unreadable
    from mlrpl_cli.core.prediction.selection import Selection
    from mlrpl_cli.core.runs.folder import newest_run

    if output not in WRITERS:
        raise ConfigError(f"--format: expected one of {', '.join(WRITERS)}, got '{output}'")
    paths = find_images(images)
    predictor = Predictor.from_run(run or newest_run(), checkpoint, device or "auto")
    named = None if classes is None else options.names(classes)
    selection = Selection.make(predictor, named, top_k, threshold)
    failures = 0

    def rows() -> Iterator[tuple[str, Scores]]:
        nonlocal failures
        for result in predictor.predict_files(paths, batch_size or 32, workers):
            if isinstance(result, Unreadable):
                failures += 1
                console.print_error(f"mlrpl: error: {result.reason}")
            else:
                yield str(result.path), selection.of(result.probabilities)

    WRITERS[output](rows())
    if failures:
        raise typer.Exit(1)


def _write_table(rows: Iterator[tuple[str, Scores]]) -> None:
    lines = [(path, ", ".join(f"{name} {score:.3f}" for name, score in scores) or "–") for path, scores in rows]
    if lines:
        console.print_table("Predictions", ("image", "classes and their probabilities"), lines)


def _write_json(rows: Iterator[tuple[str, Scores]]) -> None:
    console.print_json([_record(path, scores) for path, scores in rows])


def _write_jsonl(rows: Iterator[tuple[str, Scores]]) -> None:
    for path, scores in rows:
        sys.stdout.write(json.dumps(_record(path, scores)) + "\n")
        sys.stdout.flush()


def _write_csv(rows: Iterator[tuple[str, Scores]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["image", "class", "probability"])
    for path, scores in rows:
        image = console.csv_text(path)
        writer.writerows((image, console.csv_text(name), f"{score:.6f}") for name, score in scores)


def _record(path: str, scores: Scores) -> dict[str, Any]:
    return {"image": path, "classes": [{"class": name, "probability": score} for name, score in scores]}


WRITERS: dict[str, Callable[[Iterator[tuple[str, Scores]]], None]] = {
    "table": _write_table,
    "json": _write_json,
    "jsonl": _write_jsonl,
    "csv": _write_csv,
}
