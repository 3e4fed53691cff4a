"""What a sweep found: means over seeds, paired intervals, where attention looks, what is confused.

Axes: M methods, K proportions, S seeds, N test images, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.evaluation.comparison import (
    RESAMPLES,
    Interval,
    confusion,
    paired_difference,
    pairs_of_columns,
)
from mlrpl_cli.core.heads.methods import METHODS
from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.io.progress import Progress, track
from mlrpl_cli.core.labels.formats.registry import SCENES
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.scenes.rendering import ALIKE
from mlrpl_cli.core.sweep.plan import Setting
from mlrpl_cli.core.sweep.resampling import Resampling
from mlrpl_cli.core.sweep.results import Row, read_scores

_Cell = tuple[str, float, int]
"""Method, proportion and seed."""

PAPER = "sarl"
"""The method of the paper."""


@dataclass(frozen=True)
class MethodReport:
    """One method in a sweep."""

    method: str
    setting: Setting
    """What the grid chose."""
    learned_parameters: int
    maps: np.ndarray
    """(K, S) test mAP in [0, 1]; NaN where a run is missing."""
    selected_maps: np.ndarray
    """(K, S) the same at the epoch with the highest validation mAP instead of the last one."""
    average_precision: np.ndarray
    """(K, C) test average precision, averaged over the seeds; NaN for a class without positives."""
    differences: dict[str, Interval]
    """mAP of this method minus that of each reference, over the proportions and seeds that both have: negative where
    this method is the worse one; nothing for itself."""
    differences_at_fewest: dict[str, Interval]
    """The same at the lowest proportion alone."""
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


@dataclass(frozen=True)
class SweepReport:
    """All methods of a sweep over one data set."""

    dataset: str
    classes: tuple[str, ...]
    images: int
    """N."""
    keeps: tuple[float, ...]
    seeds: tuple[int, ...]
    references: tuple[str, ...]
    """The methods that the others are compared with: the default one, and the paper's if that is another."""
    methods: tuple[MethodReport, ...]
    resamples: int


def make_report(
    out: Path, prepared: Prepared, rows: Sequence[Row], progress: Progress, resamples: int = RESAMPLES
) -> SweepReport:
    """The report of a sweep's rows, whose scores lie in its folder `out`.

    What is slow at the size of COCO, resampling, is computed once a run and kept in `out`. Raises RunError when a cell
    has two rows, or a run's scores are damaged.
    """
    _check_once(rows)
    keeps, seeds = (tuple(sorted({row[name] for row in rows})) for name in ("keep", "seed"))
    methods = tuple(sorted({row["method"] for row in rows}, key=list(METHODS).index))
    references = tuple(name for name in dict.fromkeys((TrainConfig().method, PAPER)) if name in methods) or methods[:1]
    labels = prepared.full_labels[prepared.rows(TEST)]
    alike = pairs_of_columns(ALIKE, prepared.classes) if prepared.dataset == SCENES else []
    runs = _measure(out, rows, labels, alike, resamples, progress)
    found = tuple(_method_report(method, runs, keeps, seeds, references) for method in methods)
    return SweepReport(prepared.dataset, prepared.classes, len(labels), keeps, seeds, references, found, resamples)


@dataclass(frozen=True)
class _Run:
    """A row, and what its scores tell beside it."""

    row: Row
    resampled: np.ndarray
    """(R,) mAP in the resamples, which are the same ones for every run."""
    confused: tuple[float | None, float | None]
    """By classes made to look alike, and by the others."""


_Runs = dict[_Cell, _Run]


def _measure(
    out: Path,
    rows: Sequence[Row],
    labels: np.ndarray,
    alike: Sequence[tuple[int, int]],
    resamples: int,
    progress: Progress,
) -> _Runs:
    resampling = Resampling(out, labels, resamples)
    runs = {}
    for row in track(progress, rows, "resampling test images", len(rows), "runs"):
        scores = read_scores(out, row["key"])
        runs[_cell(row)] = _Run(row, resampling.maps(row["key"], scores), confusion(scores, labels, alike))
    return runs


def _method_report(
    method: str, runs: _Runs, keeps: Sequence[float], seeds: Sequence[int], references: Sequence[str]
) -> MethodReport:
    own = {cell: run for cell, run in runs.items() if cell[0] == method}
    rows = [run.row for run in own.values()]
    some = rows[0]
    maps, selected_maps = (
        [
            [own[method, keep, seed].row[name] if (method, keep, seed) in own else np.nan for seed in seeds]
            for keep in keeps
        ]
        for name in ("map", "selected_map")
    )
    aps = [[row["average_precision"] for row in rows if row["keep"] == keep] for keep in keeps]
    others = [name for name in references if name != method]
    return MethodReport(
        method=method,
        setting=(some["lr"], some["epochs"], some["loss"]),
        learned_parameters=some["learned_parameters"],
        maps=np.array(maps, dtype=float),
        selected_maps=np.array(selected_maps, dtype=float),
        average_precision=np.stack([_mean_rows(of_keep, len(some["average_precision"])) for of_keep in aps]),
        differences=_differences(method, others, runs, keeps),
        differences_at_fewest=_differences(method, others, runs, [min(keeps)]),
        pointing=_mean(row.get("pointing") for row in rows),
        attention_inside=_mean(row.get("attention_inside") for row in rows),
        confused_alike=_mean(run.confused[0] for run in own.values()),
        confused_other=_mean(run.confused[1] for run in own.values()),
    )


def _differences(method: str, others: Sequence[str], runs: _Runs, keeps: Sequence[float]) -> dict[str, Interval]:
    """mAP of `method` minus that of each other at these proportions, over the runs that both have, if there are any."""
    found = {}
    for other in others:
        pairs = [
            (run, runs[other, keep, seed])
            for (name, keep, seed), run in runs.items()
            if name == method and keep in keeps and (other, keep, seed) in runs
        ]
        if pairs:
            ours, theirs = (np.mean([pair[side].resampled for pair in pairs], axis=0) for side in (0, 1))
            value = float(np.mean([run.row["map"] - rival.row["map"] for run, rival in pairs]))
            found[other] = paired_difference(ours, theirs, value)
    return found


def _check_once(rows: Sequence[Row]) -> None:
    """Raise RunError when a cell has two rows, as when a sweep was run again with other settings."""
    seen: set[_Cell] = set()
    for row in rows:
        if _cell(row) in seen:
            raise RunError(
                f"{row['method']} at {row['keep']:.0%}, seed {row['seed']} has two rows of different settings; "
                "report the runs of one sweep, or start anew in another --out"
            )
        seen.add(_cell(row))


def mean_maps(rows: Sequence[Row]) -> dict[tuple[str, float], float]:
    """(method, proportion) → test mAP in [0, 1], averaged over the seeds that ran."""
    maps: dict[tuple[str, float], list[float]] = {}
    for row in rows:
        maps.setdefault((row["method"], row["keep"]), []).append(row["map"])
    return {cell: sum(values) / len(values) for cell, values in maps.items()}


def _cell(row: Row) -> _Cell:
    return row["method"], row["keep"], row["seed"]


def _mean_rows(values: Sequence[Sequence[float | None]], classes: int) -> np.ndarray:
    return np.array(values, dtype=float).mean(axis=0) if len(values) else np.full(classes, np.nan)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
