"""The figures of one run: attention over images, training curves, average precision of each class.

Axes: C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mlrpl_cli.core.decisions.measured import AS_GIVEN, calibrated_by
from mlrpl_cli.core.decisions.of_run import cross_validated, current_held_out
from mlrpl_cli.core.decisions.reliability import bins_of
from mlrpl_cli.core.evaluation.evaluate import evaluate
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.images.decode import load_pixels, open_image
from mlrpl_cli.core.images.find import find_images
from mlrpl_cli.core.io.errors import ConfigError, DataError, RunError
from mlrpl_cli.core.io.files import atomic_file, check_writable
from mlrpl_cli.core.io.progress import Progress, track
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.labels.states import PRESENT
from mlrpl_cli.core.prediction.images import Prediction, Unreadable
from mlrpl_cli.core.prediction.predictor import Predictor, TrainedPredictor
from mlrpl_cli.core.prepared.folder import read_prepared
from mlrpl_cli.core.reports.figures import (
    MOST_MAPS,
    draw_attention,
    draw_average_precision,
    draw_curves,
    draw_reliability,
)
from mlrpl_cli.core.reports.names import picture_name
from mlrpl_cli.core.reports.options import FigureOptions
from mlrpl_cli.core.reports.slides import MOST_PANELS, draw_slide, save_slide
from mlrpl_cli.core.runs.checkpoint import data_of
from mlrpl_cli.core.runs.decided.calibration import sigmoid
from mlrpl_cli.core.runs.folder import load_config, read_log
from mlrpl_cli.core.runs.trained import TrainedRun, read_run

EXAMPLES = 4
IMAGES_A_FIGURE = 8


def draw_run(
    options: FigureOptions, progress: Progress, trained: TrainedRun | None = None
) -> Iterator[Path | Unreadable]:
    """Write the figures as PNG; yields each file when it is written, and each unreadable image when it is met.

    One figure's images are in memory at a time. Raises ConfigError for classes that the run does not know or a figure
    has no room for, DataError for images that are not there and for a file that would be replaced and is no picture
    of mlrpl, RunError for a run that cannot be read.
    """
    trained = trained or read_run(options.run, options.checkpoint)
    run, given = trained.place, list(options.images)
    if trained.pack is not None and not given:
        raise RunError(f"{run} is a file of mlrpl pack, which holds no data; name the images to draw")
    out = options.out or (run / "figures" if trained.pack is None else run.with_name(f"{trained.name}-figures"))
    check_writable(out)
    predictor = Predictor.from_run(trained, device=options.device)
    if predictor.notice:
        progress.warn(predictor.notice)
    shown = Shown(predictor, [predictor.class_index(name) for name in options.classes], options.top_k)
    shown.check_room(MOST_PANELS - 1 if options.each else MOST_MAPS)
    if not given:
        yield _save(draw_curves(read_log(run)), out / "curves.png")
        yield from _draw_reliability(run, options.checkpoint, out)
    paths = find_images(given, progress=progress) if given else _examples(data_of(run, predictor.info))
    results = predictor.predict_files(paths, IMAGES_A_FIGURE, options.workers)
    draw = _draw_each if options.each else _draw_sheets
    yield from draw(track(progress, results, "drawing", len(paths)), shown, out)
    if not given:
        found = evaluate(EvaluationOptions(run, options.checkpoint, options.device, options.workers), progress)
        bars = draw_average_precision(found.classes, found.metrics.average_precision, found.learnable)
        yield _save(bars, out / "average-precision.png")


def _draw_reliability(run: Path, checkpoint: str, out: Path) -> Iterator[Path]:
    """Before and after calibration, over the known held-out cells of all classes; of a run without such, nothing.

    What is drawn of each image was fitted to the others.
    """
    held = current_held_out(run).get(checkpoint)
    if held is None or not held.known:
        return
    chosen, labels = cross_validated(held, load_config(run).seed), held.labels.ravel()
    if not chosen.calibration.checked:
        return
    ways = {
        AS_GIVEN: sigmoid(held.logits),
        calibrated_by(chosen.calibration.family): chosen.held_out,
    }
    bins = {name: bins_of(p.ravel(), labels) for name, p in ways.items()}
    title = f"reliability over {held.known:,} known cells of {len(held.rows):,} {held.source} images"
    yield _save(draw_reliability(bins, title), out / "reliability.png")


@dataclass(frozen=True)
class Shown:
    """Which classes of an image are drawn, and what stands beside them."""

    predictor: TrainedPredictor
    columns: list[int]
    """The chosen classes; empty for the most probable ones."""
    top_k: int

    def check_room(self, room: int) -> None:
        """Raise ConfigError for more classes an image than there is room for."""
        if (maps := len(self.columns) or min(self.top_k, len(self.predictor.classes))) > room:
            advice = "lower --top-k or --classes"
            raise ConfigError(f"a figure has room for {room} classes an image, not {maps}; {advice}")

    def of(self, result: Prediction) -> tuple[np.ndarray, list[str]]:
        """Maps (k, h, w) and titles of k classes."""
        columns = self.columns or np.argsort(-result.probabilities, kind="stable")[: self.top_k].tolist()
        titles = [f"{self.predictor.classes[c]} {result.probabilities[c]:.2f}" for c in columns]
        for place, column in enumerate(columns):
            if result.learnable and not result.learnable[column]:
                titles[place] += " (could not be learned)"
        return result.attention[columns], titles


def _draw_sheets(results: Iterable[Prediction | Unreadable], shown: Shown, out: Path) -> Iterator[Path | Unreadable]:
    predictor, rows, numbers = shown.predictor, list[Any](), count(1)
    for result in chain(results, [None]):
        if isinstance(result, Unreadable):
            yield result
        elif result:
            pixels = load_pixels(result.path, predictor.encoder.image_size, predictor.info.allow_truncated)
            rows.append((pixels, result.path.name, *shown.of(result)))
        if len(rows) == IMAGES_A_FIGURE or (rows and result is None):
            yield _save(draw_attention(*zip(*rows, strict=True)), out / f"attention-{next(numbers)}.png")
            rows = []


def _draw_each(results: Iterable[Prediction | Unreadable], shown: Shown, out: Path) -> Iterator[Path | Unreadable]:
    for result in results:
        if isinstance(result, Unreadable):
            yield result
        else:
            image = open_image(result.path, allow_truncated=shown.predictor.info.allow_truncated)
            maps, titles = shown.of(result)
            yield save_slide(draw_slide(image, result.path.name, maps, titles), out / picture_name(result.path))


def _save(picture: Image.Image, path: Path) -> Path:
    with atomic_file(path) as temporary:
        picture.save(temporary, format="PNG")
    return path


def _examples(prepared_folder: Path) -> list[Path]:
    """The first test images that show several classes, so that there is something to tell apart."""
    prepared = read_prepared(prepared_folder, "name images to draw")
    rows = prepared.rows(TEST)
    if not len(rows):
        raise DataError(f"{prepared_folder} has no test image; name images to draw")
    shown = (prepared.full_labels[rows] == PRESENT).sum(axis=1)
    return prepared.paths(rows[np.argsort(-shown.clip(max=3), kind="stable")][:EXAMPLES])
