"""The image files that a command line means, and those that a data set names."""

from __future__ import annotations

import glob
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from mlrpl_cli.core.io.errors import DataError, Problems
from mlrpl_cli.core.io.reading import leads_outside

SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"]
)
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
        lines = argument == "-"
        paths = list(_from_lines(_standard_input() if names is None else names) if lines else _from_argument(argument))
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


# os.path and not Path asks what a name is: it answers no where Path raises, as for names that are too long.


def _from_argument(argument: str) -> Iterator[Path]:
    if os.path.lexists(argument):
        yield from _named(argument)
    elif glob.has_magic(argument):
        for match in sorted(glob.glob(argument, recursive=True)):
            if os.path.isdir(match) or _looks_like_image(match):
                yield from _named(match)


def _from_lines(names: Iterable[str]) -> Iterator[Path]:
    for name in (line.rstrip("\r\n") for line in names):
        if name:
            yield from _named(name)


def _named(name: str) -> Iterable[Path]:
    """The images below a folder, or the one path, whatever it is."""
    return _below(Path(name)) if os.path.isdir(name) else [Path(name)]


def _standard_input() -> Iterable[str]:
    """Its lines, with bytes that are no text kept the way Python keeps them in file names."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
    return sys.stdin


def _below(folder: Path) -> Iterator[Path]:
    """Images below `folder`, sorted; linked folders are followed, but no folder is entered twice.

    A folder below it that cannot be listed stands for itself. Raises DataError when `folder` cannot be.
    """
    entered = set[tuple[int, int]]()
    waiting = list(reversed(_children(folder, entered)))
    while waiting:
        path, is_folder = waiting.pop()
        if not is_folder:
            yield path
            continue
        try:
            waiting.extend(reversed(_children(path, entered)))
        except (DataError, OSError):
            yield path


def _children(folder: Path, entered: set[tuple[int, int]]) -> list[tuple[Path, bool]]:
    """Sorted images and folders in `folder`, each with whether it is a folder; none when it was `entered` before."""
    entries, identity = _entries(folder), _identity(folder)
    if identity in entered:
        return []
    entered.add(identity)
    shown = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    kinds = ((folder / entry.name, _is(entry.is_dir)) for entry in shown)
    return [(path, is_folder) for path, is_folder in kinds if is_folder or _looks_like_image(path.name)]


def _looks_like_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror}; check the path and its permissions") from error


def _identity(folder: Path) -> tuple[int, int]:
    """The same for every name of a folder."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _is(question: Callable[[], bool]) -> bool:
    """The answer of a folder's entry; no for a link that leads in a circle, which makes it raise."""
    try:
        return question()
    except OSError:
        return False


def _file_names(folder: Path) -> set[str]:
    return {entry.name for entry in _entries(folder) if _is(entry.is_file)} if os.path.isdir(folder) else set()
