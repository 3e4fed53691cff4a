"""Tables: a column per class, a row per label, or all labels of an image in one cell."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mlrpl_cli.core.io.errors import first_few
from mlrpl_cli.core.io.files import atomic_file
from mlrpl_cli.core.labels.formats.tabular.columns import is_reserved
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from mlrpl_cli.core.labels.writers.registry import Export, lost_states

CELLS = {PRESENT: "1", ABSENT: "0", UNKNOWN: "?"}
"""A question mark, since an empty cell may mean either to who reads it."""
WORDS = {PRESENT: "present", ABSENT: "absent", UNKNOWN: "unknown"}


def write_table(export: Export, path: Path) -> list[str]:
    """A column per class; nothing is lost."""
    records = export.records
    rows = (
        (export.image(row), split, *(CELLS[state] for state in states))
        for row, (split, states) in enumerate(zip(records.splits, records.full_labels.tolist(), strict=True))
    )
    _write(path, ("image", "split", *records.classes), rows)
    reserved = [name for name in records.classes if is_reserved(name)]
    return [f"read it back with --label-columns, which names {first_few(reserved)} too"] if reserved else []


def write_long(export: Export, path: Path) -> list[str]:
    """A row per known cell, and one for each image and class that has none; nothing is lost."""
    records = export.records
    kept = records.full_labels != UNKNOWN
    kept[~kept.any(axis=1), 0] = True
    kept[0, ~kept.any(axis=0)] = True
    rows = (
        (export.image(row), records.splits[row], records.classes[column], WORDS[int(records.full_labels[row, column])])
        for row, column in zip(*(index.tolist() for index in np.nonzero(kept)), strict=True)
    )
    _write(path, ("image", "split", "label", "state"), rows)
    return [] if (records.full_labels == ABSENT).any() else ["read it back with --unlisted unknown"]


def write_tags(export: Export, path: Path) -> list[str]:
    """The present labels of each image as a JSON list."""
    records = export.records
    names = np.array(records.classes, object)
    listed = (names[row == PRESENT].tolist() for row in records.full_labels)
    cells = (json.dumps(labels, ensure_ascii=False) for labels in listed)
    rows = ((export.image(row), records.splits[row], cell) for row, cell in enumerate(cells))
    _write(path, ("image", "split", "labels"), rows)
    return [*lost_states(export, "tags"), *without_present(export)]


def without_present(export: Export) -> list[str]:
    """That classes vanish of which no image is present."""
    records = export.records
    missing = [records.classes[c] for c in np.flatnonzero(~(records.full_labels == PRESENT).any(axis=0))]
    return [f"{len(missing)} classes are in no image and are left out: {first_few(missing)}"] if missing else []


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with (
        atomic_file(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
