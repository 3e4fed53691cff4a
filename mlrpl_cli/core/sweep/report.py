"""What a sweep found: means over seeds, paired intervals, where attention looks, what is confused.

Axes: K proportions, S seeds, N test images, C classes, R resamples.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.evaluation import comparison
from mlrpl_cli.core.evaluation.comparison import Interval
from mlrpl_cli.core.evaluation.metrics import mean_of_classes, or_none, rare
from mlrpl_cli.core.heads.registry import METHODS
from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.io.progress import Progress, track
from mlrpl_cli.core.io.tensorfiles import SUFFIX, open_tensors, write_tensors
from mlrpl_cli.core.labels.formats.registry import SCENES
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.labels.states import PRESENT
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.scenes.rendering import ALIKE
from mlrpl_cli.core.sweep.data import Fold
from mlrpl_cli.core.sweep.grid import Grid, Setting, grid_of
from mlrpl_cli.core.sweep.results import RESAMPLED, RESULTS, Row, name_of, read_scores, settings_of

PAPER = "sarl"
"""The method of the paper."""
_RULE = "present and absent"
"""What a class must have to count in a resample: stored figures of another rule are made again."""


@dataclass(frozen=True)
class MethodReport:
    """One variant in a sweep."""

    method: str
    """The name of its row: the method's own, unless it has options or was given another one."""
    settings: dict[Fold, Setting]
    """What the grid chose: for each fold, or for None where there are none, or all have the same."""
    learned_parameters: int
    maps: np.ndarray
    """(K, S) test mAP in [0, 1]; NaN where a run is missing."""
    selected_maps: np.ndarray
    """(K, S) the same at the epoch with the highest validation mAP instead of the last one; NaN over folds."""
    average_precision: np.ndarray
    """(K, C) test average precision, averaged over the seeds; NaN for a class without one."""
    differences: dict[str, Interval]
    """mAP of this method minus that of each reference, over the proportions and seeds that both have: negative where
    this method is the worse one; nothing for itself."""
    differences_at: tuple[dict[str, Interval], ...]
    """The same at each of the K proportions alone."""
    pointing: float | None
    """Share of present classes whose attention peaks in the object; None for data without masks."""
    attention_inside: float | None
    """Share of the attention of present classes that lies in the object."""
    confused_alike: float | None
    """How often an absent class outscores a present one that it was made to look like."""
    confused_other: float | None
    """The same for the other classes."""

    @property
    def average(self) -> np.ndarray:
        """(S,) mAP averaged over the proportions."""
        return np.asarray(self.maps.mean(axis=0))

    def average_precision_of(self, column: int) -> float | None:
        """Of a class, averaged over the proportions that have one; None without any."""
        return or_none(mean_of_classes(self.average_precision[:, column]))


@dataclass(frozen=True)
class SweepReport:
    """All variants of a sweep over one data set."""

    dataset: str
    classes: tuple[str, ...]
    rare: dict[int, int]
    """Columns of the classes with fewer positives than `least_positives`, and how many: no figure counts them but their
    own average precision."""
    images: int
    """N."""
    keeps: tuple[float, ...]
    seeds: tuple[int, ...]
    references: tuple[str, ...]
    """What the others are compared with: the default method, and the paper's if that is another, without options."""
    methods: tuple[MethodReport, ...]
    resamples: int
    least_positives: int = 1
    folds: int | None = None
    """How many there are; None for a test split."""
    grid: Grid | None = None
    """What chose the settings of every run; None where that was no grid, or not the same one."""
    level: float = comparison.LEVEL
    """Of the intervals."""

    @property
    def counted(self) -> list[int]:
        """Columns of the classes that are not rare."""
        return [column for column in range(len(self.classes)) if column not in self.rare]


class _Run(NamedTuple):
    """A row, and what its scores tell beside it."""

    row: Row
    resampled: np.ndarray
    """(R,) mAP in the resamples, which are the same ones for every run."""
    alike: float | None
    other: float | None


def make_report(
    out: Path, prepared: Prepared, rows: Sequence[Row], progress: Progress, resamples: int = comparison.RESAMPLES
) -> SweepReport:
    """The report of a sweep's rows, whose scores of the test images of `prepared` lie in its folder `out`.

    What is slow at the size of COCO, resampling, is computed once a run and kept in `out`. Raises RunError when there
    is no row or a cell has two, and when a run's scores are damaged.
    """
    _check(rows, out / RESULTS)
    keeps, seeds = (tuple(sorted({row[name] for row in rows})) for name in ("keep", "seed"))
    methods = in_order(rows)
    references = tuple(name for name in dict.fromkeys((TrainConfig().method, PAPER)) if name in methods) or methods[:1]
    labels, least = prepared.full_labels[prepared.rows(TEST)], rows[0].get("least_positives", 1)
    apart, positives = rare(labels, least), (labels == PRESENT).sum(axis=0)
    labels, classes = labels[:, ~apart], [name for name, left in zip(prepared.classes, apart, strict=True) if not left]
    alike = comparison.pairs_of_columns(ALIKE, classes) if prepared.dataset == SCENES else []
    weights = cache(partial(comparison.resample_weights, len(labels), resamples))
    runs = {}
    for row in track(progress, rows, "resampling test images", len(rows), "runs"):
        scores = read_scores(out, row["key"])[:, ~apart]
        resampled = _resampled_maps(out / RESAMPLED / f"{row['key']}{SUFFIX}", scores, labels, resamples, weights)
        runs[_cell(row)] = _Run(row, resampled, *comparison.confusion(scores, labels, alike))
    tables = {name: [[runs.get((name, keep, seed)) for seed in seeds] for keep in keeps] for name in methods}
    found = tuple(_method_report(name, tables, references) for name in methods)
    return SweepReport(
        dataset=prepared.dataset,
        classes=prepared.classes,
        rare={column: int(positives[column]) for column in np.flatnonzero(apart).tolist()},
        images=len(labels),
        keeps=keeps,
        seeds=seeds,
        references=references,
        methods=found,
        resamples=resamples,
        least_positives=least,
        folds=rows[0].get("folds"),
        grid=grid_of(rows[0]) if len(set(map(grid_of, rows))) == 1 else None,
    )


