"""FiftyOne: classifications as labels.json, or as the samples of a whole data set.

Its documentation (https://docs.voxel51.com/user_guide/import_datasets.html, FiftyOneImageClassificationDataset and
FiftyOneDataset) says of labels.json: targets are indices of `classes`, else names, one or a list for each image in
data/; that of an unlabelled image is null. What a class means that is not listed it does not say. samples.json is read
as FiftyOne's importer reads it; no export of a real data set was at hand.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from mlrpl_cli.core.io.errors import ConfigError, DataError, Problems, agreeing, did_you_mean
from mlrpl_cli.core.io.reading import KIB, beginning_of, short, shown
from mlrpl_cli.core.labels.formats.files import json_of
from mlrpl_cli.core.labels.marks import NOWHERE, Marks
from mlrpl_cli.core.labels.own import Tagged
from mlrpl_cli.core.labels.records import SPLIT_NAMES, TRAIN, Reading, Records
from mlrpl_cli.core.labels.states import PRESENT, UNKNOWN

LABELS, SAMPLES, METADATA = "labels.json", "samples.json", "metadata.json"
DATA = "data"
"""The folder of images beside labels.json."""
ONE, SEVERAL = "Classification", "Classifications"
"""What fields of samples are that hold labels of whole images."""
_NO_SPLITS = frozenset[str]()
_BEGINNING = re.compile(rb'(\xef\xbb\xbf)?\s*\{\s*("classes"\s*:\s*(\[|null)|"labels"\s*:\s*\{|"samples"\s*:\s*\[)')


class FiftyOne(Tagged):
    """Classifications that FiftyOne exported."""

    label_field: str | None = Field(None, description="the field of FiftyOne's samples that holds the labels")

    holds: ClassVar[str] = "a folder with labels.json, or with metadata.json and samples.json, that FiftyOne exported"

    @classmethod
    def recognise(cls, root: Path) -> str | None:
        found = next((path for path in _candidates(root) if _begins(path)), None)
        return f"{found.name} begins as FiftyOne's files do" if found else None

    def read(self, reading: Reading) -> Records:
        """Images in the order of the file; classes in the order that it lists, then in that of their names.

        An image without labels is unknown in every class. Tags of samples that are names of splits are read as such.
        Raises DataError, naming everything found at once, for wrong data, and ConfigError, which asks, where several
        fields hold labels.
        """
        path, problems = self._file(), reading.problems
        content = json_of(path, dict, "labels of FiftyOne", problems)
        problems.raise_if_any(str(path), "export it again, or name another file with --root")
        listed, entries = self._samples(path, content, reading) if "samples" in content else _labels(content, reading)
        unlisted = self.otherwise(path, reading, "labels that are there")
        others = {name for entry in entries for name in entry.names or ()}
        marks = Marks(self.image_root(path.parent), reading)
        columns = {name: marks.label(name) for name in dict.fromkeys((*listed, *sorted(others)))}
        rows = _rows(entries, marks, reading)
        for row, entry in zip(rows, entries, strict=True):
            for name in entry.names or ():
                marks.mark(row, columns[name], PRESENT)
        labelled = [row for row, entry in zip(rows, entries, strict=True) if entry.names is not None]
        self.check_labelled(marks, labelled, unlisted)
        if bare := len(entries) - len(labelled):
            reading.notes.append(agreeing(bare, "images without labels, which FiftyOne calls unlabelled, are unknown"))
        return self.records(marks, reading, UNKNOWN, path.parent)

    def _file(self) -> Path:
        """The file that is `root`, or lies in it."""
        found = _candidates(self.root)
        begun = [path for path in found if _begins(path)] or found
        if len(begun) != 1:
            told = f"both {LABELS} and {SAMPLES}" if begun else f"neither {LABELS} nor {SAMPLES}"
            raise DataError(f"{self.root} holds {told}; name the file that FiftyOne exported with --root")
        return begun[0]

    def _samples(self, path: Path, content: dict[str, Any], reading: Reading) -> tuple[list[str], list[_Entry]]:
        """The classes that the data set lists, and its samples."""
        problems, samples = reading.problems, content["samples"]
        if not isinstance(samples, list):
            problems.add("files have no list of samples", f"{path.name}: {shown(samples)}")
            return [], []
        field = self._field(path, samples)
        about = json_of(path.parent / METADATA, dict, "description of FiftyOne's data set", problems)
        by_field = about.get("classes")
        listed = by_field.get(field) if isinstance(by_field, dict) else None
        entries = []
        for number, sample in enumerate(samples):
            name = sample.get("filepath") if isinstance(sample, dict) else None
            tags = sample.get("tags") if isinstance(sample, dict) else None
            if not isinstance(name, str) or not isinstance(tags or [], list):
                problems.add("samples lack a filepath and a list of tags", f"sample {number}: {shown(sample)}")
            else:
                value = sample.get(field)
                within = value.get("classifications") if _kind(value) == SEVERAL else value
                entries.append(_entry(name, within, [], reading, tags or ()))
        return _classes(listed or about.get("default_classes"), problems), entries

    def _field(self, path: Path, samples: list[Any]) -> str:
        """The field of the labels. Raises ConfigError, which asks, unless just one holds some."""
        kept = [sample for sample in samples if isinstance(sample, dict)]
        fields = dict.fromkeys(key for sample in kept for key, value in sample.items() if _kind(value))
        if self.label_field in fields or (len(fields) == 1 and self.label_field is None):
            return self.label_field or next(iter(fields))
        if not fields:
            raise DataError(
                f"no field of the samples in {path} is a {ONE} or {SEVERAL}; export one, or boxes as COCO's JSON"
            )
        if self.label_field is None:
            raise ConfigError(f"several fields of {path} hold labels; say which: --label-field {' or '.join(fields)}")
        raise ConfigError(
            f"no field with labels is called '{self.label_field}'; {did_you_mean(self.label_field, fields)}"
        )


class _Entry(NamedTuple):
    """What is said of one image."""

    image: str
    names: list[str] | None
    """Of its labels; None for an unlabelled image."""
    splits: frozenset[str]
    """Those that its tags name."""


def _labels(content: dict[str, Any], reading: Reading) -> tuple[list[str], list[_Entry]]:
    """What labels.json says."""
    labels, classes = content.get("labels"), _classes(content.get("classes"), reading.problems)
    if not isinstance(labels, dict):
        reading.problems.add(f"files have no labels by image, as {LABELS} has", shown(labels))
        return classes, []
    return classes, [_entry(image, target, classes, reading) for image, target in labels.items()]


def _entry(image: str, value: Any, classes: Sequence[str], reading: Reading, tags: Sequence[Any] = ()) -> _Entry:
    """One image; `value` is a label or a list of them, each a name, an index of `classes`, or an object with either."""
    targets, names, problems = value if isinstance(value, list) else [value], [], reading.problems
    if isinstance(value, dict) and value.get("label") is None:
        targets = [None]
    for target in targets:
        if isinstance(target, dict):
            if target.get("confidence") is not None:
                _note_once(reading, "labels have confidences, as a model's have; they count whatever these are")
            if "bounding_box" in target:
                _note_once(reading, "labels are boxes: a class that has one is present")
            target = target.get("label")
        if type(target) is int and 0 <= target < len(classes):
            target = classes[target]
        if isinstance(target, str):
            names.append(target)
        elif target is not None or isinstance(value, list):
            problems.add("labels are no name and no index of a class", f"{short(image)}: {shown(target)}")
    known = frozenset(
        SPLIT_NAMES[tag.casefold()] for tag in tags if isinstance(tag, str) and tag.casefold() in SPLIT_NAMES
    )
    return _Entry(image, None if targets == [None] else names, known)


def _rows(entries: Sequence[_Entry], marks: Marks, reading: Reading) -> list[int]:
    """The row of each image."""
    splits, rows = _splits(entries, reading), []
    for entry, split in zip(entries, splits, strict=True):
        if not entry.image.strip():
            reading.problems.add("names are none that a file can have", "an empty one")
        inside = posixpath.join(DATA, entry.image)
        rows.append(
            marks.image(inside if marks.has(inside) else entry.image, split) if entry.image.strip() else NOWHERE
        )
    marks.report_repeated(rows)
    return rows


def _splits(entries: Sequence[_Entry], reading: Reading) -> list[str | None]:
    """The split that the tags of each image name; none of any where no tag says train, and all are of no split."""
    if not any(TRAIN in entry.splits for entry in entries):
        if any(entry.splits for entry in entries):
            reading.notes.append("no sample is tagged train, so tags are not read as splits")
        return [None] * len(entries)
    odd = (entry for entry in entries if len(entry.splits) != 1)
    told = (f"{short(entry.image)}: {' and '.join(sorted(entry.splits)) or 'none'}" for entry in odd)
    reading.problems.extend("samples are not tagged with one split each (train, validation, test), as others are", told)
    reading.notes.append("tags of samples say which images are of which split")
    return [next(iter(entry.splits), None) for entry in entries]


def _classes(value: Any, problems: Problems) -> list[str]:
    """A list of names; [] for none."""
    names = value or []
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return names
    problems.add("lists of classes hold no names", shown(value))
    return []


def _kind(value: Any) -> str | None:
    """ONE or SEVERAL, for the value of a field that holds labels."""
    kind = value.get("_cls") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) and kind in (ONE, SEVERAL) else None


def _note_once(reading: Reading, note: str) -> None:
    if note not in reading.notes:
        reading.notes.append(note)


def _candidates(root: Path) -> list[Path]:
    """`root` itself, or the files in it that may be FiftyOne's."""
    if not os.path.isdir(root):
        return [root] if os.path.isfile(root) else []
    return [root / name for name in (LABELS, SAMPLES) if os.path.isfile(root / name)]


def _begins(path: Path) -> bool:
    """Whether a file begins as FiftyOne's do."""
    return bool(_BEGINNING.match(beginning_of(path, KIB)))
