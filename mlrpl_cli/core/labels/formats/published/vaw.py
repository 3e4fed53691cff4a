"""VAW: attributes of boxes in Visual Genome's images, those that were seen and those that were seen to be missing.

Pham et al. 2021, "Learning to Predict Visual Attributes in the Wild": each box has positive and negative attributes,
and every other attribute of it was not judged. https://github.com/adobe-research/vaw_dataset
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from mlrpl_cli.core.images.names import ImagesById
from mlrpl_cli.core.io.errors import DataError, Problems
from mlrpl_cli.core.io.progress import track
from mlrpl_cli.core.io.reading import is_name, short, shown
from mlrpl_cli.core.labels.formats.files import json_of
from mlrpl_cli.core.labels.marks import NOWHERE, Marks
from mlrpl_cli.core.labels.own import OwnData
from mlrpl_cli.core.labels.records import TEST, TRAIN, VALIDATION, Reading, Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

INDEX = "attribute_index.json"
FILES = {"train*.json": TRAIN, "val*.json": VALIDATION, "test*.json": TEST}
LISTS = {"positive_attributes": PRESENT, "negative_attributes": ABSENT}


class Vaw(OwnData):
    """VAW's attributes (train_part1.json … → train, val.json → validation, test.json → test)."""

    holds: ClassVar[str] = "the folder with attribute_index.json, train_part1.json, val.json and test.json"

    @classmethod
    def recognise(cls, root: Path) -> str | None:
        has = os.path.isfile(root / INDEX) and bool(_files(root))
        return f"it holds {INDEX}" if has else None

    def read(self, reading: Reading) -> Records:
        """Images in the order in which boxes name them, classes in the order of the index.

        An attribute is present where any box has it, absent where boxes lack it and none has it, and else unknown.
        Raises DataError, naming everything found at once, for wrong data.
        """
        files, problems = _files(self.root), reading.problems
        if not files:
            raise DataError(f"{self.root} has none of {', '.join(FILES)} beside {INDEX}; name the folder with --root")
        attributes = _attributes(self.root / INDEX, problems)
        images = ImagesById(self.image_root(self.root), problems)
        marks = Marks(self.image_root(self.root), reading, attributes)
        columns = {name: marks.label(name) for name in attributes}
        missing: dict[str, None] = {}
        for path in track(reading.progress, files, "reading boxes", len(files), "files"):
            for number, entry in enumerate(json_of(path, list, "list of boxes", problems)):
                where = f"{path.name}, box {number}"
                if (box := _checked(entry, where, columns, problems)) is None:
                    continue
                if (file := images.find(box.image)) is None:
                    missing[short(box.image)] = None
                else:
                    row = marks.image(file, files[path])
                    for name, state in box.states:
                        marks.mark(row, columns.get(name, NOWHERE), state)
        problems.extend("images are missing", missing)
        reading.notes.append(
            "an attribute that a box lacks and no box of the image has is absent: VAW judges boxes, not whole images"
        )
        reading.unlisted = "unknown: VAW's paper"
        return self.records(marks, reading, UNKNOWN, self.root, union=True)


class _Box(NamedTuple):
    """What is said of one box."""

    image: str
    states: list[tuple[str, int]]
    """Attributes that it has or lacks."""


def _checked(entry: Any, where: str, known: Container[str], problems: Problems) -> _Box | None:
    """None, and a problem, for what is no box."""
    found = entry if isinstance(entry, dict) else {}
    image, lists = found.get("image_id"), {state: found.get(key) for key, state in LISTS.items()}
    is_id = isinstance(image, str) or (type(image) is int and abs(image) < 1 << 63)
    if not is_id or not all(map(_is_list_of_text, lists.values())):
        needed = "an image_id and lists of positive_attributes and negative_attributes"
        problems.add(f"boxes lack {needed}", f"{where}: {shown(entry)}")
        return None
    states = [(name, state) for state, names in lists.items() for name in names or ()]
    unknown = (f"{where}: {short(name)}" for name, _ in states if name not in known)
    problems.extend(f"attributes are not in {INDEX}", unknown)
    times = Counter(name for name, _ in set(states))
    both = (f"{where}: {short(name)}" for name, count in times.items() if count > 1)
    problems.extend("boxes list an attribute as present and as absent", both)
    return _Box(str(image), states)


def _is_list_of_text(names: object) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def _files(root: Path) -> dict[Path, str]:
    """The split of each file of boxes."""
    try:
        return {path: split for pattern, split in FILES.items() for path in sorted(root.glob(pattern))}
    except OSError:
        return {}


def _attributes(path: Path, problems: Problems) -> list[str]:
    """The names in the index, in the order of their numbers."""
    index = json_of(path, dict, "numbers by attribute", problems)
    odd = {name: number for name, number in index.items() if type(number) is not int}
    problems.extend(f"attributes of {path.name} have no number", (f"{shown(name)}: {shown(odd[name])}" for name in odd))
    problems.extend(
        "attributes have a name that no class can have", (shown(name) for name in index if not is_name(name))
    )
    return sorted((name for name in index if is_name(name) and name not in odd), key=index.__getitem__)
