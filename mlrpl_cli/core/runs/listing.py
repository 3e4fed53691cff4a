"""What there is: the prepared folders and the runs below the current folder, and which of them is the newest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from mlrpl_cli.core.config import LAST
from mlrpl_cli.core.io.errors import MlrplError
from mlrpl_cli.core.io.files import REPLACED_PREFIX
from mlrpl_cli.core.io.tensorfiles import SUFFIX
from mlrpl_cli.core.labels.records import SPLITS
from mlrpl_cli.core.prepared.folder import MANIFEST, PREPARED, is_prepared, newest_prepared, options_of, read_prepared
from mlrpl_cli.core.runs.checkpoint import data_of, load_checkpoint
from mlrpl_cli.core.runs.folder import RUNS, checkpoint_path, load_config, newest_run, read_out_of_fold

T = TypeVar("T")


@dataclass(frozen=True)
class PreparedEntry:
    """A prepared folder, in short."""

    folder: Path
    dataset: str
    classes: int
    images: dict[str, int]
    """How many images each split has."""
    keep: float | None
    """Share of the label cells that stay known; None where the folder does not say."""
    date: datetime
    """When it was written."""
    newest: bool
    """Whether it is what a command takes that is given no --data."""


@dataclass(frozen=True)
class RunEntry:
    """A run, in short."""

    folder: Path
    data: Path
    """The prepared folder that it was trained on."""
    method: str
    backbone: str
    keep: float | None
    """Of its data; None where they are gone."""
    epochs: int
    """Epochs asked for."""
    epochs_done: int
    selection: str
    """The split that chose its best epoch."""
    best_map: float | None
    """mAP on that split, in [0, 1]; None when no class has an AP there."""
    date: datetime
    """When its last checkpoint was written."""
    newest: bool
    """Whether it is what a command takes that is given no --run."""
    folds: int | None = None
    """How many folds it was measured with; None without cross-validation, and until that is done."""
    out_of_fold_map: float | None = None
    """mAP in [0, 1] of scores by recognizers that were not trained on the image; None when no class has an AP."""


@dataclass(frozen=True)
class Listing:
    """Prepared folders and runs, the newest first."""

    prepared: list[PreparedEntry] = field(default_factory=list)
    runs: list[RunEntry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """One line for each folder that cannot be read."""


def list_all(prepared: Path = PREPARED, runs: Path = RUNS) -> Listing:
    """Everything below the folders `prepared` and `runs`; both may be missing."""
    listing = Listing()
    newest_data, newest = _newest(newest_prepared, prepared), _newest(newest_run, runs)
    for folder in sorted({path.parent for path in prepared.glob(f"*/{MANIFEST}")}):
        if is_prepared(folder) and not folder.name.startswith(REPLACED_PREFIX):
            _add(listing, listing.prepared, partial(_prepared, folder, folder == newest_data))
    for folder in sorted(path.parent for path in runs.glob(f"*/{LAST}{SUFFIX}")):
        _add(listing, listing.runs, partial(_run, folder, folder == newest))
    for found in (listing.prepared, listing.runs):
        found.sort(key=lambda entry: entry.date, reverse=True)
    return listing


def _add(listing: Listing, found: list[T], read: Callable[[], T]) -> None:
    try:
        found.append(read())
    except MlrplError as error:
        listing.problems.append(str(error))


def _newest(find: Callable[[Path], Path], parent: Path) -> Path | None:
    try:
        return find(parent)
    except MlrplError:
        return None


def _prepared(folder: Path, newest: bool) -> PreparedEntry:
    prepared = read_prepared(folder)
    images = {split: prepared.splits.count(split) for split in SPLITS}
    date = _date(folder / MANIFEST)
    return PreparedEntry(folder, prepared.dataset, len(prepared.classes), images, _keep(folder), date, newest)


def _run(folder: Path, newest: bool) -> RunEntry:
    info, config = load_checkpoint(folder, LAST).info, load_config(folder)
    data = data_of(folder, info)
    date = _date(checkpoint_path(folder, LAST))
    epochs, measured = (config.epochs, info.epoch), read_out_of_fold(folder)
    told = (measured.folds, measured.map) if measured else ()
    return RunEntry(
        folder, data, info.method, info.backbone, _keep(data), *epochs, config.selection, info.best_map, date, newest,
        *told,
    )  # fmt: skip


def _keep(prepared: Path) -> float | None:
    """What the manifest of a prepared folder says; None where that is not there, or is no number."""
    options = options_of(prepared)
    keep = options.get("keep") if isinstance(options, dict) else None
    return float(keep) if isinstance(keep, int | float) else None


def _date(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime).astimezone()
