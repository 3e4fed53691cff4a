"""Figures of a run: over folds, of the scores of all folds joined. A fold by itself has no figure.

Axes: N scored images, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlrpl_cli.core.evaluation.metrics import average_precisions, mean_of_classes, or_none, rare
from mlrpl_cli.core.labels.states import PRESENT
from mlrpl_cli.core.sweep.code import code_of_losses
from mlrpl_cli.core.sweep.data import SweepData
from mlrpl_cli.core.sweep.plan import RUN, Plan, Run
from mlrpl_cli.core.sweep.results import Row, read_scores, write_scores


def figures_of(scores: np.ndarray, labels: np.ndarray, classes: Sequence[str], least_positives: int) -> dict[str, Any]:
    """mAP of scores (N, C) over the classes that are not rare, and AP of each class, as a row has them."""
    aps, apart = average_precisions(scores, labels), rare(labels, least_positives)
    positives = (labels == PRESENT).sum(axis=0)
    told = {
        classes[column]: {"positives": int(positives[column]), "average_precision": or_none(aps[column])}
        for column in np.flatnonzero(apart).tolist()
    }
    return {
        "map": mean_of_classes(aps[~apart]),
        "average_precision": [or_none(ap) for ap in aps.tolist()],
        "least_positives": least_positives,
        "rare": told,
    }


def join(plan: Plan, data: SweepData, run: Run, rows: Sequence[Row]) -> Row:
    """The row of a run of whose folds `rows` are, in the order of its cells; keeps their test scores joined, (N, C).

    Raises RunError where those of a fold are damaged, and DataError where one is NaN.
    """
    labels, out, key = data.prepared.full_labels, plan.options.out, plan.run_key(run)
    scores = np.empty(labels.shape, np.float32)
    for cell, row in zip(run, rows, strict=True):
        scores[data.sides(cell.fold).test] = read_scores(out, row["key"])
    figures = figures_of(scores, labels, data.prepared.classes, plan.options.least)
    write_scores(out, key, scores)
    told = {name: value for name, value in rows[0].items() if name not in ("fold", "code")}
    settings = [{name: row[name] for name in ("fold", "lr", "epochs", "loss")} for row in rows]
    alike = {
        name: rows[0][name] if len({row[name] for row in rows}) == 1 else None for name in ("lr", "epochs", "loss")
    }
    sums = {name: sum(row[name] for row in rows) for name in ("train_seconds", "test_seconds", "test_images")}
    return {
        **told,
        **alike,
        **sums,
        **figures,
        "key": key,
        "kind": RUN,
        "settings": settings,
        "folds": len(rows),
        "code": code_of_losses(run[0].method, [cell.loss for cell in run]),
        "selected_map": None,
    }
