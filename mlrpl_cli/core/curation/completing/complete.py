"""Labels of a prepared folder with the unknown cells filled that keep a promise.

Test images stay as they are, and so do validation images if nothing else is asked for: cells that were sure enough to
be filled would be judged by what filled them. Only observed labels are read: what the mask hides has no say.
Axes: N images, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlrpl_cli.core.config import raise_together
from mlrpl_cli.core.curation.calibrating import calibrated_logits
from mlrpl_cli.core.curation.completing.filling import Filling, fill
from mlrpl_cli.core.curation.completing.options import CompleteOptions
from mlrpl_cli.core.curation.completing.provenance import beside, write_provenance
from mlrpl_cli.core.curation.cross_fitting import CrossFitted, cross_fit
from mlrpl_cli.core.curation.filled import filled_by
from mlrpl_cli.core.export.writing import (
    Exported,
    check_names,
    name_of,
    out_problems,
    place_of,
    target,
    write_export,
)
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.files import atomic_file
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.labels.records import TRAIN
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from mlrpl_cli.core.labels.writers.registry import SUFFIXES, Export, writer_of
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.runs.decided.calibration import sigmoid
from mlrpl_cli.core.runs.subject import Subject, subject_of

SIDES = {"yes": PRESENT, "no": ABSENT}
SUPPOSED = "what is promised supposes that chance chose which cells are known, and not who looked at them"
FILLED_VALIDATION = "validation images are filled, too: what a training on these labels measures there is partly filled"


@dataclass(frozen=True)
class Side:
    """What became of the unknown cells of a class that are rather present ("yes"), or rather absent ("no")."""

    filled: int
    group: str | None
    """Who keeps the promise: the class "alone", or "together" with the other classes that could not alone."""
    threshold: float | None
    """Cells with p from here on are filled: upwards for yes, downwards for no."""
    bound: float | None
    """The share of the group's filled cells that is right, at least; no less than the precision asked for."""
    vouching: int | None
    """Known cells of the group beyond the threshold."""
    wrong: int | None
    """Those of them that contradict."""
    why: str | None
    """Why there is no promise; null where there is one."""


@dataclass(frozen=True)
class CompletedClass:
    """A class, with its unknown cells."""

    name: str
    unknown: int
    """Cells that were unknown, of the images that may be filled."""
    yes: Side
    no: Side


@dataclass(frozen=True)
class Completed:
    """What was filled, and what holds of it."""

    options: CompleteOptions
    """With no value left open."""
    subject: Subject
    labels: Exported
    provenance: Path
    """The table of where each cell comes from."""
    classes: tuple[CompletedClass, ...]

    @property
    def unknown(self) -> int:
        """Cells that were unknown, of the images that may be filled."""
        return sum(each.unknown for each in self.classes)

    def filled(self, side: str) -> int:
        """Cells filled as "yes", or as "no"."""
        return sum(getattr(each, side).filled for each in self.classes)


