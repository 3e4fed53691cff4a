"""`mlrpl visualize`: attention over images, training curves and average precision per class, as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mlrpl_cli.commands import console, options


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
    from mlrpl_cli.core.prediction.predictor import Unreadable
    from mlrpl_cli.core.reports.run_figures import FigureOptions, draw_run
    from mlrpl_cli.core.runs.folder import newest_run

    given: dict[str, Any] = {"checkpoint": checkpoint, "device": device or "auto", "top_k": top_k, "workers": workers}
    named: dict[str, Any] = {"images": tuple(images or ()), "classes": tuple(options.names(classes))}
    chosen = FigureOptions(run or newest_run(), out, **named, **given)
    failed = False
    for written in draw_run(chosen, console.progress()):
        if isinstance(written, Unreadable):
            failed = True
            console.print_error(f"mlrpl: error: {written.reason}")
        else:
            console.print_line(written)
    if failed:
        raise typer.Exit(1)
