"""Which annotation files of the form of COCO's instances a root holds, of which split, and where their images are."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mlrpl_cli.core.images.find import list_folder
from mlrpl_cli.core.io.errors import DataError, first_few
from mlrpl_cli.core.io.reading import KIB, open_file
from mlrpl_cli.core.labels.own import home_of, split_in
from mlrpl_cli.core.labels.records import SPLIT_NAMES, SPLITS, TRAIN, Reading

MOST_FILES = 100
"""In one folder; where more are JSON, each is of one image, and opening all of them would take long."""
LISTS = NEGATIVE, NOT_EXHAUSTIVE = "neg_category_ids", "not_exhaustive_category_ids"
"""Lists of categories that an image of LVIS has."""
_ENDS = 256 * KIB
_LISTED = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')


class AnnotationFile(NamedTuple):
    """Where an annotation file is, and what its place says."""

    path: Path
    split: str | None
    places: tuple[str, ...]
    """Folders below the images' root that may hold its images, the first that does counts."""


def kind_of(path: Path) -> str | None:
    """ "lvis" or "coco", as the beginning and the end of a file show; None when it is of another form or unreadable."""
    try:
        with open_file(path) as stream:
            ends = stream.read(_ENDS)
            stream.seek(max(len(ends), os.fstat(stream.fileno()).st_size - _ENDS))
            ends += stream.read(_ENDS)
    except (OSError, DataError):
        return None
    found = set(_LISTED.findall(ends))
    if not ends.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{") or not found & {b"images", b"annotations"}:
        return None
    if b"categories" not in found and b'"category_id"' not in ends:
        return None
    federated = any(f'"{key}"'.encode() in ends for key in LISTS) or (b'"synset"' in ends and b'"frequency"' in ends)
    return "lvis" if federated else "coco"


def find_files(root: Path, kind: str) -> list[Path]:
    """The annotation files that `root` is or holds, in the first layout that has some; those of `kind` if there are."""
    if not os.path.isdir(root):
        return [root] if os.path.exists(root) else []
    for folders in (["annotations"], [""], (name for split in SPLITS for name in _folders(root, split))):
        paths = (path for folder in folders for path in _json_files(root / folder))
        if kinds := {path: found for path in paths if (found := kind_of(path))}:
            files = [path for path, found in kinds.items() if found == kind] or list(kinds)
            # Beside instances, a release has key points of the same images, whose only category is person.
            return [path for path in files if path.name.startswith("instances")] or files
    return []


def _json_files(folder: Path) -> list[Path]:
    try:
        names = sorted(name for name in list_folder(folder) if name.lower().endswith(".json") and name[0] != ".")
    except DataError:
        return []
    return [folder / name for name in names] if len(names) <= MOST_FILES else []


def recognise_files(root: Path, kind: str, like: str) -> str | None:
    """Why `root` is a data set of files of `kind`, which are `like` something."""
    found = next((path for path in find_files(root, kind) if kind_of(path) == kind), None)
    if found is None:
        return None
    return f"{found.relative_to(image_home(root)).as_posix()} has {like}"


def image_home(root: Path) -> Path:
    """The folder that images lie below when none is named."""
    folder = home_of(root)
    return folder.parent if folder.name == "annotations" else folder


def with_splits(root: Path, paths: Sequence[Path], images: Path, reading: Reading) -> list[AnnotationFile]:
    """`paths`, training first, with the splits that words of their names, or else of their folders' names, say.

    A file that is alone, and not of training, is of no split. Problems are files of no split beside others, and a set
    of files without one of training.
    """
    home = image_home(root)
    names = {path: path.relative_to(home).as_posix() for path in paths}
    splits = {path: _split_of(path, home) for path in paths}
    told = {split for split in splits.values() if split}
    if len(paths) == 1 and TRAIN not in told:
        if told:
            reading.notes.append(f"{names[paths[0]]} is the only file and not of train: test images are drawn")
        splits[paths[0]] = None
    elif told and len(told) < len(set(splits.values())):
        bare = [name for path, name in names.items() if not splits[path]]
        reading.problems.extend("annotation files say no split by name, beside others that do", bare)
    elif told and TRAIN not in told:
        reading.problems.add("annotation files are of no split that trains", first_few(names.values()))
    elif told:
        said = (f"{names[path]} is of {splits[path]}" for path in paths)
        reading.notes.append(f"splits are told by names of files and folders: {first_few(said, 6)}")
    ordered = sorted(paths, key=lambda path: SPLITS.index(splits[path] or TRAIN))
    return [AnnotationFile(path, splits[path], _places(path, home, images, splits[path])) for path in ordered]


def _split_of(path: Path, home: Path) -> str | None:
    """The split that the name of a file says, or else the name of its folder, which above the root says no more."""
    folder = path.parent.name
    return split_in(path.stem) or (SPLIT_NAMES.get(folder.casefold()) if path.parent == home else split_in(folder))


def _places(path: Path, home: Path, images: Path, split: str | None) -> tuple[str, ...]:
    """Where tools put the images of an annotation file: beside it, or in a folder of its name or of its split."""
    beside = path.parent.relative_to(home).as_posix().removeprefix(".")
    stem = path.stem.removeprefix("instances_")
    bases = ("" if beside == "annotations" else beside, "", beside)
    usual = [posixpath.join(base, name) for base in bases for name in ("", "images", "data", stem, f"images/{stem}")]
    named = [posixpath.join(base, name) for base in ("", "images") for name in _folders(images / base, split)]
    return tuple(dict.fromkeys(place.rstrip("/") for place in usual + named))


def _folders(folder: Path, split: str | None) -> list[str]:
    """The folders in `folder` whose names say `split`."""
    try:
        names = os.listdir(folder) if split else []
    except (OSError, ValueError):
        return []
    return sorted(name for name in names if split_in(name) == split and os.path.isdir(folder / name))
