"""PASCAL VOC: XML annotations and image-set files, as published in a VOCdevkit."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import ParseError

from defusedxml import DTDForbidden
from defusedxml.ElementTree import fromstring
from pydantic import Field

from mlrpl_cli.core.images.find import check_images
from mlrpl_cli.core.io.errors import DataError, Problems, one_line
from mlrpl_cli.core.io.progress import Progress, track
from mlrpl_cli.core.io.reading import MIB, is_file_name, open_file, read_text, short, shown
from mlrpl_cli.core.labels.records import TEST, TRAIN, Format, Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN, make_labels

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""In alphabetical order: the order of the label columns."""
Cells = dict[bool, list[tuple[int, int]]]
COLUMNS = {name: column for column, name in enumerate(CLASSES)}
IMAGE_SETS = {"2007": {TRAIN: "trainval", TEST: "test"}, "2012": {TRAIN: "train", TEST: "val"}}
"""Which image-set file is which split. The labels of VOC 2012's own test images were never published."""
MOST_OF_AN_ANNOTATION, MOST_OF_AN_IMAGE_SET = 4 * MIB, 16 * MIB
"""Bytes: some 20,000 objects in an image, and some 1,000,000 images; the published ones have 50 and 10,000."""


class Voc(Format):
    """VOC 2007 (trainval → train, test → test) or VOC 2012 (train → train, val → test)."""

    root: Path = Field(description="VOCdevkit, a folder that holds it, or VOC2007 or VOC2012 itself")
    year: Literal["2007", "2012"] | None = Field(None, description="release")
    difficult: Literal["absent", "unknown"] = Field("absent", description="what a difficult object means")

    def read(self, workspace: Path, progress: Progress) -> Records:
        """Rows are in the order of the image-set files, train before test.

        An object marked difficult is skipped, as is usual, or makes a class that no other object shows unknown.
        Raises DataError, naming everything found at once, for wrong data.
        """
        folder, year = _find_release(self.root, self.year)
        problems = Problems()
        ids_of = {split: _read_image_set(folder, name, problems) for split, name in IMAGE_SETS[year].items()}
        ids = [identifier for listed in ids_of.values() for identifier in listed]
        images = tuple(f"JPEGImages/{identifier}.jpg" for identifier in ids)
        problems.extend("images are listed twice", (name for name, count in Counter(ids).items() if count > 1))
        check_images(folder, images, problems)
        cells = _read_cells(folder, ids, problems, progress)
        problems.raise_if_any(f"VOC {year} in {folder}", "restore these files from the published archives")
        difficult = ABSENT if self.difficult == "absent" else UNKNOWN
        labels = make_labels((len(ids), len(CLASSES)), ABSENT, (difficult, cells[True]), (PRESENT, cells[False]))
        splits = tuple(split for split, listed in ids_of.items() for _ in listed)
        return Records(CLASSES, folder, images, labels, splits)


def _find_release(root: Path, asked: str | None) -> tuple[Path, str]:
    """The folder and the year of the release that `root` is or holds."""
    years = [asked] if asked else list(IMAGE_SETS)
    if _is_release(root):
        named = next((year for year in IMAGE_SETS if root.resolve().name == f"VOC{year}"), years[0])
        if named not in years:
            raise DataError(f"{root} is VOC {named}, not {asked}; leave --year out or name another folder")
        return root, named
    for year in years:
        for folder in (root / f"VOC{year}", root / "VOCdevkit" / f"VOC{year}"):
            if _is_release(folder):
                return folder, year
    what = "holds no" if os.path.isdir(root) else "is no folder, so it holds no"
    wanted = " or ".join(f"VOC{year}" for year in years)
    advice = "name the VOCdevkit or the release's own folder with --root, or add --download for VOC 2007"
    raise DataError(f"{root} {what} {wanted} with ImageSets/Main and Annotations; {advice}")


def _is_release(folder: Path) -> bool:
    # os.path.isdir: unlike Path.is_dir it has an answer for a name that is too long, too.
    return os.path.isdir(folder / "ImageSets" / "Main") and os.path.isdir(folder / "Annotations")


def _read_image_set(folder: Path, name: str, problems: Problems) -> list[str]:
    """The ids that an image-set file lists, in its order. What cannot be an id is a problem."""
    path = folder / "ImageSets" / "Main" / f"{name}.txt"
    try:
        lines = read_text(path, MOST_OF_AN_IMAGE_SET).splitlines()
    except FileNotFoundError:
        problems.add("image-set files are missing, unpack the archive that has them into the same VOCdevkit", path.name)
        return []
    except (OSError, UnicodeDecodeError, DataError) as error:
        problems.add("image-set files cannot be read", f"{path.name}: {error}")
        return []
    ids = [line.split()[0] for line in lines if line.strip()]
    if not ids:
        problems.add("image-set files list no image", path.name)
    problems.extend("ids are paths, not names", (short(identifier) for identifier in ids if not _is_id(identifier)))
    return [identifier for identifier in ids if _is_id(identifier)]


def _is_id(identifier: str) -> bool:
    return is_file_name(f"{identifier}.jpg") and not any(mark in identifier for mark in "/\\:")


def _read_cells(folder: Path, ids: list[str], problems: Problems, progress: Progress) -> Cells:
    """The (row, column) of each object, a row for each id: of those that are difficult and of those that are not."""
    cells: Cells = {True: [], False: []}
    for row, identifier in enumerate(track(progress, ids, "reading annotations", len(ids))):
        file = f"{identifier}.xml"
        for name, is_difficult in _read_objects(folder / "Annotations" / file, problems):
            if name in COLUMNS:
                cells[is_difficult].append((row, COLUMNS[name]))
            else:
                problems.add("objects are of no VOC class", f"{shown(name)} in {file}")
    return cells


def _read_objects(path: Path, problems: Problems) -> list[tuple[str, bool]]:
    """(class name, difficult) of each object; nothing, and a problem, when the file cannot be read."""
    try:
        # A document type brings entities, and attributes that every element repeats: both grow without bound.
        with open_file(path, MOST_OF_AN_ANNOTATION) as stream:
            root = fromstring(stream.read(), forbid_dtd=True)
    except FileNotFoundError:
        problems.add("annotations are missing", path.name)
    except DTDForbidden:
        problems.add("annotations are no readable XML", f"{path.name}: a document type is not allowed")
    except (ParseError, ValueError, LookupError, OSError, DataError) as error:
        problems.add("annotations are no readable XML", f"{path.name}: {one_line(error)}")
    else:
        if root.tag == "annotation":
            # Only children of the object itself: a <part> of a person has a <name> too.
            objects = root.findall("object")
            return [
                (each.findtext("name", "").strip(), each.findtext("difficult", "").strip() == "1") for each in objects
            ]
        problems.add("annotations are XML of another kind", f"{path.name}: <{short(root.tag)}>")
    return []
