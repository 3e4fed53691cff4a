"""Suggestions as a table for people, or as tasks of labelling tools. Axes: N images, C classes."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mlrpl_cli.core.curation.asking.asked import Suggested
from mlrpl_cli.core.curation.asking.options import SuggestOptions
from mlrpl_cli.core.export.writing import check_names, name_of, target
from mlrpl_cli.core.io.errors import csv_text
from mlrpl_cli.core.io.files import atomic_file
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.labels.records import Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT
from mlrpl_cli.core.labels.writers.registry import Export, writer_of
from mlrpl_cli.core.prepared.folder import Prepared

SUGGESTIONS = Path("suggestions")
"""Where suggestions are written when nothing else is said, below the current folder."""
HEADER = ("rank", "image", "class", "probability", "present", "absent", "deviation", "deviation_after", "information")
MORE = ("because", "worth", "cost")
WORDS = {
    "labelstudio": "each task's data has the classes to ask under ask; in the configuration <Text> shows them: "
    '<Text name="ask" value="$ask"/>. What is not ticked comes back as absent, or as unknown, '
    "of all classes of an image, asked or not: ask --by image, or write answers into your own table",
    "cvat": "cvat has no place for which classes are asked; the table and labelstudio say it",
    "fiftyone": "labels are the classes to ask, with their probability as confidence",
}


def places_of(prepared: Prepared, options: SuggestOptions, named: str, overwrite: bool, *suffixes: str) -> list[Path]:
    """Where to write files with the `suffixes`: the first where --out says, the others beside it.

    Raises DataError rather than replace what is not to be replaced.
    """
    out = options.out or SUGGESTIONS / f"{name_of(prepared.folder)}-{named}{suffixes[0]}"
    paths = [out, *(out.with_suffix(suffix) for suffix in suffixes[1:])]
    return [target(path, True, prepared, overwrite) for path in paths]


def write(found: Suggested, prepared: Prepared, prefix: str, progress: Progress) -> list[str]:
    """Write what was `found` to its path, whole or not at all; returns what has to be known of the file."""
    if found.format == "table":
        with atomic_file(found.path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(HEADER + MORE)
            writer.writerows(_lines(found, prefix))
        return []
    export = _export(found, prepared, prefix, progress)
    check_names(export)
    return [WORDS[found.format], *writer_of(found.format)(export, found.path).notes]


def _lines(found: Suggested, prefix: str) -> Iterator[tuple[object, ...]]:
    """A line a cell; those of an image have its rank."""
    for one in found.asked:
        for cell in one.cells:
            figures = (cell.probability, cell.deviation, cell.deviation_after, cell.information, one.worth, one.cost)
            p, before, after, nats, worth, cost = (f"{figure:.6g}" for figure in figures)
            known = (cell.present, cell.absent)
            names = (one.rank, csv_text(prefix + one.image), csv_text(cell.class_name))
            yield (*names, p, *known, before, after, nats, cell.because, worth, cost)


def _export(found: Suggested, prepared: Prepared, prefix: str, progress: Progress) -> Export:
    """The images that are asked of, in the order of their first question, with what is known and what is probable.

    An asked cell is present where that is more probable than not; for fiftyone, which lists labels by confidence, all
    asked cells are, and no others.
    """
    names = list(dict.fromkeys(one.image for one in found.asked))
    at, column = ({name: n for n, name in enumerate(known)} for known in (names, prepared.classes))
    places = {name: place for place, name in enumerate(prepared.images)}
    rows = [places[name] for name in names]
    labels = prepared.observed_labels[rows].copy()
    scores = (labels == PRESENT).astype(np.float32)
    asked = np.zeros(labels.shape, bool)
    for one in found.asked:
        for cell in one.cells:
            where = at[one.image], column[cell.class_name]
            asked[where], scores[where] = True, cell.probability
            labels[where] = PRESENT if cell.probability > 0.5 else ABSENT
    if found.format == "fiftyone":
        labels = np.where(asked, PRESENT, ABSENT).astype(np.int8)
    splits = tuple(prepared.splits[row] for row in rows)
    records = Records(prepared.classes, prepared.image_root, tuple(names), labels, splits)
    return Export(records, scores, f"{name_of(found.run)} {found.strategy}", prefix, progress, asked)
