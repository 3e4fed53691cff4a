"""`mlrpl runs`: the prepared folders and runs that there are, and which a command takes when none is named."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option

if TYPE_CHECKING:
    from mlrpl_cli.core.runs.listing import Listing

NEWEST = "newest"


def runs(
    prepared: Annotated[Path | None, option("FOLDER", "Where prepared folders lie.", default="./prepared")] = None,
    runs: Annotated[Path | None, option("FOLDER", "Where runs lie.", default="./runs")] = None,
    as_json: options.Json = False,
) -> None:
    """List prepared folders and runs, the newest first.

    The newest of each is what a command takes that is given no --data or no --run. mAP is that of the best epoch, on
    the split that chose it; of a cross-validated run there is that of all folds, each by a model that was not trained
    on it.
    """
    from mlrpl_cli.core.prepared.folder import PREPARED
    from mlrpl_cli.core.runs.folder import RUNS
    from mlrpl_cli.core.runs.listing import list_all

    places = {"prepared": prepared or PREPARED, "runs": runs or RUNS}
    listing = list_all(**places)
    for problem in listing.problems:
        console.print_warning(problem)
    if as_json:
        from mlrpl_cli.commands.results import print_result

        print_result("runs", listing, places, flat=False)
    else:
        _print_tables(listing)


def _print_tables(listing: Listing) -> None:
    data = [
        (e.folder, e.dataset, e.classes, *e.images.values(), _share(e.keep), _date(e.date), _mark(e.newest))
        for e in listing.prepared
    ]
    columns = ("folder", "data set", "classes", "train", "validation", "test", "keep", "date", "")
    _print_table("Prepared folders", columns, data, "none; make one with mlrpl prepare")
    found, crossed = [], any(e.folds for e in listing.runs)
    for e in listing.runs:
        made, done = (e.folder, e.data.name, e.method, e.backbone), f"{e.epochs_done}/{e.epochs}"
        figures = (console.percent(e.best_map), *([console.percent(e.out_of_fold_map)] if crossed else []))
        found.append((*made, _share(e.keep), done, *figures, _date(e.date), _mark(e.newest)))
    told = ("mAP", "out-of-fold mAP") if crossed else ("mAP",)
    columns = ("folder", "data", "method", "backbone", "keep", "epochs", *told, "date", "")
    _print_table("Runs", columns, found, "none; make one with mlrpl train")


def _print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], nothing: str) -> None:
    if rows:
        console.print_table(title, columns, rows)
    else:
        console.print_line(f"{title}: {nothing}")


def _share(keep: float | None) -> str:
    return console.MISSING if keep is None else f"{keep:.0%}"


def _date(date: datetime) -> str:
    return f"{date:%Y-%m-%d %H:%M}"


def _mark(newest: bool) -> str:
    return NEWEST if newest else ""
