"""The figures of one run: attention over images, training curves, average precision of each class.

Axes: C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count
from pathlib import Path

import numpy as np
from PIL import Image

from mlrpl_cli.core.evaluation.evaluate import evaluate
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.images.decode import load_pixels
from mlrpl_cli.core.images.find import find_images
from mlrpl_cli.core.io.errors import ConfigError, DataError
from mlrpl_cli.core.io.files import atomic_file, check_writable
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.labels.states import PRESENT
from mlrpl_cli.core.prediction.predictor import Prediction, Predictor, Unreadable
from mlrpl_cli.core.prepared.folder import read_prepared
from mlrpl_cli.core.reports.figures import MOST_MAPS, draw_attention, draw_average_precision, draw_curves
from mlrpl_cli.core.reports.options import FigureOptions
from mlrpl_cli.core.runs.checkpoint import data_of
from mlrpl_cli.core.runs.folder import newest_run, read_log

EXAMPLES = 4
IMAGES_A_FIGURE = 8


def draw_run(options: FigureOptions, progress: Progress) -> Iterator[Path | Unreadable]:
    """Write the figures as PNG; yields each file when it is written, and each unreadable image when it is met.

    One figure's images are in memory at a time. Raises ConfigError for classes that the run does not know or a figure
    has no room for, DataError for images that are not there, RunError for a run that cannot be read.
    """
    run = options.run or newest_run()
    out = options.out or run / "figures"
    check_writable(out)
    predictor = Predictor.from_run(run, options.checkpoint, options.device)
    columns = [predictor.class_index(name) for name in options.classes]
    if (maps := len(columns) or min(options.top_k, len(predictor.classes))) > MOST_MAPS:
        raise ConfigError(f"a figure has room for {MOST_MAPS} classes an image, not {maps}; lower --top-k or --classes")
    given = list(options.images)
    paths = find_images(given, progress=progress) if given else _examples(data_of(run, predictor.info))
    results = predictor.predict_files(paths, IMAGES_A_FIGURE, options.workers)
    yield from _draw_attention(results, predictor, columns, options.top_k, out)
    if not options.images:
        yield _save(draw_curves(read_log(run)), out / "curves.png")
        found = evaluate(EvaluationOptions(run, options.checkpoint, options.device, options.workers), progress)
        bars = draw_average_precision(found.classes, found.metrics.average_precision)
        yield _save(bars, out / "average-precision.png")


def _draw_attention(
    results: Iterable[Prediction | Unreadable], predictor: Predictor, columns: Sequence[int], top_k: int, out: Path
) -> Iterator[Path | Unreadable]:
    rows, numbers = [], count(1)
    for result in chain(results, [None]):
        if isinstance(result, Unreadable):
            yield result
        elif result:
            shown = columns or np.argsort(-result.probabilities, kind="stable")[:top_k].tolist()
            titles = [f"{predictor.classes[c]} {result.probabilities[c]:.2f}" for c in shown]
            pixels = load_pixels(result.path, predictor.encoder.image_size, predictor.info.allow_truncated)
            rows.append((pixels, result.attention[shown], titles))
        if len(rows) == IMAGES_A_FIGURE or (rows and result is None):
            yield _save(draw_attention(*zip(*rows, strict=True)), out / f"attention-{next(numbers)}.png")
            rows = []


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
