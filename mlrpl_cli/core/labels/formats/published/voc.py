"""PASCAL VOC: XML annotations and image-set files, of the releases of 2007 and 2012 and of the user's own images.

The development kit of VOC 2012 (section 3.1) says that all objects of the classes are annotated, but for some that are
marked difficult: a class without an object is absent.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from mlrpl_cli.core.io.errors import DataError, Problems, first_few
from mlrpl_cli.core.io.progress import Silent, track
from mlrpl_cli.core.io.reading import short, shown
from mlrpl_cli.core.labels.formats.published.voc_files import Layout, find_layout, recognised
from mlrpl_cli.core.labels.formats.published.voc_xml import MISSING, Objects, read_objects
from mlrpl_cli.core.labels.marks import NOWHERE, Marks
from mlrpl_cli.core.labels.own import GrowingData
from mlrpl_cli.core.labels.records import Format, Reading, Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""In alphabetical order: the order of the label columns."""
_FOREIGN = "objects are of no VOC class"
_SAMPLE = 20
"""Annotations that show whose data they are."""


class Voc(GrowingData):
    """VOC 2007 (trainval → train, test → test), VOC 2012 (train → train, val → test), or own images in this form."""

    year: Literal["2007", "2012"] | None = Field(None, description="release")
    difficult: Literal["absent", "unknown"] = Field("absent", description="what a difficult object means")

    holds: ClassVar[str] = (
        "VOCdevkit, a folder that holds it, VOC2007 or VOC2012 itself, or a folder with XML annotations of this form"
    )
    usual_folder: ClassVar[str] = "VOCdevkit"

    @classmethod
    def recognise(cls, root: Path) -> str | None:
        return recognised(root)

    def usual_keep(self) -> float:
        """As for the benchmark, unless the ids or the first annotations are not those of a release."""
        try:
            layout = find_layout(self.root, self.year, self.images, Reading(self.root, Silent()))
        except DataError:
            return Format.default_keep
        first = (read_objects(entry.annotation, Problems()) for entry in islice(layout.entries, _SAMPLE))
        names = {name for found in first for name, _ in found if found is not MISSING}
        return Format.default_keep if layout.year and set(CLASSES).issuperset(names) else self.default_keep

    def is_published(self) -> bool:
        """Whether it is a release, of which a share of the labels is kept by default."""
        return self.usual_keep() != self.default_keep

    def read(self, reading: Reading) -> Records:
        """Rows are in the order of the image-set files, train before test; without these, of the annotations' names.

        Classes are VOC's 20; where objects name others, those that are found, in the order of their names. An object
        marked difficult is skipped, as is usual, or makes a class that no other object shows unknown.
        Raises DataError, naming everything found at once, for wrong data.
        """
        problems = reading.problems
        layout = find_layout(self.root, self.year, self.images, reading)
        times = Counter((id(entry.place), entry.file) for entry in layout.entries)
        twice = (short(file[:-4]) for (_, file), count in times.items() if count > 1)
        problems.extend("images are listed twice", twice)
        entries = list({(id(entry.place), entry.file): entry for entry in layout.entries}.values())
        objects = [
            read_objects(entry.annotation, problems)
            for entry in track(reading.progress, entries, "reading annotations", len(entries))
        ]
        classes = _classes(layout._replace(entries=entries), objects, reading)
        marks = Marks(self.image_root(layout.home), reading)
        columns = {name: marks.label(name) for name in classes}
        for entry, found in zip(entries, objects, strict=True):
            row = NOWHERE if found is MISSING else marks.image(entry.image, entry.split)
            for name, is_difficult in found:
                if name in columns and not (is_difficult and self.difficult == "absent"):
                    marks.mark(row, columns[name], UNKNOWN if is_difficult else PRESENT)
        reading.unlisted = "absent: VOC's documentation says that every object of its classes is annotated"
        if layout.year and tuple(classes[: len(CLASSES)]) == CLASSES:
            own = ", or, if the images are your own, name their classes with --classes" if _FOREIGN in problems else ""
            advice = f"restore these files from the published archives{own}"
            problems.raise_if_any(f"VOC {layout.year} in {layout.home}", advice)
        return self.records(marks, reading, ABSENT, layout.home)


def _classes(layout: Layout, objects: list[Objects], reading: Reading) -> list[str]:
    """The classes in the order of the columns. Says which they are where that was not plain.

    What the ids say to be a release, and has some of its classes, has no other class unless --classes chooses.
    """
    named = {name for found in objects for name, _ in found if name}
    others = sorted(name for name in named if reading.merged.get(name, name) not in CLASSES)
    if not others:
        if not layout.year:
            reading.notes.append("objects are of VOC's classes alone, so all 20 are read; --classes chooses from them")
        return list(dict.fromkeys((*CLASSES, *sorted(named))))
    if layout.year and reading.classes is None and len(others) < len(named):
        wrong = set(others)
        for entry, found in zip(layout.entries, objects, strict=True):
            told = (f"{shown(name)} in {entry.file}" for name, _ in found if name in wrong)
            reading.problems.extend(_FOREIGN, told)
        return list(CLASSES)
    few = first_few(map(short, others), 5)
    reading.notes.append(f"objects are of classes that VOC has not ({few}), so the classes are those found")
    return sorted(named)