_Table = list[list[_Run | None]]
"""The runs of a method (K, S); None where one is missing."""


def _method_report(method: str, tables: dict[str, _Table], references: Sequence[str]) -> MethodReport:
    table = tables[method]
    runs = [run for of_keep in table for run in of_keep if run]
    some = runs[0].row
    maps, selected_maps = (
        np.array([[run.row[name] if run else np.nan for run in of_keep] for of_keep in table], dtype=float)
        for name in ("map", "selected_map")
    )
    aps = [[run.row["average_precision"] for run in of_keep if run] for of_keep in table]
    unknown = np.full(len(some["average_precision"]), np.nan)
    others = {name: tables[name] for name in references if name != method}
    return MethodReport(
        method=method,
        settings=_settings(some),
        learned_parameters=some["learned_parameters"],
        maps=maps,
        selected_maps=selected_maps,
        average_precision=np.stack([np.array(found, float).mean(axis=0) if found else unknown for found in aps]),
        differences=_differences(table, others),
        differences_at=tuple(
            _differences([of_keep], {name: [other[row]] for name, other in others.items()})
            for row, of_keep in enumerate(table)
        ),
        pointing=_mean(run.row.get("pointing") for run in runs),
        attention_inside=_mean(run.row.get("attention_inside") for run in runs),
        confused_alike=_mean(run.alike for run in runs),
        confused_other=_mean(run.other for run in runs),
    )


def _settings(row: Row) -> dict[Fold, Setting]:
    """What a row's folds were trained with; under None where it is the same."""
    found = settings_of(row)
    return {None: next(iter(found.values()))} if len(set(found.values())) == 1 else found


def _differences(table: _Table, others: dict[str, _Table]) -> dict[str, Interval]:
    """mAP of a method minus that of each other, over the runs that both have, if there are any."""
    found = {}
    for name, other in others.items():
        rows = zip(table, other, strict=False)
        pairs = [(run, rival) for row in rows for run, rival in zip(*row, strict=True) if run and rival]
        if pairs:
            ours, theirs = (np.mean([run.resampled for run in side], axis=0) for side in zip(*pairs, strict=True))
            value = float(np.mean([run.row["map"] - rival.row["map"] for run, rival in pairs]))
            found[name] = comparison.paired_difference(ours, theirs, value)
    return found


def _resampled_maps(
    path: Path, scores: np.ndarray, labels: np.ndarray, resamples: int, weights: Callable[[], np.ndarray]
) -> np.ndarray:
    """(R,) mAP of test scores (N, C) in each resample of the test images, whose `weights` are the same for every run.

    Taken from `path` when that is whole and made of these scores, labels and resamples; else computed and stored.
    """
    digest = hashlib.sha256(f"{_RULE} {resamples} 0 {scores.shape}".encode())
    for values in (scores, labels):
        digest.update(np.ascontiguousarray(values).data)
    made_of = {"made_of": digest.hexdigest()}
    with suppress(ValueError, KeyError):  # missing, damaged or of another kind: made again
        stored = open_tensors(path).checked()
        if stored.metadata == made_of:
            return stored.tensors["maps"].numpy()
    maps = comparison.resampled_maps(scores, labels, weights())
    write_tensors(path, {"maps": torch.from_numpy(maps)}, made_of)
    return maps


def _check(rows: Sequence[Row], path: Path) -> None:
    """Raise RunError for rows that no report can be made of; they come from the file at `path`."""
    if not rows:
        raise RunError(f"{path} has no tested run; run `mlrpl sweep` first")
    ((method, keep, seed), count), *_ = Counter(map(_cell, rows)).most_common(1)
    if count > 1:
        raise RunError(
            f"{method} at {keep:.0%}, seed {seed} has two rows of different settings; "
            "report the runs of one sweep, or start anew in another --out"
        )


def mean_maps(rows: Sequence[Row]) -> dict[tuple[str, float], float]:
    """(variant, proportion) → test mAP in [0, 1], averaged over the seeds that ran."""
    maps: dict[tuple[str, float], list[float]] = defaultdict(list)
    for row in rows:
        maps[name_of(row), row["keep"]].append(row["map"])
    return {cell: sum(values) / len(values) for cell, values in maps.items()}


def in_order(rows: Sequence[Row]) -> tuple[str, ...]:
    """The names of the variants: by method, as the registry has them, and then as they come."""
    methods = {name_of(row): row["method"] for row in rows}
    places = {name: place for place, name in enumerate(METHODS)}
    return tuple(sorted(methods, key=lambda name: places.get(methods[name], len(places))))


def _cell(row: Row) -> tuple[str, float, int]:
    """Variant, proportion and seed."""
    return name_of(row), row["keep"], row["seed"]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
