"""The page of a run: what it learned from, how well, where it looks and where it errs."""

from __future__ import annotations

import io
import platform
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from markupsafe import Markup

from mlrpl_cli.core.curation import checking, cross_fitting
from mlrpl_cli.core.curation.checking import Checked
from mlrpl_cli.core.decisions.of_run import notice_of
from mlrpl_cli.core.evaluation.evaluate import Evaluation, check_classes
from mlrpl_cli.core.io.errors import DataError, RunError, agreeing, first_few
from mlrpl_cli.core.io.progress import Progress, Task
from mlrpl_cli.core.labels.states import UNKNOWN
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.prepared.summary import counts_of_splits
from mlrpl_cli.core.reports.figures import draw_curves
from mlrpl_cli.core.reports.html import classes, gallery
from mlrpl_cli.core.reports.html.measuring import MeasuredRun, measured_run
from mlrpl_cli.core.reports.html.options import ReportOptions
from mlrpl_cli.core.reports.html.page import image_uri, render_html
from mlrpl_cli.core.reports.html.results import Page
from mlrpl_cli.core.runs.checkpoint import RunInfo
from mlrpl_cli.core.runs.decided.scores import checkpoint_sha256
from mlrpl_cli.core.runs.folder import load_config, read_log, read_out_of_fold
from mlrpl_cli.core.runs.subject import Subject, subject_of

TEMPLATE = "report-run.html.j2"


class Noted:
    """A Progress that keeps what it is warned of, since it belongs to the page, too."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.warnings: list[str] = []

    def task(self, description: str, total: int, unit: str = "images") -> AbstractContextManager[Task]:
        return self._progress.task(description, total, unit)

    def note(self, message: str) -> None:
        self._progress.note(message)

    def detail(self, message: str) -> None:
        self._progress.detail(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)
        self._progress.warn(message)


def page_of_run(options: ReportOptions, run: Path, progress: Progress) -> tuple[str, Page]:
    """The page's text, and what is in it.

    Raises RunError and DataError for a run or data that are missing or damaged, and as `evaluate` does.
    """
    noted = Noted(progress)
    subject = subject_of(replace(options, run=run))
    info, prepared = subject.info, subject.prepared
    check_classes(info.classes, prepared)
    measured = measured_run(options, run, info, prepared, noted)
    checked = _checked(options, run, prepared, noted)
    groups = gallery.groups_of(measured, checked, prepared)
    pictures, unreadable = gallery.pictures(groups, prepared, options, noted)
    curves = classes.curves_of(measured)
    rows = classes.class_rows(info, measured, checked, {one.number for one in curves})
    values = {
        "name": run.absolute().name,
        "info": info,
        "options": options,
        "notes": _notes(measured, info, prepared, noted),
        "measured": measured,
        "checked": checked,
        "out_of_fold": read_out_of_fold(run),
        "rows": rows,
        "curves": curves,
        "confused": _confused(measured.evaluation),
        "groups": groups,
        "pictures": pictures,
        "choices": _choices(groups, info.classes),
        "training": _training(run),
        "settings": _settings(run),
        "sums": _sums(subject, options),
        **_data(prepared),
        "ways": measured.ways,
        "reliability": measured.decided.reliabilities if measured.decided else {},
    }
    errors = [{"image": str(one.path), "error": one.reason} for one in unreadable]
    drawn = {key: sum(one.plain is not None for one in of) for key, of in pictures.items()}
    images = measured.evaluation.images if measured.evaluation else 0
    page = Page("run", images, len(info.classes), len(curves), drawn, errors, subject.provenance)
    return render_html(TEMPLATE, values), page


def _checked(options: ReportOptions, run: Path, prepared: Prepared, progress: Progress) -> Checked | None:
    """The given labels, ranked, where they were asked for or scores of them are there; None where nothing tells."""
    scored = cross_fitting.cross_fit(prepared, options, run, progress) if options.check else None
    if scored is None and (prepared.observed_labels != UNKNOWN).any():
        scored = cross_fitting.kept(prepared, options, run)
    if scored is None:
        return None
    try:
        return checking.rank(scored)
    except DataError as error:
        progress.warn(str(error))
        return None


def _notes(run: MeasuredRun, info: RunInfo, prepared: Prepared, noted: Noted) -> list[str]:
    """Sentences that the figures have to be read with."""
    notes = list(noted.warnings)
    found = run.evaluation
    if found is None:
        notes.append(f"{prepared.folder.absolute().name} has no test image, so that nothing is measured")
    else:
        for what, names in (
            ("classes have no known positive among the test images", found.without_present),
            ("classes have no known absent cell among the test images", found.without_absent),
        ):
            if names:
                notes.append(f"{agreeing(len(names), what)}, so no figure counts them: {first_few(names, 10)}")
        if len(found.without_absent) == len(found.classes):
            notes.append("no test label says that a class is absent: of positives alone there is no precision")
    if info.not_learnable:
        told = agreeing(len(info.not_learnable), "classes have no known present or no known absent training cell")
        notes.append(f"{told}, and could not be learned: {first_few(info.not_learnable, 10)}")
    if run.decision is None:
        notes.append("nothing is calibrated and no threshold was chosen: a class is predicted where p is above 0.5")
    elif (notice := notice_of(run.decision, info.classes)) is not None:
        notes.append(notice)
    return notes


def _confused(found: Evaluation | None) -> list[classes.Confused]:
    return [] if found is None else classes.confused(found.probabilities, found.labels, found.classes)


def _choices(groups: list[gallery.Group], names: tuple[str, ...]) -> list[tuple[int, str]]:
    """The classes that the gallery can be filtered by."""
    return [(column, names[column]) for column in sorted({cell.column for group in groups for cell in group.cells})]


def _data(prepared: Prepared) -> dict[str, Any]:
    splits, cells = classes.cells_of(prepared)
    told = ("dataset", "unlisted", "proposals", "mask_sha256")
    return {
        "data": {name: getattr(prepared, name) for name in told} | {"name": prepared.folder.absolute().name},
        "data_notes": prepared.notes,
        "splits": counts_of_splits(prepared),
        "split_names": splits,
        "cells": cells,
    }


def _training(run: Path) -> Markup | None:
    """Its curves as an address; None where the run has no log any more."""
    if not (log := read_log(run)):
        return None
    content = io.BytesIO()
    draw_curves(log).save(content, "PNG")
    return image_uri("png", content.getvalue())


def _settings(run: Path) -> Mapping[str, object]:
    """The options of the training; none where nothing but a checkpoint is left of the run."""
    try:
        return asdict(load_config(run))
    except RunError:
        return {}


def _sums(subject: Subject, options: ReportOptions) -> dict[str, object]:
    """Checksums, seeds and versions by what they are of."""
    came_from = subject.provenance
    return {
        f"{options.checkpoint} checkpoint, SHA-256": checkpoint_sha256(subject.run, options.checkpoint),
        "data, SHA-256": came_from.data_sha256,
        "mask, SHA-256": came_from.mask_sha256,
        "backbone, fingerprint": came_from.backbone_sha256,
        **{f"seed of {name}": seed for name, seed in came_from.seeds.items()},
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "NumPy": np.__version__,
    }
