"""The image files that a command line means, and those that a data set names."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mlrpl_cli.core.archives import leads_outside
from mlrpl_cli.core.errors import DataError, Problems

SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"]
)
"""What counts as an image in a folder; a file that is named itself may have any suffix."""


def find_images(arguments: Sequence[str], names: Iterable[str] | None = None) -> list[Path]:
    """The image files that command-line arguments mean, in the order given, each once.

    A file stands for itself, a folder for the images anywhere below it in sorted order (by suffix; hidden ones are
    left out), a pattern for what it matches, and "-" for `names`, one a line: by default those of standard input.
    A line that names nothing stays in the list, so that reading it says so without stopping the others.
    Raises DataError for arguments that name nothing and when there is no image at all.
    """
    problems, found = Problems(), dict[str, Path]()
    for argument in arguments:
        lines = argument == "-"
        paths = list(_from_lines(sys.stdin if names is None else names) if lines else _from_argument(argument))
        if not paths:
            problems.add("arguments name no image", "standard input" if lines else argument)
        for path in paths:
            found.setdefault(os.path.abspath(path), path)
    problems.raise_if_any("images", f"give files, folders or patterns of {' '.join(sorted(SUFFIXES))}")
    if not found:
        raise DataError("no image was given; name files, folders, patterns, or - for names on standard input")
    return list(found.values())


def check_images(root: Path, names: Sequence[str], problems: Problems) -> None:
    """Add to `problems` the `names`, relative to `root`, that lead outside it and those that are not there.

    Each folder is listed once, which is many times faster than asking for each of 100,000 files.
    """
    inside = [name for name in names if not leads_outside(name)]
    problems.extend("image names lead outside the image folder", (name for name in names if leads_outside(name)))
    present = {folder: _file_names(root / folder) for folder in {name.rpartition("/")[0] for name in inside}}
    for name in inside:
        folder, _, file = name.rpartition("/")
        if file not in present[folder]:
            problems.add("images are missing", name)


def _from_argument(argument: str) -> Iterator[Path]:
    path = Path(argument)
    if path.is_dir():
        yield from _below(path)
    elif path.exists():
        yield path
    elif glob.has_magic(argument):
        for match in sorted(glob.glob(argument, recursive=True)):
            yield from _from_match(Path(match))


def _from_match(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from _below(path)
    elif path.suffix.lower() in SUFFIXES:
        yield path


def _from_lines(names: Iterable[str]) -> Iterator[Path]:
    for name in (line.rstrip("\r\n") for line in names):
        if name:
            path = Path(name)
            yield from _below(path) if path.is_dir() else [path]


def _below(folder: Path) -> Iterator[Path]:
    """Images below `folder`, sorted; linked folders are followed, but no folder is entered twice."""
    entered: set[str] = set()

    def visit(current: Path) -> Iterator[Path]:
        real = os.path.realpath(current)
        if real in entered:
            return
        entered.add(real)
        for entry in sorted(_entries(current), key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from visit(current / entry.name)
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                yield current / entry.name

    return visit(folder)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror}; check the path and its permissions") from error


def _file_names(folder: Path) -> set[str]:
    return {entry.name for entry in _entries(folder) if entry.is_file()} if folder.is_dir() else set()
