"""Tables: a column per class, a row per label, or all labels of an image in one cell.

They are for programs: every name is written as it is, also one that a spreadsheet takes for a formula, since a mark in
front of it would make another class or another file of it. Such names are told.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from pathlib import Path

from mlrpl_cli.core.io.errors import FORMULA_STARTS, agreeing, first_few
from mlrpl_cli.core.io.files import atomic_file
from mlrpl_cli.core.io.progress import track
from mlrpl_cli.core.io.reading import short
from mlrpl_cli.core.labels.formats.tabular.columns import SPLIT_COLUMNS, is_reserved
from mlrpl_cli.core.labels.formats.tabular.dialect import SEPARATORS
from mlrpl_cli.core.labels.formats.tabular.sheets import key_of
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, STATES, UNKNOWN
from mlrpl_cli.core.labels.writers.registry import Export, Written, only_present, without_present

CELLS = {PRESENT: "1", ABSENT: "0", UNKNOWN: "?"}
"""A question mark, since an empty cell may mean either to who reads it."""
WORDS = {state: word for word, state in STATES.items()}


def write_table(export: Export, path: Path) -> Written:
    """A column per class; nothing is lost."""
    records = export.records
    taken = set(map(key_of, records.classes))
    split = next((name for name in SPLIT_COLUMNS if key_of(name) not in taken), SPLIT_COLUMNS[0])
    rows = (
        (export.image(row), records.splits[row], *(CELLS[state] for state in records.full_labels[row].tolist()))
        for row in _rows(export)
    )
    write_rows(path, ("image", split, *records.classes), rows)
    reserved = any(map(is_reserved, records.classes))
    flags = ("--label-columns", _listed(records.classes)) if reserved else ()
    return Written("table", (*flags, *_comma(export)), _formulas(export))


def write_long(export: Export, path: Path) -> Written:
    """A row per known cell, of predictions per cell, and one for each image and class without any; nothing is lost."""
    labels = export.records.full_labels
    kept = (labels != UNKNOWN) | (export.scores is not None)
    kept[~kept.any(axis=1), 0] = True
    kept[0, ~kept.any(axis=0)] = True
    scored = ("probability",) if export.scores is not None else ()
    rows = (cells for row in _rows(export) for cells in _cells(export, row, kept[row].nonzero()[0].tolist()))
    write_rows(path, ("image", "split", "label", "state", *scored), rows)
    flags = () if (labels == ABSENT).any() else ("--unlisted", "unknown")
    return Written("long", (*flags, *_comma(export)), _formulas(export))


def _cells(export: Export, row: int, columns: list[int]) -> Iterator[tuple[str, ...]]:
    records = export.records
    image, split, states = export.image(row), records.splits[row], records.full_labels[row].tolist()
    scores = None if export.scores is None else export.scores[row].tolist()
    for column in columns:
        scored = () if scores is None else (f"{scores[column]:.6f}",)
        yield (image, split, records.classes[column], WORDS[states[column]], *scored)


def write_tags(export: Export, path: Path) -> Written:
    """The present labels of each image as a JSON list."""
    records = export.records
    listed = ([records.classes[column] for column in export.present(row)] for row in _rows(export))
    cells = (json.dumps(labels, ensure_ascii=False) for labels in listed)
    rows = ((export.image(row), records.splits[row], cell) for row, cell in enumerate(cells))
    write_rows(path, ("image", "split", "labels"), rows)
    dataset, flags, notes = only_present(export, "tags")
    return Written(dataset, (*flags, *_comma(export)), (*notes, *without_present(export), *_formulas(export)))


def _rows(export: Export) -> Iterator[int]:
    count = len(export.records.images)
    return track(export.progress, range(count), "writing labels", count)


def _comma(export: Export) -> tuple[str, ...]:
    """The option that names the separator where names have others, by which a reader could take them for one."""
    others = set(SEPARATORS.values()) - {","}
    names = (export.prefix, *export.records.images, *export.records.classes)
    return ("--separator", "comma") if any(others & set(name) for name in names) else ()


def _formulas(export: Export) -> tuple[str, ...]:
    """The sentence on names that a spreadsheet takes for a formula."""
    names = (*export.records.classes, *map(export.image, range(len(export.records.images))))
    found = [short(name) for name in names if name.lstrip().startswith(FORMULA_STARTS)]
    told = agreeing(len(found), f"names begin as formulas do ({first_few(found)}) and are written unchanged")
    return (f"{told}: let a spreadsheet import the columns as text, and open no table of strangers",) if found else ()


def _listed(names: Sequence[str]) -> str:
    """`names` as an option takes them: commas between, quotes where needed."""
    line = StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return line.getvalue()


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table with commas in UTF-8, whole or not at all; cells are written as they are."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
