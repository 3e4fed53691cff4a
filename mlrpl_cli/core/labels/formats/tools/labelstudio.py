"""Label Studio: choices of whole images, in the exports that it calls JSON and JSON-MIN.

Its documentation (https://labelstud.io/guide/export): a task has the annotations of all annotators, each with results;
of a skipped task the annotation is cancelled. What a choice means that is not made is not said.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, TypeGuard
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import Field

from mlrpl_cli.core.images.find import is_image, list_folder
from mlrpl_cli.core.io.errors import ConfigError, DataError, Problems, did_you_mean, first_few, one_line
from mlrpl_cli.core.io.reading import GIB, KIB, beginning_of, read_json, short, shown
from mlrpl_cli.core.labels.marks import NOWHERE, Marks
from mlrpl_cli.core.labels.own import Tagged
from mlrpl_cli.core.labels.records import SPLIT_NAMES, Reading, Records
from mlrpl_cli.core.labels.states import PRESENT, STATES, UNKNOWN

UPLOAD, LOCAL, URL, PLAIN = "uploads (/data/upload/…)", "local files (?d=…)", "URLs", "file names"
_MOST_BYTES, _BEGINNING, _TAILS = GIB, 64 * KIB, 8
_OF_EXPORT = frozenset(("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "split"))
"""Keys of a task of JSON-MIN that are neither data nor results."""
_PREFIX = re.compile(r"[0-9a-f]{8}-(?=.)")

Choices = dict[str, frozenset[str]]
"""What was chosen in each control."""


class _Task(NamedTuple):
    """A task, or of JSON-MIN one annotation of it."""

    where: str
    data: dict[str, Any]
    annotations: list[Choices]
    is_small: bool = False
    """Whether it is of JSON-MIN."""


class LabelStudio(Tagged):
    """Choices of images; a field `split` of the task's data is read as the split."""

    image_key: str | None = Field(None, description="the field of a task's data that names its image, else what fits")
    controls: tuple[str, ...] | None = Field(None, description="the controls whose choices are labels, by name")
    disagreement: Literal["unknown", "present"] | None = Field(
        None, description="what a label is that some annotations of an image have and others have not"
    )

    holds: ClassVar[str] = "a JSON or JSON-MIN file that Label Studio exported, or a folder with one"

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
        tasks = _tasks(path, reading)
        problems.raise_if_any(str(path), "export the project as JSON again")
        controls = self._controls(tasks, path)
        if self.controls is None and len(controls) > 1:
            told = ", ".join(map(short, sorted(controls)))
            reading.notes.append(f"choices of the controls {told} are all labels; --controls names those that are")
        unlisted = self.otherwise(path, reading, "choices")
        names = {
            name
            for task in tasks
            for found in task.annotations
            for key in found.keys() & controls
            for name in found[key]
        }
        marks = Marks(self.image_root(path), reading)
        columns = {name: marks.label(name) for name in sorted(names)}
        rows = _Images(marks, reading, self._image_key(tasks, path)).rows(tasks)
        found = defaultdict[int, list[frozenset[str]]](list)
        for row, task in zip(rows, tasks, strict=True):
            chosen = [frozenset().union(*(made[key] for key in made.keys() & controls)) for made in task.annotations]
            found[row] += chosen if row != NOWHERE else []
        self._mark(found, columns, marks, path)
        labelled = (row for row, made in found.items() if made and row != NOWHERE)
        self.check_labelled(marks, labelled, unlisted)
        if bare := sum(not made for row, made in found.items() if row != NOWHERE):
            reading.notes.append(f"{bare} images have no annotation: all their cells are unknown")
        return self.records(marks, reading, UNKNOWN, path)

    def _path(self) -> Path:
        if not os.path.isdir(self.root):
            return self.root
        files = _files(self.root)
        if len(files) != 1:
            told = first_few(path.name for path in files) or "none"
            raise DataError(
                f"{self.root} must hold one JSON file of Label Studio, it holds {told}; name it with --root"
            )
        return files[0]

    def _controls(self, tasks: list[_Task], path: Path) -> set[str]:
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

    def _image_key(self, tasks: list[_Task], path: Path) -> str:
        """The field that names images in all tasks. Raises ConfigError, which asks, for several and for none."""
        keys = dict.fromkeys(key for task in tasks for key in task.data)
        if self.image_key is not None:
            if self.image_key not in keys:
                raise ConfigError(
                    f"no task of {path} has a field '{self.image_key}'; {did_you_mean(self.image_key, keys)}"
                )
            return self.image_key
        fitting = [key for key in keys if all(_names_image(task.data.get(key)) for task in tasks)]
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
                f"annotations of {len(differing)} images of {path} disagree ({first_few(differing)}): --disagreement "
                "unknown makes such labels unknown, --disagreement present takes what any annotation has"
            )


class _Images:
    """The files that tasks name, and how they name them."""

    def __init__(self, marks: Marks, reading: Reading, key: str) -> None:
        self._marks, self._reading, self._key = marks, reading, key
        self._told: dict[int, str] = {}

    def rows(self, tasks: list[_Task]) -> list[int]:
        """The row of each task's image."""
        forms, splits = Counter[str](), Counter[str]()
        rows = list[int]()
        for task in tasks:
            value, split = task.data.get(self._key), task.data.get("split")
            if not isinstance(value, str) or not value:
                self._reading.problems.add(f"tasks have no text in {short(self._key)}", f"{task.where}: {shown(value)}")
                rows.append(NOWHERE)
                continue
            form, path = _form(value)
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


