"""Label Studio: choices of whole images, in the exports that it calls JSON, JSON-MIN and CSV.

Its documentation (https://labelstud.io/guide/export): a task has the annotations of all annotators, each with results;
of a skipped task the annotation is cancelled. What a choice means that is not made is not said.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from mlrpl_cli.core.images.find import list_folder
from mlrpl_cli.core.io.errors import ConfigError, DataError, agreeing, counted, did_you_mean, first_few
from mlrpl_cli.core.io.reading import short, shown
from mlrpl_cli.core.labels.formats.tools.labelstudio_tasks import (
    SUFFIXES,
    Choices,
    Task,
    form_of,
    looks_like_export,
    names_image,
    read_tasks,
)
from mlrpl_cli.core.labels.marks import NOWHERE, Marks
from mlrpl_cli.core.labels.own import Tagged
from mlrpl_cli.core.labels.records import SPLIT_NAMES, Reading, Records
from mlrpl_cli.core.labels.states import PRESENT, STATES, UNKNOWN

IMAGE = "image"
"""The usual name of the field that names images."""
_TAILS = 8
_PREFIX = re.compile(r"[0-9a-f]{8}-(?=.)")


class LabelStudio(Tagged):
    """Choices of images; a field `split` of the task's data is read as the split."""

    image_key: str | None = Field(None, description="the field of a task's data that names its image, else what fits")
    controls: tuple[str, ...] | None = Field(None, description="the controls whose choices are labels, by name")
    disagreement: Literal["unknown", "present"] | None = Field(
        None, description="what a label is that some annotations of an image have and others have not"
    )

    holds: ClassVar[str] = "a JSON, JSON-MIN or CSV file that Label Studio exported, or a folder with one"
    reads_tables: ClassVar[bool] = True

    @classmethod
    def recognise(cls, root: Path) -> str | None:
        path = next(iter(_files(root)), None)
        return f"{path.name} has tasks and annotations as Label Studio exports them" if path else None

    def read(self, reading: Reading) -> Records:
        """Images in the order of the tasks, classes in the order of their names.

        A choice is present where all annotations of the image have it, absent or unknown, as `unlisted` says, where
        none has it; where they disagree, `disagreement` has to say. Without annotation all cells are unknown.
        Raises DataError, naming everything found at once, for wrong data.
        """
        path, problems = self._path(), reading.problems
        tasks = read_tasks(path, reading)
        problems.raise_if_any(str(path), "export the project again")
        controls = self._controls(tasks, path)
        if self.controls is None and len(controls) > 1:
            told = ", ".join(map(short, sorted(controls)))
            reading.notes.append(f"choices of the controls {told} are all labels; --controls names those that are")
        names = {
            name
            for task in tasks
            for found in task.annotations
            for key in found.keys() & controls
            for name in found[key]
        }
        if not names:
            told = f" ({'; '.join(reading.notes)})" if reading.notes else ""
            advice = "export boxes as COCO, and submit predictions before the export"
            raise DataError(f"no annotation of {path} has a choice{told}; {advice}")
        unlisted = self.otherwise(path, reading, "choices")
        marks = Marks(self.image_root(path), reading)
        columns = {name: marks.label(name) for name in sorted(names)}
        rows = _Images(marks, reading, self._image_key(tasks, path)).rows(tasks)
        found = defaultdict[int, list[frozenset[str]]](list)
        for row, task in zip(rows, tasks, strict=True):
            found[row] += [_chosen(made, controls) for made in task.annotations] if row != NOWHERE else []
        self._mark(found, columns, marks, path)
        labelled = (row for row, made in found.items() if made and row != NOWHERE)
        self.check_labelled(marks, labelled, unlisted)
        if bare := sum(not made for row, made in found.items() if row != NOWHERE):
            reading.notes.append(agreeing(bare, "images have no annotation: every cell is unknown"))
        return self.records(marks, reading, UNKNOWN, path)

    def _path(self) -> Path:
        if not os.path.isdir(self.root):
            return self.root
        files = _files(self.root)
        if len(files) != 1:
            told = first_few(path.name for path in files) or "none"
            raise DataError(
                f"{self.root} must hold one file that Label Studio exported, it holds {told}; name it with --root"
            )
        return files[0]

    def _controls(self, tasks: list[Task], path: Path) -> set[str]:
        """The names of the controls whose choices count. Raises ConfigError where that has to be asked."""
        used = defaultdict[str, set[str]](set)
        for task in tasks:
            for made in task.annotations:
                for control, chosen in made.items():
                    used[control] |= chosen
        if self.controls is not None:
            for name in self.controls:
                if name not in used:
                    raise ConfigError(f"no control of {path} is called '{short(name)}'; {did_you_mean(name, used)}")
            return set(self.controls)
        if len(used) > 1 and any(task.is_small for task in tasks):
            fields = first_few(map(short, used), 6)
            raise ConfigError(f"{path} does not say which of {fields} are choices: name these with --controls")
        times = Counter(name for chosen in used.values() for name in chosen)
        if twice := [name for name, count in times.items() if count > 1]:
            raise ConfigError(
                f"several controls of {path} ({first_few(map(short, used))}) have the choice "
                f"{first_few(map(shown, sorted(twice)))}; say with --controls whose choices are labels"
            )
        return set(used)

    def _image_key(self, tasks: list[Task], path: Path) -> str:
        """The field that names images in all tasks. Raises ConfigError, which asks, for several and for none."""
        keys = dict.fromkeys(key for task in tasks for key in task.data)
        if self.image_key is not None:
            if self.image_key not in keys:
                raise ConfigError(
                    f"no task of {path} has a field '{self.image_key}'; {did_you_mean(self.image_key, keys)}"
                )
            return self.image_key
        fitting = [key for key in keys if all(names_image(task.data.get(key)) for task in tasks)]
        fitting = fitting or [key for key in keys if key == IMAGE]  # of which a name may have no suffix
        if len(fitting) == 1:
            return fitting[0]
        told = (
            f"{first_few(map(short, fitting))} all name" if fitting else f"none of {first_few(map(short, keys))} names"
        )
        raise ConfigError(f"of the fields of the tasks of {path} {told} images; say with --image-key which one does")

    def _mark(
        self, found: Mapping[int, list[frozenset[str]]], columns: dict[str, int], marks: Marks, path: Path
    ) -> None:
        images, differing = list(marks.images), list[str]()
        for row, made in found.items():
            shared, anywhere = frozenset.intersection(*made) if made else frozenset(), frozenset().union(*made)
            if shared != anywhere:
                differing.append(f"{short(images[row])}: {first_few(map(short, sorted(anywhere - shared)))}")
            for name in anywhere:
                state = PRESENT if name in shared else STATES.get(self.disagreement or "", PRESENT)
                marks.mark(row, columns[name], state)
        if differing and self.disagreement is None:
            raise ConfigError(
                f"annotations of {counted(len(differing), 'image')} of {path} disagree ({first_few(differing)}): "
                "--disagreement unknown makes such labels unknown, --disagreement present takes what any annotation has"
            )


