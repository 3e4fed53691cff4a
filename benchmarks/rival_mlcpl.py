"""`python -m benchmarks.rival_mlcpl`: losses, figures and VOC reader beside those of mlcpl, its own code, in one run.

mlcpl (the package index, MIT) is the nearest public library: its labels are 1, 0 and NaN for unknown.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.mlcpl_rows.mlcpl_rows import library
from benchmarks.rival_rows import CLASSES, IMAGES, KNOWN_SHARE, SEED, TOLERANCE, Row, loss_rows, metric_rows, voc_rows
from benchmarks.rival_voc import write_voc
from mlrpl_cli.core.io.errors import MlrplError

START, END = "<!-- measured -->", "<!-- end of measured -->"
HEAD = "| what | ours | mlcpl | difference | equal | why not |\n|---|---|---|---|---|---|"


def main(
    page: Annotated[Path | None, typer.Option(help="Put the tables into this page too, as docs/rival.md.")] = None,
) -> None:
    """Compare with mlcpl. The exit code is 1 where something is equal that was to differ, or the other way round."""
    try:
        mlcpl = library()
    except MlrplError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from error
    with tempfile.TemporaryDirectory() as folder:
        voc = [*voc_rows(mlcpl, write_voc(Path(folder)))]
    groups = {"Losses": [*loss_rows(mlcpl)], "Figures": [*metric_rows(mlcpl)], "VOC reader": voc}
    told = report(groups)
    print(told)
    if page:
        page.write_text(filled(page.read_text(encoding="utf-8"), told), encoding="utf-8")
    if wrong := surprises(groups):
        print(f"not as expected: {'; '.join(wrong)}", file=sys.stderr)
        raise typer.Exit(1)


def report(groups: dict[str, list[Row]]) -> str:
    """The versions of what was compared, and a Markdown table a group."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("mlcpl", "torchmetrics", "torch"))
    given = f"{IMAGES} images, {CLASSES} classes, {KNOWN_SHARE:.0%} of the cells known, seed {SEED}, float32"
    said = (
        f"With {versions}. {given}; a difference is a share of the largest of ours, and equal is up to {TOLERANCE:g}."
    )
    tables = ["\n".join([f"### {name}", "", HEAD, *(row.line() for row in rows)]) for name, rows in groups.items()]
    return "\n\n".join([said, *tables])


def filled(page: str, told: str) -> str:
    """A page with `told` between its marks."""
    before, _, rest = page.partition(START)
    return f"{before}{START}\n{told}\n{END}{rest.partition(END)[2]}"


def surprises(groups: dict[str, list[Row]]) -> list[str]:
    """What is equal though it was to differ, and what is not though it was to be."""
    return [row.what for rows in groups.values() for row in rows if row.equal != row.same]


if __name__ == "__main__":
    typer.run(main)