def _form(value: str) -> tuple[str, str]:
    """How a value names its image, and the path in it."""
    try:
        parts = urlsplit(value)
        local = parse_qs(parts.query).get("d", [""])[0]
    except ValueError:
        return PLAIN, value
    if local and "local-files" in parts.path:
        return LOCAL, local.replace("\\", "/").strip("/")
    if "/data/upload/" in parts.path or parts.path.startswith("data/upload/"):
        return UPLOAD, unquote(parts.path.partition("data/upload/")[2])
    if parts.netloc:
        return URL, unquote(parts.path).strip("/")
    return PLAIN, value.replace("\\", "/").strip("/")


def _names_image(value: object) -> bool:
    if not isinstance(value, str):
        return False
    form, path = _form(value)
    return is_image(path) or form in (UPLOAD, LOCAL)


def _tasks(path: Path, reading: Reading) -> list[_Task]:
    """Raises DataError for what is no JSON; tasks that are none are problems."""
    try:
        content = read_json(path, _MOST_BYTES)
    except FileNotFoundError as error:
        raise DataError(f"there is no {path}; name the file that Label Studio exported with --root") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no readable JSON: {one_line(error)}; export the project as JSON again") from error
    if not isinstance(content, list):
        raise DataError(f"{path} holds no list of tasks: {shown(content)}; export the project as JSON or JSON-MIN")
    if all(isinstance(entry, dict) and "data" not in entry for entry in content):
        return list(_small(content, reading))
    counted = Counter[str]()
    tasks = [task for number, entry in enumerate(content) if (task := _task(number, entry, counted, reading.problems))]
    for what, count in counted.items():
        reading.notes.append(f"{what} are left out: {count}")
    return tasks


def _task(number: int, entry: Any, counted: Counter[str], problems: Problems) -> _Task | None:
    """A task of JSON."""
    found = entry if isinstance(entry, dict) else {}
    where, data, listed = f"task {short(str(found.get('id', number)))}", found.get("data"), found.get("annotations", [])
    if not isinstance(data, dict) or not isinstance(listed, list):
        problems.add("tasks lack data and a list of annotations", f"{where}: {shown(entry)}")
        return None
    made = list[Choices]()
    for annotation in listed:
        results = annotation.get("result") if isinstance(annotation, dict) else None
        if not isinstance(results, list):
            problems.add("annotations lack a list of results", f"{where}: {shown(annotation)}")
        elif annotation.get("was_cancelled"):
            counted["cancelled annotations"] += 1
        else:
            made.append(_choices(results, where, counted, problems))
    return _Task(where, data, made)


def _choices(results: list[Any], where: str, counted: Counter[str], problems: Problems) -> Choices:
    made: Choices = {}
    for result in results:
        value = result.get("value") if isinstance(result, dict) else None
        chosen = value.get("choices") if isinstance(value, dict) else None
        if not isinstance(value, dict):
            problems.add("results have no value", f"{where}: {shown(result)}")
        elif "choices" not in value:
            counted[f"results of {short(str(result.get('type', 'another kind')))}"] += 1
        elif not _is_list_of_text(chosen):
            problems.add("choices are no list of text", f"{where}: {shown(chosen)}")
        else:
            control = str(result.get("from_name", ""))
            made[control] = made.get(control, frozenset()) | frozenset(chosen)
    return made


def _small(content: list[dict[str, Any]], reading: Reading) -> Iterator[_Task]:
    """Tasks of JSON-MIN, where a control stands beside the data. What is text could be either: it names no image."""
    for number, entry in enumerate(content):
        where, made = f"task {short(str(entry.get('id', number)))}", dict[str, frozenset[str]]()
        for key, value in entry.items():
            chosen = value.get("choices") if isinstance(value, dict) else value
            if isinstance(value, dict) and "choices" in value and not _is_list_of_text(chosen):
                reading.problems.add("choices are no list of text", f"{where}: {shown(chosen)}")
            elif isinstance(chosen, str) and key not in _OF_EXPORT and not _names_image(chosen):
                made[key] = frozenset([chosen])
            elif _is_list_of_text(chosen) and key not in _OF_EXPORT:
                made[key] = frozenset(chosen)
        data = {key: value for key, value in entry.items() if key not in made}
        yield _Task(where, data, [] if entry.get("was_cancelled") else [made], is_small=True)


def _is_list_of_text(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _files(root: Path) -> list[Path]:
    """The files at `root` that begin as an export does."""
    try:
        is_folder = os.path.isdir(root)
        names = sorted(name for name in list_folder(root) if name.lower().endswith(".json")) if is_folder else []
    except DataError:
        return []
    return [path for path in ([root / name for name in names] if is_folder else [root]) if _looks_like(path)]


def _looks_like(path: Path) -> bool:
    start = beginning_of(path, _BEGINNING)
    if not start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        return False
    return b'"annotation_id"' in start or (b'"data"' in start and b'"annotations"' in start)