class _Images:
    """The files that tasks name, and how they name them."""

    def __init__(self, marks: Marks, reading: Reading, key: str) -> None:
        self._marks, self._reading, self._key = marks, reading, key
        self._told: dict[int, str] = {}

    def rows(self, tasks: list[Task]) -> list[int]:
        """The row of each task's image."""
        forms, splits = Counter[str](), Counter[str]()
        rows = list[int]()
        for task in tasks:
            value, split = task.data.get(self._key), task.data.get("split")
            if not isinstance(value, str) or not value:
                self._reading.problems.add(f"tasks have no text in {short(self._key)}", f"{task.where}: {shown(value)}")
                rows.append(NOWHERE)
                continue
            form, path = form_of(value)
            forms[form] += 1
            known = SPLIT_NAMES.get(split.lower()) if isinstance(split, str) else None
            splits[short(split) if isinstance(split, str) and not known else ""] += 1
            rows.append(self._row(value, path, known))
        told = first_few(f"{count} {form}" for form, count in forms.most_common())
        self._reading.notes.append(f"images are named by {short(self._key)}: {told}")
        del splits[""]
        if splits:
            self._reading.notes.append(f"splits that are none are left to --test-fraction: {first_few(splits)}")
        return rows

    def _row(self, value: str, path: str, split: str | None) -> int:
        """That of the longest end of the path that is a file, at last without the eight digits of an upload."""
        parts = path.split("/")[-_TAILS:]
        ends = ["/".join(parts[start:]) for start in range(len(parts))]
        places = [*ends, *([_PREFIX.sub("", ends[-1])] if _PREFIX.match(ends[-1]) else [])]
        row = self._marks.image(next((place for place in places if self._marks.has(place)), ends[0]), split)
        if row != NOWHERE and self._told.setdefault(row, value) != value:
            self._reading.problems.add("images fit several tasks", f"{short(self._told[row])}, {short(value)}")
        return row


def _chosen(made: Choices, controls: set[str]) -> frozenset[str]:
    """The choices of all `controls`; of one control its own set, since there may be millions."""
    found = [made[control] for control in made.keys() & controls]
    return frozenset().union(*found) if len(found) > 1 else next(iter(found), frozenset())


def _files(root: Path) -> list[Path]:
    """The files at `root` that begin as an export does."""
    try:
        is_folder = os.path.isdir(root)
        names = sorted(name for name in list_folder(root) if name.lower().endswith(SUFFIXES)) if is_folder else []
    except DataError:
        return []
    return [path for path in ([root / name for name in names] if is_folder else [root]) if looks_like_export(path)]
