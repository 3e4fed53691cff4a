"""`mlrpl predict`: probabilities of classes for images, folders, patterns or names from standard input."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option
from mlrpl_cli.core.images.find import find_images
from mlrpl_cli.core.io.errors import ConfigError, agreeing, counted, csv_text
from mlrpl_cli.core.io.progress import Progress, Silent, track
from mlrpl_cli.core.io.schema import fields_of
from mlrpl_cli.core.prediction.bulk.options import BulkOptions
from mlrpl_cli.core.prediction.options import PredictOptions

if TYPE_CHECKING:
    from mlrpl_cli.core.prediction.images import ImagePredictor, Prediction, Unreadable
    from mlrpl_cli.core.runs.provenance import Provenance
    from mlrpl_cli.core.runs.trained import TrainedRun

UNCALIBRATED = "the probabilities are uncalibrated, and good for ranking alone"


class Row(NamedTuple):
    """One image: its classes, or why it could not be read."""

    image: str
    classes: list[dict[str, Any]]
    """Of each: class, probability, whether it could be learned (None where that is not known), the decision (None
    without one), whether the probability is calibrated, and what it was before."""
    error: str | None = None


@options.with_flags({"": BulkOptions})
def predict(
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE|FOLDER|GLOB|-", help="What to predict; - reads names from standard input."),
    ],
    classes: options.Classes = None,
    output: Annotated[
        str | None, option("NAME", "table, json, jsonl or csv.", "--format", default="table, or json with --json")
    ] = None,
    as_json: options.Json = False,
    skip_bad: Annotated[
        bool, option(None, "Exit with 0 although some images cannot be read, unless none can.", "--skip-bad")
    ] = False,
    **given: Any,
) -> None:
    """Predict which classes images show, with a trained run.

    With --backbone and --classes no run is needed: the backbone says, as it came, which of the names fits an image
    best, and its probabilities are uncalibrated. A file of mlrpl pack is given with --run, one of mlrpl export with
    --model.

    Probabilities are calibrated, and a class is yes, no or unsure, where the run has held-out cells to choose by
    (mlrpl decide); --threshold decides in place of these, and shows the classes above it. With both --top-k and
    --threshold a class must pass both. An image that cannot be read has an error in its place, also on stderr, and the
    others are predicted. The exit code is then 1, or 0 with --skip-bad; it is 4 when no image could be read.

    With --engine ray, images may also lie in Parquet files and tars, named by paths or by addresses such as
    s3://BUCKET/FOLDER, and the results are Parquet files below --out; the same command goes on where a job was stopped.
    """
    from mlrpl_cli.commands.results import print_result

    form, chosen = _form(output, as_json), BulkOptions(**given)
    chosen.check_engine()
    for without in ("backbone", "model"):
        if chosen.run is None and getattr(chosen, without) is not None and given.get("checkpoint") is not None:
            raise ConfigError(f"--checkpoint is of a run, and --{without} predicts without one; leave it out")
    if chosen.engine is not None:
        if output or as_json:
            raise ConfigError("--engine ray writes Parquet files to --out; leave --format and --json out")
        _exit(*_predict_many(images, chosen, classes), skip_bad)
        return
    paths = find_images(images, progress=console.progress())
    predictor, run, provenance = _load(chosen, classes)
    if run is not None:
        run.check_which(given.get("checkpoint"))
    selected = predictor.selection(classes, chosen.top_k, chosen.threshold, few=form == "table")
    results = predictor.predict_files(paths, chosen.batch_size, chosen.workers)
    failed = list[str]()
    rows = _rows(
        track(_progress(form), results, "predicting", len(paths)),
        predictor,
        selected,
        chosen.threshold is not None,
        failed,
    )
    if as_json:
        print_result(
            "predict",
            [_record(row) for row in rows],
            _plain(chosen) | {**_of_run(run), "classes": classes, "images": images},
            provenance,
            flat=False,
        )
    else:
        WRITERS[form](rows)
    _exit(len(paths), len(failed), skip_bad)


def _plain(chosen: PredictOptions) -> dict[str, Any]:
    """The options that have a say without an engine."""
    return {name: getattr(chosen, name) for name in fields_of(PredictOptions)}


def _of_run(run: TrainedRun | None) -> dict[str, Any]:
    """Which run it was, and which of its checkpoints."""
    return {"run": None} if run is None else {"run": run.place, "checkpoint": run.which}


def _exit(images: int, failed: int, skip_bad: bool) -> None:
    """End with the code that says how many of the images could not be read."""
    if failed == images:
        raise typer.Exit(console.NOTHING_READ)
    if failed and not skip_bad:
        raise typer.Exit(1)


def _predict_many(sources: list[str], chosen: BulkOptions, classes: tuple | None) -> tuple[int, int]:
    """How many images there are, and how many of them could not be read."""
    from mlrpl_cli.core.prediction.bulk.job import predict_many

    if (chosen.backbone is None or chosen.run is not None) and classes is not None:
        raise ConfigError("--engine ray writes the probabilities of all classes; leave --classes out")
    done = predict_many(sources, chosen, classes, console.progress())
    console.print_line(f"predictions of {counted(done.images - done.failed, 'image')}: {chosen.out}/predictions")
    if done.failed:
        cannot = agreeing(done.failed, "images cannot be read")
        console.print_error(f"mlrpl: error: {cannot}; {chosen.out}/errors says why")
    return done.images, done.failed


def _load(chosen: PredictOptions, classes: tuple | None) -> tuple[ImagePredictor, TrainedRun | None, Provenance]:
    """The predictor that is asked for, its run if it has one, and what its results come from."""
    if chosen.model is not None:
        return _load_model(chosen, chosen.model)
    if chosen.backbone is None or chosen.run is not None:
        return _load_run(chosen)
    from mlrpl_cli.core.prediction.predictor import Predictor
    from mlrpl_cli.core.runs.provenance import Provenance

    if not classes:
        names = '--classes "cat, dog, sofa"'
        raise ConfigError(f"--backbone {chosen.backbone} without a run needs the names to look for; add {names}")
    predictor = Predictor.from_backbone(chosen.backbone, classes, chosen.backbone_config, chosen.device)
    console.progress().warn(f"{chosen.backbone} as it came, trained on none of your labels: {UNCALIBRATED}")
    return predictor, None, Provenance(backbone_sha256=predictor.encoder.fingerprint)


def _load_run(chosen: PredictOptions) -> tuple[ImagePredictor, TrainedRun, Provenance]:
    """A run folder, or the file of one. Raises ConfigError for options that are not for one."""
    from mlrpl_cli.core.prediction.predictor import Predictor
    from mlrpl_cli.core.runs.trained import read_run

    if chosen.backbone_config is not None:
        raise ConfigError("--backbone-config is for --backbone without a run; a run knows its own, leave it out")
    run = read_run(chosen.run, chosen.checkpoint)
    predictor = Predictor.from_run(run, device=chosen.device, backbone=chosen.backbone)
    if predictor.notice:
        console.progress().warn(predictor.notice)
    return predictor, run, run.provenance


def _load_model(chosen: PredictOptions, file: str) -> tuple[ImagePredictor, None, Provenance]:
    """A model file. Raises ConfigError for options that are not for one."""
    from mlrpl_cli.core.prediction.model_file import ModelPredictor
    from mlrpl_cli.core.runs.provenance import Provenance

    for name in ("run", "backbone", "backbone_config"):
        if getattr(chosen, name) is not None:
            raise ConfigError(f"--model predicts without --{name.replace('_', '-')}, got both; leave one out")
    if chosen.device == "cuda":
        raise ConfigError("--model computes on the CPU, got --device cuda; leave one out")
    predictor = ModelPredictor.from_file(file)
    info = predictor.info
    seeds = {} if info.seed is None else {"train": info.seed}
    return predictor, None, Provenance(info.data_sha256, info.mask_sha256, info.backbone_sha256, seeds)


def _form(output: str | None, as_json: bool) -> str:
    """The format of the output. Raises ConfigError for one that there is not, and for two."""
    form = output or ("json" if as_json else "table")
    if form not in WRITERS:
        raise ConfigError(f"--format: expected one of {', '.join(WRITERS)}, got '{form}'")
    if as_json and form != "json":
        raise ConfigError(f"--json prints JSON, got --format {form} too; give one of them")
    return form


def _progress(form: str) -> Progress:
    """No bar between lines that come on the same terminal."""
    return Silent() if form in STREAMS and sys.stdout.isatty() else console.progress()


def _rows(
    results: Iterable[Prediction | Unreadable],
    predictor: ImagePredictor,
    selected: Callable[[Any], list[tuple[str, float]]],
    overridden: bool,
    failed: list[str],
) -> Iterator[Row]:
    """A row a result, of "yes" alone where --threshold decided.

    The images that cannot be read are told on stderr and added to `failed`.
    """
    from mlrpl_cli.core.prediction.images import Unreadable
    from mlrpl_cli.core.runs.decided.verdicts import YES

    learnable = dict(zip(predictor.classes, predictor.learnable or (), strict=False))
    for result in results:
        image = str(result.path)
        if isinstance(result, Unreadable):
            failed.append(image)
            console.print_error(f"mlrpl: error: {result.reason}")
            yield Row(image, [], result.reason)
        else:
            raw = result.probabilities if result.raw is None else result.raw
            decisions: Iterable[str | None] = result.decisions or repeat(None)
            if overridden and result.decisions:
                decisions = repeat(YES)
            more = {
                name: {"decision": decision, "calibrated": name not in predictor.uncalibrated, "raw": float(before)}
                for name, decision, before in zip(predictor.classes, decisions, raw, strict=False)
            }
            scores = selected(result.probabilities)
            told = (
                {"class": name, "probability": p, "learnable": learnable.get(name), **more[name]} for name, p in scores
            )
            yield Row(image, list(told))


def _write_table(rows: Iterable[Row]) -> None:
    rows = list(rows)
    console.print_table(
        "Predictions", ("image", "classes and their probabilities"), [(row.image, _cell(row)) for row in rows]
    )
    if any(entry["learnable"] is False for row in rows for entry in row.classes):
        console.print_line(console.NOT_LEARNABLE)


def _cell(row: Row) -> str:
    if row.error is not None:
        return f"error: {row.error}"
    scores = (" ".join(_words(entry)) for entry in row.classes)
    return ", ".join(scores) or "–"


def _words(entry: dict[str, Any]) -> list[str]:
    """A class as a table has it: "dog", "0.931" and, where that was chosen, "yes"."""
    name, decision = console.marked(entry["class"], entry["learnable"]), entry["decision"]
    return [name, f"{entry['probability']:.3f}", *([decision] if decision else [])]


def _write_json(rows: Iterable[Row]) -> None:
    console.print_json([_record(row) for row in rows])


def _write_jsonl(rows: Iterable[Row]) -> None:
    for row in rows:
        console.print_json(_record(row), indent=None)


def _record(row: Row) -> dict[str, Any]:
    told = {"classes": row.classes} if row.error is None else {"error": row.error}
    return {"image": row.image, **told}


def _write_csv(rows: Iterable[Row]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["image", "class", "probability", "learnable", "error", "decision", "calibrated", "raw"])
    for row in rows:
        image = csv_text(row.image)
        if row.error is not None:
            writer.writerow([image, "", "", "", csv_text(row.error), "", "", ""])
        for entry in row.classes:
            probability, learnable = f"{entry['probability']:.6f}", console.csv_truth(entry["learnable"])
            told = entry["decision"] or "", console.csv_truth(entry["calibrated"]), f"{entry['raw']:.6f}"
            writer.writerow([image, csv_text(entry["class"]), probability, learnable, "", *told])


WRITERS = {"table": _write_table, "json": _write_json, "jsonl": _write_jsonl, "csv": _write_csv}
STREAMS = frozenset({"jsonl", "csv"})
"""Formats of which a line is written as soon as its image is done."""
