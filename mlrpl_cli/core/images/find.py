"""The image files that a command line means, and those that a data set names."""

from __future__ import annotations

import glob
import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mlrpl_cli.core.io.errors import DataError, Problems
from mlrpl_cli.core.io.reading import leads_outside

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
"""What counts as an image in a folder; a file that is named itself may have any suffix."""


def find_images(arguments: Sequence[str], names: Iterable[str] | None = None) -> list[Path]:
    """The image files that command-line arguments mean, in the order given, each once.

    A file stands for itself, a folder for the images anywhere below it in sorted order (by suffix; hidden ones are
    left out), a pattern for what it matches, and "-" for `names`, one a line: by default those of standard input.
    What cannot be read stays in the list, so that reading it says so without stopping the others: a line that names
    nothing, a link that leads nowhere, a folder inside another that cannot be listed.
    Raises DataError for arguments that name nothing and when there is no image at all.
    """
    problems, found = Problems(), dict[str, Path]()
    for argument in arguments:
        meant = _lines(names) if argument == "-" else _matches(argument)
        paths = [path for name in meant for path in (images_below(Path(name)) if os.path.isdir(name) else [Path(name)])]
        if not paths:
            problems.add("arguments name no image", "standard input" if argument == "-" else argument)
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
    problems.extend("image names lead outside the image folder", (name for name in names if leads_outside(name)))
    inside = [name for name in names if not leads_outside(name)]
    folders = {name.rpartition("/")[:2] for name in inside}
    present = {folder + slash + file for folder, slash in folders for file in list_folder(root / folder)}
    problems.extend("images are missing", (name for name in inside if name not in present))


# os.path and not Path asks what a name is: it answers no where Path raises, as for names that are too long.
def _matches(argument: str) -> list[str]:
    """A file or folder of that name, or the folders and images that it matches as a pattern."""
    if os.path.lexists(argument):
        return [argument]
    return [name for name in sorted(glob.glob(argument, recursive=True)) if os.path.isdir(name) or is_image(name)]


def _lines(names: Iterable[str] | None) -> Iterator[str]:
    """Those of `names`, or of standard input, whose bytes that are no text are kept as Python keeps them in names."""
    if names is None and isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
    return filter(None, (line.rstrip("\r\n") for line in (sys.stdin if names is None else names)))


def images_below(folder: Path) -> Iterator[Path]:
    """Images below `folder`, sorted; linked folders are followed, but no folder is entered twice.

    A folder below it that cannot be listed stands for itself. Raises DataError when `folder` cannot be.
    """
    entered, waiting = set[tuple[int, int]](), [folder]
    while waiting:
        path = waiting.pop()
        try:
            entries, status = _entries(path), os.stat(path)
        except (DataError, OSError):  # it is a file, or cannot be listed
            if path is folder:
                raise
            yield path
            continue
        if (identity := (status.st_dev, status.st_ino)) not in entered:
            entered.add(identity)
            shown = (entry for entry in entries if not entry.name.startswith("."))
            inside = [entry.name for entry in shown if is_image(entry.name) or os.path.isdir(entry)]
            waiting.extend(path / name for name in sorted(inside, reverse=True))


def is_image(name: str) -> bool:
    """Whether a file of that name counts as an image in a folder."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror}; check the path and its permissions") from error


def list_folder(folder: Path) -> set[str]:
    """The names of the files in a folder; none for what is no folder.

    A link is asked by os.path, which answers no where `DirEntry.is_file` raises: for one that leads in a circle.
    """
    entries = _entries(folder) if os.path.isdir(folder) else []
    return {entry.name for entry in entries if entry.is_file(follow_symlinks=False) or os.path.isfile(entry)}
