"""`mlrpl visualize`: attention over images, training curves and average precision per class, as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option


def visualize(
    context: typer.Context,
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="[IMAGE|FOLDER|GLOB|-…]", help="Images to look at.", show_default="four test images"),
    ] = None,
    run: options.Run = None,
    checkpoint: options.Checkpoint = "best",
    top_k: Annotated[int, option(None, "Classes an image, the most probable ones.", min=1)] = 3,
    classes: options.Classes = None,
    out: Annotated[Path | None, option("DIR", "Where to write.", show_default="RUN/figures")] = None,
    device: options.Device = None,
    workers: options.Workers = None,
) -> None:
    """Draw what a trained run looks at and how it learned.

    attention-*.png: the attention of the most probable classes over each image. curves.png: loss and mAP against
    the epoch. average-precision.png: a bar a class on the test images (only without IMAGES, since it evaluates).
    """
    from mlrpl_cli.core.prediction.predictor import Unreadable
    from mlrpl_cli.core.reports.run_figures import FigureOptions, draw_run
    from mlrpl_cli.core.runs.folder import newest_run

    chosen = FigureOptions(**{**options.given(context, FigureOptions), "run": run or newest_run()})
    failed = False
    for written in draw_run(chosen, console.progress()):
        if isinstance(written, Unreadable):
            failed = True
            console.print_error(f"mlrpl: error: {written.reason}")
        else:
            console.print_line(written)
    if failed:
        raise typer.Exit(1)
