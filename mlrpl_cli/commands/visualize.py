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
    as_json: options.Json = False,
    **given: Any,
) -> None:
    """Draw what a trained run looks at and how it learned.

    attention-*.png: the attention of the most probable classes over each image; with --each a file an image, named
    after it and after where it lies. curves.png: loss and mAP against the epoch. average-precision.png: a bar a class
    on the test images (only without IMAGES, since it evaluates). reliability.png: probabilities of held-out cells
    against how many are present, before and after calibration.
    """
    from mlrpl_cli.commands.results import print_result
    from mlrpl_cli.core.prediction.images import Unreadable
    from mlrpl_cli.core.reports.run_figures import draw_run
    from mlrpl_cli.core.runs.trained import read_run

    chosen = FigureOptions(images=tuple(images or ()), classes=classes or (), **given)
    trained = read_run(chosen.run, chosen.checkpoint)
    trained.check_which(given.get("checkpoint"))
    files, errors = list[str](), list[dict[str, str]]()
    for written in draw_run(chosen, console.progress(), trained):
        if isinstance(written, Unreadable):
            errors.append({"image": str(written.path), "error": written.reason})
            console.print_error(f"mlrpl: error: {written.reason}")
        else:
            files.append(str(written))
            if not as_json:
                console.print_line(written)
    if as_json:
        settled = vars(chosen) | {"run": trained.place, "checkpoint": trained.which}
        print_result("visualize", {"files": files, "errors": errors}, settled, trained.provenance, flat=False)
    if errors:
        raise typer.Exit(1)
