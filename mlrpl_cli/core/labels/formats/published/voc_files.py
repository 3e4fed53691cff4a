"""Where a data set of VOC's form keeps annotations and images, and which image is of which split."""

from __future__ import annotations

import codecs
import os
import posixpath
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

from mlrpl_cli.core.images.find import is_image, list_folder
from mlrpl_cli.core.io.errors import DataError, Problems, agreeing
from mlrpl_cli.core.io.reading import MIB, is_file_name, open_file, short
from mlrpl_cli.core.labels.formats.published.voc_xml import looks_like
from mlrpl_cli.core.labels.records import SPLIT_NAMES, TEST, TRAIN, VALIDATION, Reading

IMAGE_SETS = {"2007": {TRAIN: "trainval", TEST: "test"}, "2012": {TRAIN: "train", TEST: "val"}}
"""Which image-set file is which split. The labels of VOC 2012's own test images were never published."""
_OTHER_SETS: tuple[dict[str, str], ...] = (
    IMAGE_SETS["2007"],
    {TRAIN: "train", VALIDATION: "val", TEST: "test"},
    {TRAIN: "train", VALIDATION: "validation", TEST: "test"},
    {TRAIN: "train", TEST: "test"},
    IMAGE_SETS["2012"],
    {TRAIN: "train", TEST: "validation"},
    {TRAIN: "trainval"},
    {TRAIN: "train"},
)
"""In the user's own data: the first of which all files are there, in any case: CVAT's subsets are Train and Test."""
MOST_OF_AN_IMAGE_SET = 16 * MIB
"""Bytes: some 1,000,000 images; the published ones have 10,000."""
ANNOTATIONS, LISTS, IMAGES = ("Annotations", "annotations"), ("ImageSets/Main", "ImageSets"), "JPEGImages"
_IMAGE_FOLDERS = (IMAGES, "images", "Images")
_PUBLISHED_ID = re.compile(r"\d{6}|\d{4}_\d{6}")
_WITH_STATE = re.compile(r"(.*\S)\s+(?:-1|0|1)")


class Place(NamedTuple):
    """A folder of annotations, and where their images are."""

    home: Path
    folder: str
    """Below `home`; "" for itself."""
    image_root: Path
    images: str
    """The folder of the images below `image_root`; "" for itself."""
    split: str | None
    """Of all of its images, where the folder is of one."""
    files: dict[str, str]
    """Names of annotation files by their ids in Unicode's NFC; below folders of annotations both may have folders."""


class Entry(NamedTuple):
    """One image with its annotation. Small: a list may have millions."""

    place: Place
    file: str
    split: str | None

    @property
    def image(self) -> str:
        """The image's path below the place's `image_root`, without suffix."""
        return posixpath.join(self.place.images, self.file[:-4])

    @property
    def annotation(self) -> Path:
        return self.place.home / self.place.folder / self.file


class Layout(NamedTuple):
    """The annotations that count, in their order."""

    home: Path
    year: str | None
    """Of the release whose lists and ids these are; None for the user's own data."""
    entries: list[Entry]


def recognised(root: Path) -> str | None:
    """Why `root` is of VOC's form."""
    if found := _find_release(root, list(IMAGE_SETS)):
        return f"it holds {(found[0] / ANNOTATIONS[0]).relative_to(root).as_posix()} and ImageSets/Main"
    for place in _own_places(root):
        name = min(place.files.values())
        if looks_like(root / place.folder / name):
            return f"{Path(place.folder, name).as_posix()} is an annotation as VOC's are"
    return None


