"""`mlrpl visualize`: attention over images, training curves and average precision per class, as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.core.images.find import find_images
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.files import atomic_file, check_writable
from mlrpl_cli.core.labels.records import TEST

if TYPE_CHECKING:
    from PIL import Image

    from mlrpl_cli.core.prediction.predictor import Prediction, Predictor

EXAMPLES = 4
IMAGES_A_FIGURE = 8


def visualize(
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="[IMAGE|FOLDER|GLOB|-…]", help="Images to look at.", show_default="four test images"),
    ] = None,
    run: options.Run = None,
    checkpoint: options.Checkpoint = "best",
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="Classes an image, the most probable ones.")] = 3,
    classes: options.Classes = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to write.", show_default="RUN/figures")
    ] = None,
    device: options.Device = None,
    workers: options.Workers = None,
) -> None:
    """Draw what a trained run looks at and how it learned.

    attention-*.png: the attention of the most probable classes over each image. curves.png: loss and mAP against
    the epoch. average-precision.png: a bar a class on the test images (only without IMAGES, since it evaluates).
    """
    from mlrpl_cli.core.evaluation.evaluate import EvaluationOptions, evaluate
    from mlrpl_cli.core.prediction.predictor import Prediction, Predictor, Unreadable
    from mlrpl_cli.core.reports.figures import draw_average_precision, draw_curves
    from mlrpl_cli.core.runs.folder import newest_run, read_log

    folder = run or newest_run()
    target = out or folder / "figures"
    check_writable(target)
    predictor = Predictor.from_run(folder, checkpoint, device or "auto")
    chosen = [predictor.class_index(name) for name in options.names(classes)]
    paths = find_images(images) if images else _examples(Path(predictor.info.data))
    results = list(predictor.predict_files(paths, workers=workers))
    for result in results:
        if isinstance(result, Unreadable):
            console.print_error(f"mlrpl: error: {result.reason}")
    drawn = [result for result in results if isinstance(result, Prediction)]
    for number, start in enumerate(range(0, len(drawn), IMAGES_A_FIGURE), start=1):
        part = drawn[start : start + IMAGES_A_FIGURE]
        _save(_attention(part, predictor, chosen, top_k), target / f"attention-{number}.png")
    if not images:
        _save(draw_curves(read_log(folder)), target / "curves.png")
        chosen_options = EvaluationOptions(run=folder, checkpoint=checkpoint, device=device or "auto", workers=workers)
        figures = evaluate(chosen_options, console.progress())
        bars = draw_average_precision(figures.classes, figures.metrics.average_precision)
        _save(bars, target / "average-precision.png")
    if len(drawn) < len(results):
        raise typer.Exit(1)


def _examples(prepared_folder: Path) -> list[Path]:
    """The first test images that show several classes, so that there is something to tell apart."""
    import numpy as np

    from mlrpl_cli.core.prepared.folder import read_prepared

    prepared = read_prepared(prepared_folder)
    rows = prepared.rows(TEST)
    if not len(rows):
        raise DataError(f"{prepared_folder} has no test image; name images to draw")
    several = rows[np.argsort(-(prepared.full_labels[rows] == 1).sum(axis=1).clip(max=3), kind="stable")]
    return prepared.paths(several[:EXAMPLES])


def _attention(part: list[Prediction], predictor: Predictor, chosen: list[int], top_k: int) -> Image.Image:
    import numpy as np

    from mlrpl_cli.core.images.decode import load_pixels
    from mlrpl_cli.core.reports.figures import draw_attention

    pixels, maps, titles = [], [], []
    for result in part:
        shown = chosen or list(np.argsort(-result.probabilities, kind="stable")[:top_k])
        pixels.append(load_pixels(result.path, predictor.encoder.image_size))
        maps.append(result.attention[shown])
        titles.append([f"{predictor.classes[c]} {result.probabilities[c]:.2f}" for c in shown])
    return draw_attention(pixels, maps, titles)


def _save(picture: Image.Image, path: Path) -> None:
    with atomic_file(path) as temporary:
        picture.save(temporary, format="PNG")
    console.print_line(path)
