"""The tasks in Label Studio's exports: JSON, JSON-MIN, and CSV, whose rows say what JSON-MIN says.

Its documentation: https://labelstud.io/guide/export. Several choices of a control are JSON in their cell of a CSV,
{"choices": ["a", "b"]}, a single one is its text.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard
from urllib.parse import parse_qs, unquote, urlsplit

from mlrpl_cli.core.images.find import is_image
from mlrpl_cli.core.io.errors import DataError, Problems, one_line
from mlrpl_cli.core.io.reading import GIB, KIB, beginning_of, read_json, short, shown
from mlrpl_cli.core.labels.formats.tabular.dialect import peek
from mlrpl_cli.core.labels.formats.tabular.sheets import read_table
from mlrpl_cli.core.labels.marks import MOST_CLASSES, raise_too_many
from mlrpl_cli.core.labels.records import Reading

UPLOAD, LOCAL, URL, PLAIN = "uploads (/data/upload/…)", "local files (?d=…)", "URLs", "file names"
SUFFIXES = (".json", ".csv", ".tsv")
_MOST_BYTES, _BEGINNING = GIB, 64 * KIB
_OF_EXPORT = frozenset(("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "split"))
"""Keys of a task of JSON-MIN that are neither data nor results."""
_OF_TABLES = _OF_EXPORT - {"split"}
"""Columns that every CSV has."""
_AGAIN = "export the project as JSON, JSON-MIN or CSV again"

Choices = dict[str, frozenset[str]]
"""What was chosen in each control."""


class Task(NamedTuple):
    """A task, or of JSON-MIN and CSV one annotation of it."""

    where: str
    data: Mapping[str, Any]
    annotations: list[Choices]
    is_small: bool = False
    """Whether it is of JSON-MIN or CSV."""


def looks_like_export(path: Path) -> bool:
    """Whether a file begins as an export does."""
    start = beginning_of(path, _BEGINNING).removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"["):
        return b'"annotation_id"' in start or (b'"data"' in start and b'"annotations"' in start)
    return _is_table(path)


def names_image(value: object) -> bool:
    """Whether a value of a task's data is text that can name an image."""
    if not isinstance(value, str):
        return False
    form, path = form_of(value)
    return is_image(path) or form in (UPLOAD, LOCAL)


def form_of(value: str) -> tuple[str, str]:
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


def read_tasks(path: Path, reading: Reading) -> list[Task]:
    """The tasks in a file. Raises DataError for what is no export; tasks that are none are problems."""
    if _is_table(path):
        return list(_rows(path, reading))
    try:
        content = read_json(path, _MOST_BYTES)
    except FileNotFoundError as error:
        raise DataError(f"there is no {path}; name the file that Label Studio exported with --root") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no readable JSON: {one_line(error)}; {_AGAIN}") from error
    if not isinstance(content, list):
        raise DataError(f"{path} holds no list of tasks: {shown(content)}; {_AGAIN}")
    if all(isinstance(entry, dict) and "data" not in entry for entry in content):
        return list(_small(content, reading))
    counted = Counter[str]()
    tasks = [task for number, entry in enumerate(content) if (task := _task(number, entry, counted, reading.problems))]
    for what, count in counted.items():
        reading.notes.append(f"{what} are left out: {count}")
    return tasks


def _task(number: int, entry: Any, counted: Counter[str], problems: Problems) -> Task | None:
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
    return Task(where, data, made)


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


def _small(content: list[dict[str, Any]], reading: Reading) -> Iterator[Task]:
    """Tasks of JSON-MIN, where a control stands beside the data."""
    for number, entry in enumerate(content):
        where = f"task {short(str(entry.get('id', number)))}"
        made = _beside(entry, where, reading.problems)
        data = {key: value for key, value in entry.items() if key not in made}
        yield Task(where, data, [] if entry.get("was_cancelled") else [made], is_small=True)


def _beside(entry: Mapping[str, Any], where: str, problems: Problems) -> Choices:
    """The choices that stand beside the data of a task. What is text could be either: it names no image."""
    made: Choices = {}
    for key, value in entry.items():
        chosen = value.get("choices") if isinstance(value, dict) else value
        if isinstance(value, dict) and "choices" in value and not _is_list_of_text(chosen):
            problems.add("choices are no list of text", f"{where}: {shown(chosen)}")
        elif isinstance(chosen, str) and key not in _OF_EXPORT and not names_image(chosen):
            made[key] = frozenset([chosen])
        elif _is_list_of_text(chosen) and key not in _OF_EXPORT:
            made[key] = frozenset(chosen)
    return made


def _rows(path: Path, reading: Reading) -> Iterator[Task]:
    """Tasks of a CSV, an annotation a row; a row without the id of one is of a task that nobody annotated."""
    sheet = read_table(path, reading.problems)
    reading.notes.extend(sheet.notes)
    wanted = [column for column, name in enumerate(sheet.names) if name not in _OF_EXPORT or name == "split"]
    annotated = sheet.column(sheet.names.index("annotation_id"))
    shared = dict[tuple[tuple[str, frozenset[str]], ...], list[Choices]]()  # most rows say one of a few things
    names = set[str]()
    for row, number in enumerate(sheet.numbers):
        where = f"row {number}"
        cells = ((sheet.names[column], sheet.column(column)[row]) for column in wanted)
        entry = {name: _value(cell) for name, cell in cells if cell}
        made = _beside(entry, where, reading.problems)
        data = {name: value for name, value in entry.items() if name not in made}
        said = shared.setdefault(tuple(made.items()), [made])
        if said[0] is made:
            names.update(*made.values())
            if len(names) > MOST_CLASSES:
                raise_too_many(min(names))
        yield Task(where, data, said if annotated[row] else [], is_small=True)


def _value(cell: str) -> Any:
    """What a cell of a CSV holds: results other than a single choice are JSON."""
    if cell[0] in "[{":
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell


def _is_list_of_text(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_table(path: Path) -> bool:
    """Whether a file is a table with the columns of a CSV of Label Studio."""
    if beginning_of(path, _BEGINNING).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"[", b"{", b""):
        return False
    return set(next(iter(peek(path, 1)), [])) >= _OF_TABLES