def find_layout(root: Path, year: str | None, images: Path | None, reading: Reading) -> Layout:
    """What `root` holds. Raises DataError where it is nothing of this form; problems of lists go to `reading`."""
    years = [year] if year else list(IMAGE_SETS)
    if found := _find_release(root, years):
        return _listed(_place(found[0], ANNOTATIONS[0], images), year, found[1], reading)
    places = [] if year else _own_places(root, images)
    if len(places) == 1 and places[0].split is None:
        return _listed(places[0], None, None, reading)
    if places:
        told = ", ".join(f"{place.folder} is {place.split}" for place in places)
        reading.notes.append(f"folders say the splits: {told}")
        return Layout(root, None, [entry for place in places for entry in _all(place, reading)])
    what = "holds no" if os.path.isdir(root) else "is no folder, so it holds no"
    wanted = " or ".join(f"VOC{year}" for year in years)
    own = "" if year else ", nor a folder Annotations with XML files"
    raise DataError(
        f"{root} {what} {wanted} with ImageSets/Main and Annotations{own}; name the VOCdevkit or the folder with "
        "Annotations with --root, or add --download for VOC 2007"
    )


def _find_release(root: Path, years: list[str]) -> tuple[Path, str | None] | None:
    """The folder of the release that `root` is or holds, and the year that its name says."""
    if _is_release(root):
        named = next((year for year in IMAGE_SETS if root.resolve().name == f"VOC{year}"), None)
        if named and named not in years:
            raise DataError(f"{root} is VOC {named}, not {years[0]}; leave --year out or name another folder")
        return root, named
    places = ((root / within / f"VOC{year}", year) for year in years for within in (".", "VOCdevkit"))
    return next((place for place in places if _is_release(place[0])), None)


def _is_release(folder: Path) -> bool:
    # os.path.isdir: unlike Path.is_dir it has an answer for a name that is too long, too.
    return all(os.path.isdir(folder / name) for name in (LISTS[0], ANNOTATIONS[0]))


def _own_places(root: Path, images: Path | None = None) -> list[Place]:
    """The folders of annotations in the first layout that has some: one below `root`, `root`, one for each split."""
    for name in (*ANNOTATIONS, ""):
        if (place := _place(root, name, images)).files:
            return [place]
    try:
        names = sorted(name for name in os.listdir(root) if name.lower() in SPLIT_NAMES)
    except (OSError, ValueError):
        return []
    places = (_place(root, name, images, SPLIT_NAMES[name.lower()]) for name in names)
    return [place for place in places if place.files]


def _place(home: Path, folder: str, images: Path | None, split: str | None = None) -> Place:
    names = _names_below(home / folder) if folder in ANNOTATIONS else _names_in(home / folder)
    files = {
        normalize("NFC", name[:-4]): name
        for name in names
        if name.lower().endswith(".xml") and posixpath.basename(name)[0] != "."
    }
    return Place(home, folder, images or home, "" if images else _image_folder(home, folder), split, files)


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (OSError, ValueError):
        return []


def _names_below(folder: Path) -> list[str]:
    """The files anywhere below a folder, as CVAT exports tasks whose images are in folders, with forward slashes."""
    try:
        below = [(Path(place).relative_to(folder), files) for place, _, files in os.walk(folder)]
    except ValueError:
        return []
    return sorted((place / name).as_posix() for place, files in below for name in files)


def _image_folder(home: Path, folder: str) -> str:
    """The folder below `home` with the images: VOC's, another that is usual, or that of the annotations."""
    if folder not in ANNOTATIONS:
        return folder
    tried = (*_IMAGE_FOLDERS, folder, "")
    usual = next((name for name in _IMAGE_FOLDERS if os.path.isdir(home / name)), IMAGES)
    return next((name for name in tried if any(map(is_image, list_folder(home / name)))), usual)