def complete(options: CompleteOptions, progress: Progress | None = None, overwrite: bool = False) -> Completed:
    """Fill unknown cells of a prepared folder, and write all labels and where each cell comes from.

    With `overwrite` what an earlier call wrote is replaced. Raises ConfigError for options that cannot be, RunError for
    a run that does not fit, and DataError for data without an unknown cell, for names that the format cannot hold and
    rather than replace anything else.
    """
    progress = progress or Silent()
    writer_of(options.format)  # an unknown one is told first
    raise_together(out_problems(options.out, options.format))
    subject = subject_of(options)
    prepared = subject.prepared
    if table_before := filled_by(prepared):
        why = f"cells of {prepared.folder} were filled ({table_before}), and filled cells cannot vouch for others"
        raise DataError(f"{why}; complete the labels as they were given")
    named = f"{name_of(prepared.folder)}-completed"
    path = place_of(options.out, named, options.format, prepared, overwrite)
    table = target(beside(path, bool(SUFFIXES[options.format])), True, prepared, overwrite)
    check_names(_export(prepared, prepared.observed_labels, options, progress))
    found = cross_fit(prepared, options, subject.run, progress)
    may = options.fill_validation | (np.array(prepared.splits)[found.rows] == TRAIN)
    if found.known[may].all():
        others = "" if options.fill_validation else "; --fill-validation fills validation images, too"
        raise DataError(f"{prepared.folder} has no unknown cell to fill{others}")
    logits = calibrated_logits(found, progress)
    filling = filled(logits, found.labels, may, options)
    export = _export(prepared, filled_labels(prepared, found, filling), options, progress)
    told = (SUPPOSED, *((FILLED_VALIDATION,) if options.fill_validation else ()))
    with atomic_file(table) as temporary:  # both files are whole before the first takes its place
        write_provenance(temporary, export, found.rows, found.labels, sigmoid(logits), filling, progress)
        written = write_export(export, path, options.format, prepared, told)
    return Completed(options, subject, written, table, _classes(found, filling, may))


def filled(logits: np.ndarray, labels: np.ndarray, may: np.ndarray, options: CompleteOptions) -> Filling:
    """What is filled of the images of `may` (N,) by calibrated logits (N, C); their known cells alone vouch for it."""
    inside = fill(logits[may], labels[may], precisions_of(options), options.confidence)
    states = np.full(labels.shape, UNKNOWN, np.int8)
    states[may] = inside.states
    return replace(inside, states=states)


def precisions_of(options: CompleteOptions) -> dict[int, float]:
    """What is to hold of cells filled as PRESENT and as ABSENT."""
    absent = options.precision if options.no_precision is None else options.no_precision
    return {PRESENT: options.precision, ABSENT: absent}


def filled_labels(prepared: Prepared, found: CrossFitted, filling: Filling) -> np.ndarray:
    """Observed labels of all images with the filled cells; a known one is never another."""
    labels = prepared.observed_labels.copy()
    labels[found.rows] = np.where(found.known, found.labels, filling.states)
    return labels


def as_dict(result: Completed) -> dict[str, Any]:
    """What `--json` tells."""
    filled, unknown = {side: result.filled(side) for side in SIDES}, result.unknown
    return {
        "labels": vars(result.labels),
        "provenance": result.provenance,
        "run": result.subject.run,
        "precision": {side: precisions_of(result.options)[state] for side, state in SIDES.items()},
        "confidence": result.options.confidence,
        "unknown": unknown,
        "filled": filled,
        "share_filled": {side: count / unknown for side, count in filled.items()},
        "classes": [
            {"class": each.name, "unknown": each.unknown, "yes": vars(each.yes), "no": vars(each.no)}
            for each in result.classes
        ],
    }


def _export(prepared: Prepared, labels: np.ndarray, options: CompleteOptions, progress: Progress) -> Export:
    return Export(replace(prepared, full_labels=labels), prefix=options.prefix or "", progress=progress)


def _classes(found: CrossFitted, filling: Filling, may: np.ndarray) -> tuple[CompletedClass, ...]:
    unknown = (~found.known[may]).sum(axis=0).tolist()
    sides = [
        {name: _side(filling, state, column) for name, state in SIDES.items()} for column in range(len(found.classes))
    ]
    return tuple(
        CompletedClass(name, count, **each) for name, count, each in zip(found.classes, unknown, sides, strict=True)
    )


def _side(filling: Filling, state: int, column: int) -> Side:
    verdict = filling.verdicts[state][column]
    filled = int((filling.states[:, column] == state).sum())
    if verdict.promise is None:
        return Side(filled, None, None, None, None, None, verdict.why)
    promise = verdict.promise
    threshold = float(sigmoid(np.array(state * promise.threshold)))
    return Side(filled, verdict.group, threshold, promise.bound, promise.known, promise.wrong, None)
