"""`mlrpl review`: a page on which people answer, while the model learns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.core.review.options import ReviewOptions

if TYPE_CHECKING:
    from mlrpl_cli.core.review.review import Opened
    from mlrpl_cli.core.runs.provenance import Provenance


@options.with_flags({"": ReviewOptions})
def review(
    data: Annotated[
        Path | None,
        typer.Argument(metavar="PREPARED", help="Prepared folder. Default: the newest below ./prepared."),
    ] = None,
    as_json: options.Json = False,
    **given: Any,
) -> None:
    """Answer unknown and doubtful labels in the browser, by keyboard; the model learns from the answers meanwhile.

    Prints the address of a page on this machine, which holds a secret, and serves it until Ctrl-C. Answers go to a
    file of their own, each before the page says that it is saved; mlrpl prepare --root FILE makes labels of them. No
    test image is asked of. With --json one line is printed once the page can be opened.
    """
    from mlrpl_cli.commands.results import print_result
    from mlrpl_cli.core.review.review import review as serve

    chosen = ReviewOptions(data=data, **given)

    def opened(found: Opened, provenance: Provenance) -> None:
        if as_json:
            settled = vars(chosen) | {"data": found.data, "run": found.run, "answers": found.answers}
            print_result("review", found, settled, provenance, flat=False, one_line=True)
            return
        told = f"{found.images} images, {found.classes} classes, {found.open_cells} open cells"
        console.print_line(f"{told}; {found.stands} answers so far in {found.answers}")
        console.print_line(f"open {found.url}")
        console.print_line("Ctrl-C ends it")

    closed = serve(chosen, opened, console.progress())
    if not as_json:
        console.print_line(f"{closed.stands} answers are in {closed.answers}")
        disagreements = "" if chosen.disagreements == "unknown" else f" --disagreements {chosen.disagreements}"
        console.print_line(f"labels of them: mlrpl prepare --root {closed.answers}{disagreements}")