def _listed(place: Place, asked: str | None, named: str | None, reading: Reading) -> Layout:
    """The annotations that image-set files list; where there are none, all."""
    lists = next((place.home / name for name in LISTS if os.path.isdir(place.home / name)), place.home / LISTS[0])
    sets, problems = _image_sets(lists, asked, named, place.files), reading.problems
    if sets is None:
        reading.notes.append("no image-set file says which images test: some are drawn")
        return Layout(place.home, None, _all(place, reading))
    entries = [
        Entry(place, place.files.get(normalize("NFC", identifier)) or f"{identifier}.xml", split)
        for split, name in sets.items()
        for identifier in _read_list(lists / f"{name}.txt", place.files, problems)
    ]
    year = next((year for year, published in IMAGE_SETS.items() if published == sets), None)
    if year and all(_PUBLISHED_ID.fullmatch(entry.file[:-4]) for entry in entries):
        return Layout(place.home, year, entries)
    told = ", ".join(f"{name}.txt is {split}" for split, name in sets.items())
    reading.notes.append(f"image-set files say the splits: {told}")
    if left := len(set(place.files.values()).difference(entry.file for entry in entries)):
        reading.notes.append(agreeing(left, "annotations are left out that they do not list"))
    if TEST in sets:
        return Layout(place.home, None, entries)
    reading.notes.append("none lists test images: some are drawn")
    return Layout(place.home, None, [entry._replace(split=None) for entry in entries])


def _image_sets(lists: Path, asked: str | None, named: str | None, ids: Iterable[str]) -> Mapping[str, str] | None:
    """Which list is which split: those of the year that is asked for, or of the one that the folder is named after."""
    there = {name[:-4].casefold(): name[:-4] for name in list_folder(lists) if name.endswith(".txt")}
    if asked or (named and all(map(_PUBLISHED_ID.fullmatch, ids))):
        return IMAGE_SETS[str(asked or named)]
    by_name = [IMAGE_SETS[named]] if named else []
    sets = next((sets for sets in (*by_name, *_OTHER_SETS) if there.keys() >= {*sets.values()}), None)
    return sets and {split: there[name] for split, name in sets.items()}


def _all(place: Place, reading: Reading) -> list[Entry]:
    """Every annotation of a folder, in the order of their names."""
    folder = place.image_root / place.images
    if (others := sum(map(is_image, list_folder(folder))) - len(place.files)) > 0:
        reading.notes.append(agreeing(others, f"images in {folder} have no annotation and are left out"))
    return [Entry(place, file, place.split) for file in place.files.values()]


def _read_list(path: Path, known: Mapping[str, str], problems: Problems) -> list[str]:
    """The ids that an image-set file lists, in its order. What cannot be an id is a problem."""
    try:
        with open_file(path, MOST_OF_AN_IMAGE_SET) as stream:
            data = stream.read()
        is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # as PowerShell's > writes
        lines = [line.strip() for line in data.decode("utf-16" if is_wide else "utf-8-sig").splitlines()]
    except FileNotFoundError:
        problems.add("image-set files are missing, unpack the archive that has them into the same VOCdevkit", path.name)
        return []
    except (OSError, UnicodeDecodeError, DataError) as error:
        problems.add("image-set files cannot be read", f"{path.name}: {error}")
        return []
    ids = _ids([line for line in lines if line], known)
    if not ids:
        problems.add("image-set files list no image", path.name)
    paths = {identifier for identifier in ids if not (_is_id(identifier) or normalize("NFC", identifier) in known)}
    problems.extend("ids hold a path, no name", (short(identifier) for identifier in ids if identifier in paths))
    return [identifier for identifier in ids if identifier not in paths]


def _ids(lines: list[str], known: Mapping[str, str]) -> list[str]:
    """A line is an id, which may have spaces, or a file name; in lists of one class -1, 0 or 1 follows each id."""
    found = [normalize("NFC", line) in known for line in lines]
    states = [] if any(found) else [_WITH_STATE.fullmatch(line) for line in lines]
    if states and all(states):
        return [match[1] for match in states if match]
    stems = [os.path.splitext(line)[0] if is_image(line) else line for line in lines]
    return [line if is_there else stem for line, stem, is_there in zip(lines, stems, found, strict=True)]


def _is_id(identifier: str) -> bool:
    return is_file_name(f"{identifier}.xml") and not any(mark in identifier for mark in "/\\:")
