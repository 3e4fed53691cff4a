"""The image files that a command line means, and those that a data set names."""

from __future__ import annotations

import glob
import os
import sys
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mlrpl_cli.core.images.kinds import SUFFIXES, is_image, is_image_file
from mlrpl_cli.core.io.errors import DataError, Problems, agreeing, first_few
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.io.reading import leads_outside, short

SHOWN_KINDS = 8
"""How many kinds of files a note names."""


def find_images(
    arguments: Sequence[str], names: Iterable[str] | None = None, progress: Progress | None = None
) -> list[Path]:
    """The image files that command-line arguments mean, in the order given, each once.

    A file stands for itself, a folder for the images anywhere below it in sorted order, a pattern for what it matches,
    and "-" for `names`, one a line: by default those of standard input. In a folder and for a pattern a file counts as
    an image by its suffix, and without one by its first bytes; hidden ones are left out, and how many others are is
    noted by `progress`, by kind.
    What cannot be read stays in the list, so that reading it says so without stopping the others: a line that names
    nothing, a link that leads nowhere, a folder inside another that cannot be listed.
    Raises DataError for arguments that name no image, each with what is wrong, and when there is no argument.
    """
    wrong, found, others = list[str](), dict[str, Path](), set[str]()
    for argument in arguments:
        paths = list(meant_by(argument, others, names))
        if not paths:
            wrong.append(why_none(argument))
        for path in paths:
            found.setdefault(os.path.abspath(path), path)
    note_left_out(_kinds(others - set(found)), progress)
    if wrong:
        advice = f"give files, folders or patterns of {' '.join(sorted(SUFFIXES))}"
        raise DataError(f"{first_few(wrong)}; {advice}")
    if not found:
        raise DataError("no image was given; name files, folders, patterns, or - for names on standard input")
    return list(found.values())


def meant_by(
    argument: str, others: set[str], names: Iterable[str] | None = None, more: tuple[str, ...] = ()
) -> Iterator[Path]:
    """The files that one argument means, as `find_images` has it, one after the other.

    In a folder and for a pattern files whose names end in one of `more` (small letters) count, too; `others` get the
    absolute paths of those that do not count.
    """
    for name in lines_of(names) if argument == "-" else _matches(argument, others, more):
        yield from images_below(Path(name), others, more) if os.path.isdir(name) else [Path(name)]


class LeftOut(set[str]):
    """Counts the files that are added to it by their kinds, and keeps none of their names."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds = Counter[str]()

    def add(self, path: str) -> None:
        self.kinds += _kinds([path])


def note_left_out(kinds: Counter[str], progress: Progress | None) -> None:
    """Say how many files are left out because they are no images: the most frequent kinds first."""
    if kinds and progress is not None:
        ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
        told = first_few((f"{count} {short(suffix)}" for suffix, count in ordered), SHOWN_KINDS)
        progress.note(f"{agreeing(kinds.total(), 'files without an image are left out')}: {told}")


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
def _matches(argument: str, others: set[str], more: tuple[str, ...]) -> Iterator[str]:
    """A file or folder of that name, or the folders and images that it matches as a pattern; `others` get the rest."""
    if os.path.lexists(argument):
        yield argument
        return
    for name in sorted(glob.glob(argument, recursive=True)):
        if name.lower().endswith(more) or os.path.isdir(name) or is_image_file(Path(name)):
            yield name
        else:
            others.add(os.path.abspath(name))


def why_none(argument: str) -> str:
    """Why an argument means no image."""
    if argument == "-":
        return "standard input names no image"
    if os.path.isdir(argument):
        return f"the folder {short(argument)} holds no image"
    if glob.has_magic(argument):
        return f"no image matches {short(argument)}"
    return f"there is no file or folder {short(argument)}"


def _kinds(paths: Iterable[str]) -> Counter[str]:
    """How many of the files are of each suffix, as ".txt" or "without a suffix"."""
    return Counter(os.path.splitext(path)[1].lower() or "without a suffix" for path in paths)


def lines_of(names: Iterable[str] | None) -> Iterator[str]:
    """The lines of `names`, or of standard input, without the byte order mark that some programs put before them.

    The bytes of standard input are names as Python keeps them, whatever the locale: what is no text comes back too.
    """
    if names is None:
        binary = getattr(sys.stdin, "buffer", None)
        names = sys.stdin if binary is None else map(_name, binary)
    mark = _name(BOM_UTF8)
    for number, line in enumerate(names):
        if found := (line.removeprefix(mark).removeprefix("\ufeff") if number == 0 else line).rstrip("\r\n"):
            yield found


def _name(line: bytes) -> str:
    return line.decode(sys.getfilesystemencoding(), "surrogateescape")


def images_below(folder: Path, others: set[str] | None = None, more: tuple[str, ...] = ()) -> Iterator[Path]:
    """Images below `folder`, sorted; linked folders are followed, but no folder is entered twice.

    Files whose names end in one of `more` (small letters) count, too; `others` get the absolute paths of the files
    that count as none; hidden ones are left out without a word.
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
            waiting.extend(path / name for name in sorted(_counting(shown, path, others, more), reverse=True))


def _counting(
    entries: Iterable[os.DirEntry[str]], folder: Path, others: set[str] | None, more: tuple[str, ...]
) -> Iterator[str]:
    """The names of the images and folders in a folder; `others` get its other files."""
    for entry in entries:
        if (
            is_image(entry.name)
            or entry.name.lower().endswith(more)
            or os.path.isdir(entry)
            or is_image_file(folder / entry.name)
        ):
            yield entry.name
        elif others is not None and os.path.isfile(entry):
            others.add(os.path.abspath(entry))


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
