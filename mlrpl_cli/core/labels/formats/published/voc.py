"""PASCAL VOC: XML annotations and image-set files, as published in a VOCdevkit."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DTDForbidden
from defusedxml.ElementTree import fromstring
from pydantic import Field

from mlrpl_cli.core.images.find import check_images
from mlrpl_cli.core.io.errors import DataError, Problems, one_line
from mlrpl_cli.core.io.progress import Progress, track
from mlrpl_cli.core.io.reading import MIB, is_file_name, open_file, read_text, short, shown
from mlrpl_cli.core.labels.records import ROOT, TEST, TRAIN, Format, Reading, Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN, make_labels

if TYPE_CHECKING:
    import numpy as np

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""In alphabetical order: the order of the label columns."""
COLUMNS = {name: column for column, name in enumerate(CLASSES)}
IMAGE_SETS = {"2007": {TRAIN: "trainval", TEST: "test"}, "2012": {TRAIN: "train", TEST: "val"}}
"""Which image-set file is which split. The labels of VOC 2012's own test images were never published."""
DIFFICULT_STATES = {"absent": ABSENT, "unknown": UNKNOWN}
MOST_OF_AN_ANNOTATION, MOST_OF_AN_IMAGE_SET = 4 * MIB, 16 * MIB
"""Bytes: some 20,000 objects in an image, and some 1,000,000 images; the published ones have 50 and 10,000."""


class Voc(Format):
    """VOC 2007 (trainval → train, test → test) or VOC 2012 (train → train, val → test)."""

    root: Path = Field(description=ROOT)
    year: Literal["2007", "2012"] | None = Field(None, description="release")
    difficult: Literal["absent", "unknown"] = Field("absent", description="what a difficult object means")

    holds: ClassVar[str] = "VOCdevkit, a folder that holds it, or VOC2007 or VOC2012 itself"
    usual_folder: ClassVar[str] = "VOCdevkit"

    def read(self, reading: Reading) -> Records:
        """Rows are in the order of the image-set files, train before test.

        An object marked difficult is skipped, as is usual, or makes a class that no other object shows unknown.
        Raises DataError, naming everything found at once, for wrong data.
        """
        folder, year = _find_release(self.root, self.year)
        problems = reading.problems
        ids_of = {split: _read_image_set(folder, name, problems) for split, name in IMAGE_SETS[year].items()}
        ids = [identifier for listed in ids_of.values() for identifier in listed]
        images = tuple(f"JPEGImages/{identifier}.jpg" for identifier in ids)
        problems.extend("images are listed twice", (name for name, count in Counter(ids).items() if count > 1))
        check_images(folder, images, problems)
        labels = _read_labels(folder, ids, DIFFICULT_STATES[self.difficult], problems, reading.progress)
        problems.raise_if_any(f"VOC {year} in {folder}", "restore these files from the published archives")
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
    raise DataError(
        f"{root} {what} {wanted} with ImageSets/Main and Annotations; name the VOCdevkit or the release's own "
        "folder with --root, or add --download for VOC 2007"
    )


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


def _read_labels(
    folder: Path, ids: Sequence[str], difficult_state: int, problems: Problems, progress: Progress
) -> np.ndarray:
    """(N, 20) int8 label states, one row for each id."""
    cells: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
    for row, identifier in enumerate(track(progress, ids, "reading annotations", len(ids))):
        file = f"{identifier}.xml"
        for name, difficult in _read_objects(folder / "Annotations" / file, problems):
            if name in COLUMNS:
                cells[difficult].append((row, COLUMNS[name]))
            else:
                problems.add("objects are of no VOC class", f"{shown(name)} in {file}")
    return make_labels((len(ids), len(CLASSES)), ABSENT, (difficult_state, cells[True]), (PRESENT, cells[False]))


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
            return [(_text(element, "name"), _text(element, "difficult") == "1") for element in root.findall("object")]
        problems.add("annotations are XML of another kind", f"{path.name}: <{short(root.tag)}>")
    return []


def _text(element: Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()
