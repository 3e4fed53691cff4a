"""Where a label file is written, and what has to be known of it once it is."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from mlrpl_cli.core.io.errors import DataError, agreeing, first_few
from mlrpl_cli.core.io.files import check_writable
from mlrpl_cli.core.io.reading import short
from mlrpl_cli.core.labels.formats.registry import DATASETS
from mlrpl_cli.core.labels.records import TRAIN
from mlrpl_cli.core.labels.states import STATES
from mlrpl_cli.core.labels.writers.coco import FILES, FOLDER
from mlrpl_cli.core.labels.writers.registry import SUFFIXES, Export, writer_of
from mlrpl_cli.core.prepared.folder import Prepared

EXPORTS = Path("exports")
"""Where label files are written when nothing else is said, below the current folder."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    path: Path
    """The file, or the folder."""
    format: str
    data: Path
    """The prepared folder that it was made from."""
    images: int
    classes: int
    states: dict[str, int]
    """How many cells are present, absent and unknown, by these names."""
    notes: tuple[str, ...]
    """A sentence for everything that the format loses, or that another program has to know."""
    read_back: str | None
    """The command that prepares it again; None where there is none."""
    not_learnable: tuple[str, ...] | None = None
    """Classes that the run could not learn, whose cells say nothing; None for labels, and where that is not known."""


def out_problems(out: Path | None, form: str) -> list[str]:
    """A sentence for a place that is not named as a format's reader needs it; `out` is as the user gave it."""
    suffix, found = SUFFIXES[form], list[str]()
    if out is not None and suffix and out.suffix.lower() != suffix:
        found.append(f"--out {out}: {form} is a file that ends in {suffix}; name one")
    if out is not None and not suffix and out.suffix.lower() == ".json":
        found.append(f"--out {out}: {form} is a folder with a file for each split; name a folder")
    return found


def name_of(folder: Path) -> str:
    """What a folder is called, also when it is "."."""
    return folder.absolute().name


def place_of(out: Path | None, named: str, form: str, prepared: Prepared, overwrite: bool) -> Path:
    """Where labels of `prepared` are written in a format: `out`, or without it a file that is `named` so.

    Raises DataError as `target`.
    """
    usual = EXPORTS / f"{named}-{form}{SUFFIXES[form]}"
    return target(out or usual, bool(SUFFIXES[form]), prepared, overwrite)


def target(path: Path, as_file: bool, prepared: Prepared, overwrite: bool, flag: str = "--out") -> Path:
    """`path`, or what it links to, which is replaced. Raises DataError rather than replace what is not to be."""
    path = Path(os.path.realpath(path)) if os.path.islink(path) else path
    if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(prepared.folder)):
        raise DataError(f"{path} is in the prepared folder {prepared.folder}; name another place with {flag}")
    if os.path.lexists(path):
        _check_replaceable(path, as_file, overwrite, flag)
    check_writable(path)
    return path


def _check_replaceable(path: Path, as_file: bool, overwrite: bool, flag: str) -> None:
    """Raises DataError for what is neither an empty folder nor, with `overwrite`, what an export of this kind wrote."""
    kind, fits = ("file", os.path.isfile) if as_file else ("folder", os.path.isdir)
    if not fits(path):
        raise DataError(f"{path} is there and no {'regular ' * as_file}{kind}; name a {kind} with {flag}")
    if not as_file:
        try:
            names = os.listdir(path)
            inside = [f"{FOLDER}/{name}" for name in os.listdir(path / FOLDER)] if FOLDER in names else []
        except OSError as error:
            raise DataError(f"cannot list {path}: {error.strerror}; name another folder with {flag}") from error
        if foreign := sorted({*names, *inside} - {FOLDER, *FILES}):
            told = first_few(map(short, foreign))
            raise DataError(f"{path} holds more than label files ({told}); name another folder with {flag}")
        if not names:
            return
    if not overwrite:
        raise DataError(f"{path} is there already; --overwrite replaces it, and {flag} names another place")


def check_names(export: Export) -> None:
    """Raises DataError for image names that are bytes beyond UTF-8, in which all formats are written."""
    names = map(export.image, range(len(export.records.images)))
    odd = [short(name) for name in names if name.encode(errors="replace") != name.encode(errors="surrogatepass")]
    if odd:
        told = f"{agreeing(len(odd), 'image names are not UTF-8, which label files are')} ({first_few(odd)})"
        raise DataError(f"{told}; rename them and prepare again")


def write_export(export: Export, path: Path, form: str, prepared: Prepared, told: tuple[str, ...] = ()) -> Exported:
    """Write to `path`, whole or not at all; the notes begin with those `told`."""
    written = writer_of(form)(export, path)
    records, notes = export.records, (*told, *written.notes)
    has_training = TRAIN in records.splits
    if export.prefix:
        notes += (f"names of images begin with {short(export.prefix)}, so mlrpl prepare finds no images by them",)
    if not has_training:
        notes += ("it has no training image, and mlrpl prepare needs some",)
    read_back = None
    if has_training and not export.prefix and written.dataset and written.dataset in DATASETS:
        command = ["mlrpl", "prepare", "--dataset", written.dataset, "--root", str(path)]
        truncated = ["--allow-truncated"] * prepared.allow_truncated
        read_back = shlex.join([*command, "--images", str(records.image_root), *written.flags, *truncated])
    counts = {state: int((records.full_labels == value).sum()) for state, value in STATES.items()}
    return Exported(path, form, prepared.folder, len(records.images), len(records.classes), counts, notes, read_back)
