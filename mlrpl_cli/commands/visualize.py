"""`mlrpl visualize`: attention over images, training curves and average precision per class, as PNG files."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.core.reports.options import FigureOptions


@options.with_flags({"": FigureOptions})
def visualize(
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="IMAGE|FOLDER|GLOB|-", help="Images to draw. Default: four test images."),
    ] = None,
    classes: options.Classes = None,
    **given: Any,
) -> None:
    """Draw what a trained run looks at and how it learned.

    attention-*.png: the attention of the most probable classes over each image; with --each a file an image, named
    after it and after where it lies. curves.png: loss and mAP against the epoch. average-precision.png: a bar a class
    on the test images (only without IMAGES, since it evaluates).
    """
    from mlrpl_cli.core.prediction.predictor import Unreadable
    from mlrpl_cli.core.reports.run_figures import draw_run

    chosen = FigureOptions(images=tuple(images or ()), classes=classes or (), **given)
    failed = False
    for written in draw_run(chosen, console.progress()):
        if isinstance(written, Unreadable):
            failed = True
            console.print_error(f"mlrpl: error: {written.reason}")
        else:
            console.print_line(written)
    if failed:
        raise typer.Exit(1)
