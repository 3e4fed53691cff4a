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
    resample_weights,
    resampled_maps,
)
from mlrpl_cli.core.heads.methods import METHODS
from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.io.progress import Progress, track
from mlrpl_cli.core.labels.formats.registry import SCENES
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.scenes.rendering import ALIKE
from mlrpl_cli.core.sweep.plan import Setting
from mlrpl_cli.core.sweep.results import Row, read_scores

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
    leads: dict[str, Interval]
    """How far each reference is ahead in mAP, over the proportions and seeds that both have; nothing for itself."""
    leads_at_fewest: dict[str, Interval]
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
    """The report of a sweep's rows, whose scores lie in its folder `out`."""
    _check_once(rows)
    keeps, seeds = (tuple(sorted({row[name] for row in rows})) for name in ("keep", "seed"))
    methods = tuple(sorted({row["method"] for row in rows}, key=list(METHODS).index))
    references = tuple(name for name in dict.fromkeys((TrainConfig().method, PAPER)) if name in methods) or methods[:1]
    labels = prepared.full_labels[prepared.rows(TEST)]
    alike = pairs_of_columns(ALIKE, prepared.classes) if prepared.dataset == SCENES else []
    resampled = _resample(out, rows, labels, resamples, progress)
    by_cell = {_cell(row): row for row in rows}

    def leads(method: str, over: Sequence[float]) -> dict[str, Interval]:
        found = {name: _lead(by_cell, resampled, name, method, over) for name in references if name != method}
        return {name: lead for name, lead in found.items() if lead is not None}

    def report(method: str) -> MethodReport:
        own = [row for row in rows if row["method"] == method]
        confused = [confusion(read_scores(out, row["key"]), labels, alike) for row in own]
        maps, selected_maps = (
            [[by_cell.get((method, keep, seed), {}).get(name, np.nan) for seed in seeds] for keep in keeps]
            for name in ("map", "selected_map")
        )
        aps = [[row["average_precision"] for row in own if row["keep"] == keep] for keep in keeps]
        return MethodReport(
            method=method,
            setting=(own[0]["lr"], own[0]["epochs"], own[0]["loss"]),
            learned_parameters=own[0]["learned_parameters"],
            maps=np.array(maps, dtype=float),
            selected_maps=np.array(selected_maps, dtype=float),
            average_precision=np.stack([_mean_rows(of_keep, len(prepared.classes)) for of_keep in aps]),
            leads=leads(method, keeps),
            leads_at_fewest=leads(method, [min(keeps)]),
            pointing=_mean(row.get("pointing") for row in own),
            attention_inside=_mean(row.get("attention_inside") for row in own),
            confused_alike=_mean(alike for alike, _ in confused),
            confused_other=_mean(other for _, other in confused),
        )

    found = tuple(report(method) for method in methods)
    return SweepReport(prepared.dataset, prepared.classes, len(labels), keeps, seeds, references, found, resamples)


def _resample(
    out: Path, rows: Sequence[Row], labels: np.ndarray, resamples: int, progress: Progress
) -> dict[str, np.ndarray]:
    """Key of each row → its mAP (R,) in the resamples, which are the same ones for every run."""
    weights = resample_weights(len(labels), resamples)
    found = {}
    for row in track(progress, rows, "resampling test images", len(rows), "runs"):
        found[row["key"]] = resampled_maps(read_scores(out, row["key"]), labels, weights)
    return found


def _lead(
    by_cell: dict[tuple[str, float, int], Row],
    resampled: dict[str, np.ndarray],
    reference: str,
    method: str,
    keeps: Sequence[float],
) -> Interval | None:
    """How far `reference` is ahead of `method` at these proportions; None when they have no run in common."""
    pairs = [
        (row, by_cell[method, row["keep"], row["seed"]])
        for row in by_cell.values()
        if row["method"] == reference and row["keep"] in keeps and (method, row["keep"], row["seed"]) in by_cell
    ]
    if not pairs:
        return None
    first, second = (np.mean([resampled[pair[side]["key"]] for pair in pairs], axis=0) for side in (0, 1))
    return paired_difference(first, second, float(np.mean([one["map"] - other["map"] for one, other in pairs])))


def _check_once(rows: Sequence[Row]) -> None:
    """Raise RunError when a cell has two rows, as when a sweep was run again with other settings."""
    seen: set[tuple[str, float, int]] = set()
    for row in rows:
        if _cell(row) in seen:
            raise RunError(
                f"{row['method']} at {row['keep']:.0%}, seed {row['seed']} has two rows of different settings; "
                "report the runs of one sweep, or start anew in another --out"
            )
        seen.add(_cell(row))


def _cell(row: Row) -> tuple[str, float, int]:
    return row["method"], row["keep"], row["seed"]


def _mean_rows(values: Sequence[Sequence[float | None]], classes: int) -> np.ndarray:
    return np.array(values, dtype=float).mean(axis=0) if len(values) else np.full(classes, np.nan)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
