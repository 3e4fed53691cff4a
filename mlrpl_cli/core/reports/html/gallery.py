"""Pictures of cells: what a run is sure of, rightly and wrongly, what it is not, and labels that look wrong.

Axes: N measured images, C classes, M chosen cells.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from PIL import Image

from mlrpl_cli.core.curation.checking import Checked, places_in_class
from mlrpl_cli.core.curation.correcting import cells
from mlrpl_cli.core.images.decode import open_image
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.progress import Progress, track
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from mlrpl_cli.core.prediction.images import Unreadable
from mlrpl_cli.core.prediction.predictor import Predictor
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.reports.figures import overlay
from mlrpl_cli.core.reports.html.measuring import MeasuredRun
from mlrpl_cli.core.reports.html.options import ReportOptions
from mlrpl_cli.core.reports.html.page import image_uri
from mlrpl_cli.core.runs.decided.verdicts import NO, UNSURE, YES

MOST_CELLS = 40
"""Of a group: two thumbnails each, so that a page of four groups stays below 15 MB whatever the images show."""
THUMBNAIL, QUALITY = 176, 75
"""Longest side in pixels, and quality as JPEG."""
IMAGES_AT_ONCE = 8
SURE_RIGHT, SURE_WRONG, UNSURE_CELLS, LABEL_ERRORS = "sure-right", "sure-wrong", "unsure", "label-errors"


@dataclass(frozen=True)
class Cell:
    """One class of one image."""

    row: int
    """Of the image in the prepared folder."""
    column: int
    told: str
    """What is said of it."""


@dataclass(frozen=True)
class Picture:
    """A cell with its thumbnails."""

    cell: Cell
    image: str
    name: str
    """Of the class."""
    plain: Markup | None
    """The image as an address; None where it could not be read."""
    attention: Markup | None


@dataclass(frozen=True)
class Group:
    """Cells that are shown together."""

    key: str
    title: str
    told: str
    cells: tuple[Cell, ...]
    found: int
    """How many there are in all."""


def groups_of(run: MeasuredRun, checked: Checked | None, prepared: Prepared) -> list[Group]:
    """The groups that are known of, each with at most MOST_CELLS cells."""
    groups = _measured_groups(run)
    if checked is not None:
        groups.append(_label_errors(checked, prepared))
    return groups


def first_of_each_class(strength: np.ndarray, most: int = MOST_CELLS) -> list[tuple[int, int]]:
    """At most `most` cells (n, c) of those with a strength (N, C) that is not NaN, strongest first.

    Each class has its strongest cell before any has a second one, so that every class can be looked at.
    """
    rows, columns = np.nonzero(~np.isnan(strength))
    values = strength[rows, columns]
    taken = np.lexsort((-values, places_in_class(columns, -values)))[:most]
    taken = taken[np.argsort(-values[taken], kind="stable")]
    return list(zip(rows[taken].tolist(), columns[taken].tolist(), strict=True))


def pictures(
    groups: Sequence[Group], prepared: Prepared, options: ReportOptions, progress: Progress
) -> tuple[dict[str, list[Picture]], list[Unreadable]]:
    """The thumbnails of all cells by the keys of their groups, and the images that could not be read."""
    rows = list(dict.fromkeys(cell.row for group in groups for cell in group.cells))
    made, unreadable = dict[Cell, tuple[Markup, Markup]](), list[Unreadable]()
    if rows:
        wanted = {row: [cell for group in groups for cell in group.cells if cell.row == row] for row in rows}
        predictor = Predictor.from_run(options.run, options.checkpoint, options.device)
        paths = prepared.paths(np.array(rows))
        results = predictor.predict_files(paths, IMAGES_AT_ONCE, options.workers)
        for row, result in zip(rows, track(progress, results, "drawing", len(rows)), strict=True):
            try:
                if isinstance(result, Unreadable):
                    raise DataError(result.reason)
                image = open_image(result.path, THUMBNAIL, allow_truncated=prepared.allow_truncated)
            except DataError as error:
                unreadable.append(Unreadable(result.path, str(error)))
                continue
            made |= dict(_drawn(image, wanted[row], result.attention))
    shown = {group.key: [_picture(cell, prepared, made) for cell in group.cells] for group in groups}
    return shown, unreadable


def thumbnail(image: Image.Image) -> Image.Image:
    """A copy whose longest side has THUMBNAIL pixels, or its own where that is less."""
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return small


def jpeg_uri(image: Image.Image) -> Markup:
    """An RGB picture as a JPEG in an address."""
    content = io.BytesIO()
    image.save(content, "JPEG", quality=QUALITY, optimize=True)
    return image_uri("jpeg", content.getvalue())


def _drawn(
    image: Image.Image, wanted: Sequence[Cell], attention: np.ndarray
) -> Iterator[tuple[Cell, tuple[Markup, Markup]]]:
    small = thumbnail(image)
    plain, pixels = jpeg_uri(small), np.asarray(small)
    for cell in wanted:
        yield cell, (plain, jpeg_uri(Image.fromarray(overlay(pixels, attention[cell.column]))))


def _picture(cell: Cell, prepared: Prepared, made: dict[Cell, tuple[Markup, Markup]]) -> Picture:
    plain, attention = made.get(cell, (None, None))
    return Picture(cell, prepared.images[cell.row], prepared.classes[cell.column], plain, attention)


def _measured_groups(run: MeasuredRun) -> list[Group]:
    found, p, verdicts = run.evaluation, run.believed, run.verdicts
    if found is None or p is None or verdicts is None:
        return []
    usual = np.nan if run.decision else found.options.threshold
    t = np.array([usual if one is None else one for one in run.thresholds], float)
    labels, far = found.labels, np.abs(p - t)
    right = (verdicts == YES) & (labels == PRESENT)
    wrong = ((verdicts == YES) & (labels == ABSENT)) | ((verdicts == NO) & (labels == PRESENT))
    unsure = (verdicts == UNSURE) & (labels != UNKNOWN)
    doubts = np.where(np.isnan(far), -1.0, -far)  # without a threshold: after all others
    kinds = [
        (SURE_RIGHT, "Sure and right", "It says yes, and the class is there.", right, far),
        (SURE_WRONG, "Sure and wrong", "It says yes or no, and the test label says otherwise.", wrong, far),
        (UNSURE_CELLS, "Unsure", "Known cells that it answers neither yes nor no, nearest to the threshold first.",
         unsure, doubts),
    ]  # fmt: skip
    if run.decision is None:
        kinds = kinds[:2]  # whatever is not yes is no
    return [_group(key, title, told, np.where(of, strength, np.nan), run) for key, title, told, of, strength in kinds]


def _group(key: str, title: str, told: str, strength: np.ndarray, run: MeasuredRun) -> Group:
    assert run.evaluation is not None
    chosen = first_of_each_class(strength)
    rows = run.evaluation.rows
    cells = tuple(Cell(int(rows[n]), c, _told(n, c, run)) for n, c in chosen)
    return Group(key, title, told, cells, int((~np.isnan(strength)).sum()))


def _told(n: int, c: int, run: MeasuredRun) -> str:
    assert run.evaluation is not None
    assert run.believed is not None
    assert run.verdicts is not None
    t = run.thresholds[c] if run.decision else run.evaluation.options.threshold
    label = "present" if run.evaluation.labels[n, c] == PRESENT else "absent"
    bar = "no threshold" if t is None else f"threshold {t:.2f}"
    return f"p {run.believed[n, c]:.2f} ({bar}): {run.verdicts[n, c]}; label: {label}"


def _label_errors(checked: Checked, prepared: Prepared) -> Group:
    shown = tuple(
        Cell(int(row), int(column), f"given: {cell['given']}, right with p {cell['right']:.2f} ({cell['split']})")
        for row, column, cell in zip(checked.rows, checked.columns, cells(checked, prepared, MOST_CELLS), strict=False)
    )
    told = "Given labels of training and validation images that are least probably right, as `mlrpl check` ranks them."
    return Group(LABEL_ERRORS, "Likely label errors", told, shown, len(checked.right))
