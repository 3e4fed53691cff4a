"""What is made of labels that look wrong: a table of all known cells, and labels in which the worst are corrected."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlrpl_cli.core.config import raise_together
from mlrpl_cli.core.curation.check_options import BELOW, OF_CORRECTED, TABLE, CheckOptions
from mlrpl_cli.core.curation.checking import Checked, check
from mlrpl_cli.core.curation.filled import warn_of_filled
from mlrpl_cli.core.export.writing import (
    Exported,
    check_names,
    name_of,
    out_problems,
    place_of,
    target,
    write_export,
)
from mlrpl_cli.core.io.errors import counted, csv_text
from mlrpl_cli.core.io.files import atomic_file
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.labels.states import STATES, UNKNOWN
from mlrpl_cli.core.labels.writers.registry import Export, writer_of
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.runs.subject import Subject, subject_of

COLUMNS = ("rank", "rank_in_class", "image", "split", "class", "given", "right")
WORDS = {state: word for word, state in STATES.items()}


@dataclass(frozen=True)
class Check:
    """What was found and written."""

    subject: Subject
    checked: Checked
    looks_wrong: int | None
    """How many cells were corrected; None where nothing was to be."""
    exported: Exported | None
    """The labels that were written."""


def check_labels(options: CheckOptions, progress: Progress | None = None, overwrite: bool = False) -> Check:
    """Check the known labels of a prepared folder, and write what `options` ask for, each file whole or not at all.

    With `overwrite` labels that were written before are replaced. Raises ConfigError for options that cannot be, and
    RunError and DataError like `checking.check` and `export_labels`.
    """
    progress = progress or Silent()
    _check_options(options)
    subject = subject_of(options)
    prepared = subject.prepared
    warn_of_filled(prepared, progress)
    path = _path(options, prepared, overwrite)
    ranking = None if options.csv is None else target(options.csv, True, prepared, overwrite, "--csv")
    checked = check(prepared, options, subject.run, progress)
    if ranking is not None:
        write_ranking(checked, prepared, ranking)
    found = Check(subject, checked, None, None)
    if path is None:
        return found
    wrong = looks_wrong(checked, options)
    labels = corrected(prepared.observed_labels, checked, wrong, options.flip)
    done = f"{counted(wrong, 'cell')} that {'looks' if wrong == 1 else 'look'} wrong"
    told = f"{done} {'is' if wrong == 1 else 'are'} {'flipped' if options.flip else 'unknown in it'}"
    export = Export(replace(prepared, full_labels=labels), progress=progress)
    exported = write_export(export, path, options.format or TABLE, prepared, (told,))
    return replace(found, looks_wrong=wrong, exported=exported)


def looks_wrong(checked: Checked, options: CheckOptions) -> int:
    """How many of the first cells of the ranking look wrong, by --top or --below."""
    if options.top is not None:
        return min(options.top, len(checked.right))
    return int(np.searchsorted(checked.right, BELOW if options.below is None else options.below))


def corrected(labels: np.ndarray, checked: Checked, wrong: int, flip: bool) -> np.ndarray:
    """A copy of observed labels (N, C) in which the first `wrong` cells are unknown, or with `flip` the other state."""
    rows, columns, given = (part[:wrong] for part in (checked.rows, checked.columns, checked.given))
    labels = labels.copy()
    labels[rows, columns] = -given if flip else UNKNOWN
    return labels


def write_ranking(checked: Checked, prepared: Prepared, path: Path) -> None:
    """All known cells as CSV, for people: COLUMNS, `right` the probability that the label is."""
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for cell in cells(checked, prepared, len(checked.right)):
            names = {name: csv_text(cell[name]) for name in ("image", "class")}
            writer.writerow((cell | names | {"right": f"{cell['right']:.6f}"})[name] for name in COLUMNS)


def cells(checked: Checked, prepared: Prepared, most: int) -> Iterator[dict[str, Any]]:
    """The first `most` cells of the ranking, by the names of COLUMNS."""
    ranks = checked.rank_in_class
    for place in range(min(most, len(ranks))):
        row, column = int(checked.rows[place]), int(checked.columns[place])
        yield {
            "rank": place + 1,
            "rank_in_class": int(ranks[place]),
            "image": prepared.images[row],
            "split": prepared.splits[row],
            "class": checked.classes[column],
            "given": WORDS[int(checked.given[place])],
            "right": float(checked.right[place]),
        }


def as_dict(found: Check, most: int) -> dict[str, Any]:
    """What JSON holds: the shares, each class, and the first `most` cells."""
    checked = found.checked
    wrong, known = checked.expected_wrong.tolist(), checked.known.tolist()
    classes = [
        {
            "class": name,
            "present": present,
            "absent": absent,
            "expected_wrong": of,
            "one_sided": name in checked.one_sided,
        }
        for name, (present, absent), of in zip(checked.classes, known, wrong, strict=True)
    ]
    return {
        "cells": len(checked.right),
        "expected_wrong": float(sum(wrong)),
        "expected_share": float(sum(wrong) / len(checked.right)),
        "absent_given_as_present": checked.noise.probability * checked.noise.given_present,
        "present_given_as_absent": checked.noise.probability * checked.noise.given_absent,
        "errors_seen": checked.noise.is_seen,
        "classes": classes,
        "first": list(cells(checked, found.subject.prepared, most)),
        "looks_wrong": found.looks_wrong,
        "exported": None if found.exported is None else asdict(found.exported),
    }


def _check_options(options: CheckOptions) -> None:
    """Raises ConfigError for what contradicts itself or would not be used, and for an unknown format."""
    found, idle = list[str](), [name for name in OF_CORRECTED if getattr(options, name) is not None]
    if options.drop and options.flip:
        found.append("--drop and --flip were both given; leave one of them out")
    if options.below is not None and options.top is not None:
        found.append("--below and --top were both given; leave one of them out")
    if idle and not (options.drop or options.flip):
        found.append(f"{', '.join(f'--{name}' for name in idle)} is for corrected labels; add --drop or --flip")
    if options.csv is not None:
        if options.csv.suffix.lower() != ".csv":
            found.append(f"--csv {options.csv}: the ranking is a file that ends in .csv; name one")
        if options.out is not None and options.csv.absolute() == options.out.absolute():
            found.append(f"--csv and --out are both {options.csv}; name two files")
    raise_together(found)
    form = options.format or TABLE
    writer_of(form)
    raise_together(out_problems(options.out, form))


def _path(options: CheckOptions, prepared: Prepared, overwrite: bool) -> Path | None:
    """Where labels are written; None where none are asked for."""
    if not (options.drop or options.flip):
        return None
    form = options.format or TABLE
    named = f"{name_of(prepared.folder)}-{'flipped' if options.flip else 'dropped'}"
    check_names(Export(prepared))
    return place_of(options.out, named, form, prepared, overwrite)
