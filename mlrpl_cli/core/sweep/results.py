"""A sweep's results: an append-only file of rows, and the test probabilities of every run."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import ConfigDict, Field, StrictFloat, StrictInt, StrictStr, WithJsonSchema
from pydantic.dataclasses import dataclass

from mlrpl_cli.core.io.errors import DataError, RunError, first_few, one_line
from mlrpl_cli.core.io.files import write_text
from mlrpl_cli.core.io.schema import read_rows
from mlrpl_cli.core.io.tensorfiles import SUFFIX, open_tensors, write_tensors
from mlrpl_cli.core.sweep.data import Fold
from mlrpl_cli.core.sweep.grid import Grid, Setting, grid_of
from mlrpl_cli.core.sweep.plan import RUN, TUNING, Plan, tuning_cells
from mlrpl_cli.core.sweep.variants import NAMES

RESULTS, SCORES, RESAMPLED = "results.jsonl", "scores", "resampled"
"""Below a sweep's folder; of each run, a file of its test probabilities and one of its mAP in every resample."""
PROBABILITIES = "probabilities"

Row = dict[str, Any]


@dataclass(frozen=True, config=ConfigDict(extra="ignore", strict=True))
class AnyRow:
    """What every row has; there is more."""

    key: str
    kind: Literal["tuning", "run", "fold"]
    method: str
    keep: float
    seed: int
    validation_map: float | None
    """mAP of the last epoch on validation labels, in [0, 1]; None when no class has an AP there."""
    learned_parameters: int
    variant: Annotated[str, Field(pattern=NAMES)] | None = field(default=None, kw_only=True)
    """The name of its row; None in a file of an older mlrpl, which compared methods alone."""
    setting: str | None = field(default=None, kw_only=True)
    """`Plan.setting_key` of its cell."""
    code: str | None = field(default=None, kw_only=True)
    """`code_sha256` of what computed it."""
    data_sha256: str | None = field(default=None, kw_only=True)
    """`plan.data_sha256` of what it was computed on."""
    fold: int | None = field(default=None, kw_only=True)
    """The fold that is held out; None without folds, and in the row of all folds."""


@dataclass(frozen=True, config=ConfigDict(extra="ignore", strict=True))
class TrainedRow(AnyRow):
    """What the row of a tuning run, or of a fold, has."""

    lr: float
    epochs: int
    loss: str


@dataclass(frozen=True, config=ConfigDict(extra="ignore"))  # a strict one would take no JSON object for itself
class FoldSetting:
    """What a fold was trained with."""

    fold: StrictInt
    lr: StrictFloat | StrictInt
    epochs: StrictInt
    loss: StrictStr


@dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class GridOfRow:
    """`Grid.row` of what chose a run's setting."""

    lr: list[StrictFloat]
    epochs: list[StrictInt]
    loss: list[StrictStr]
    keep: list[StrictFloat]


_GRID = {"type": "lists lr, epochs and keep of numbers and a list loss of names"}


@dataclass(frozen=True, config=ConfigDict(extra="ignore", strict=True))
class RunRow(AnyRow):
    """What the row of a tested run has beside that; there is more. A run over folds is measured on joined scores."""

    lr: float | None
    """None, as epochs and loss, where folds differ."""
    epochs: int | None
    loss: str | None
    map: float
    """Test mAP of the last epoch, in [0, 1], of the classes that are not rare."""
    selected_map: float | None
    """Test mAP of the epoch with the highest validation mAP; None over folds, where nothing validates."""
    average_precision: Annotated[list[float | None], Field(fail_fast=True)]
    """AP of each class; None for one without a test image that shows it, or without one that does not."""
    settings: list[FoldSetting] | None = field(default=None, kw_only=True)
    """Of each fold; None without folds."""
    least_positives: Annotated[int, Field(ge=1)] = field(default=1, kw_only=True)
    """Classes with fewer present labels are rare: `rare` has them, and no other figure."""
    tuned: bool | None = field(default=None, kw_only=True)
    """Whether the grid chose its setting; the row of a later call that tuned takes the place of one that did not."""
    grid: Annotated[GridOfRow, WithJsonSchema(_GRID)] | None = field(default=None, kw_only=True)
    """The grid that did; None in a row that was not tuned, and in one of an older mlrpl, which had the default one."""


class Results:
    """The append-only results file: one JSON object a line; a line that a killed process left unfinished is dropped.

    So is the row of a run whose scores are not whole, since nothing could be compared with it: it runs again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        rows = read_results(path)
        self.rows = [row for row in rows if row["kind"] == TUNING or _has_scores(path.parent, row["key"])]
        self.without_scores = [row["key"] for row in rows if row not in self.rows]
        """Keys of the rows that were dropped."""
        if self.without_scores or (path.is_file() and not path.read_bytes().endswith(b"\n")):
            write_text(path, "".join(json.dumps(row) + "\n" for row in self.rows))

    @property
    def by_key(self) -> dict[str, Row]:
        """The rows by their keys."""
        return {row["key"]: row for row in self.rows}

    def append(self, row: Row) -> None:
        """Add a row and see it to the disk."""
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror}; free some space and sweep again") from error
        self.rows.append(row)

    def mark_tuned(self, rows: Sequence[Row], grid: Grid) -> None:
        """Note of stored runs that this grid chose their setting, which an earlier call had asked for otherwise."""
        stored = self.by_key
        for row in [stored[row["key"]] for row in rows if grid_of(stored[row["key"]]) != grid]:
            self.rows.remove(row)
            self.append({**row, "tuned": True, "grid": grid.row()})


def read_results(path: Path) -> list[Row]:
    """The whole rows of a results file, of each key the last; none for a file that is not there.

    Raises RunError when a line is damaged.
    """
    try:
        rows = read_rows(path, lambda row: RunRow if row.get("kind") == RUN else TrainedRow)
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}; move it away to start anew, or remove that line") from error
    latest: dict[str, Row] = {}
    for row in rows:
        latest.pop(row["key"], None)  # the later one stands where it was written
        latest[row["key"]] = row
    return list(latest.values())


def settings_of(row: Row) -> dict[Fold, Setting]:
    """Learning rate, epochs and loss of each fold of a row's run; of None for a run without folds."""
    each = row.get("settings") or [row]
    return {setting.get("fold"): (setting["lr"], setting["epochs"], setting["loss"]) for setting in each}


def name_of(row: Row) -> str:
    """The name of its variant."""
    return row.get("variant") or row["method"]


def read_scores(out: Path, key: str) -> np.ndarray:
    """Test probabilities (N, C) float32 of the run whose row has this key. Raises RunError when they are not whole."""
    path = out / SCORES / f"{key}{SUFFIX}"
    try:
        return open_tensors(path).checked().tensors[PROBABILITIES].numpy()
    except (ValueError, KeyError) as error:
        raise RunError(f"{path} is damaged: {one_line(error)}; sweep again to repeat its run") from error


def write_scores(out: Path, key: str, probabilities: np.ndarray) -> None:
    """Keep the test probabilities (N, C) float32 of a run."""
    write_tensors(out / SCORES / f"{key}{SUFFIX}", {PROBABILITIES: torch.from_numpy(probabilities)})


def _has_scores(out: Path, key: str) -> bool:
    with suppress(RunError):
        read_scores(out, key)
        return True
    return False


def chosen_settings(plan: Plan, rows: Sequence[Row]) -> dict[tuple[str, Fold], Setting]:
    """The setting of each variant and fold: the highest mean validation mAP of its tuning rows, the first of equals.

    A setting that failed at one proportion is not compared with those that ran at all of them. A variant without a
    whole setting has none.
    """
    if not plan.options.tune:
        given = plan.config.lr, plan.config.epochs, str(plan.config.loss)
        return {(each.name, fold): given for each in plan.options.variants for fold in plan.folds}
    found = {row["key"]: row["validation_map"] or 0.0 for row in rows}
    maps: dict[tuple[tuple[str, Fold], Setting], list[float]] = defaultdict(list)
    for cell in tuning_cells(plan.options, plan.folds):
        if (key := plan.key(cell)) in found:
            maps[(cell.variant.name, cell.fold), cell.setting].append(found[key])
    whole = [choice for choice, tried in maps.items() if len(tried) == len(plan.options.grid.keeps)]
    descending = sorted(whole, key=lambda choice: np.mean(maps[choice]), reverse=True)
    return dict(reversed(descending))  # of each method and fold the first one stays


def untold_settings(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """A sentence on the variants whose validation labels measure no class, so that nothing chooses their settings."""
    maps: dict[str, list[float | None]] = defaultdict(list)
    found = {row["key"]: row["validation_map"] for row in rows}
    for cell in tuning_cells(plan.options, plan.folds):
        if (key := plan.key(cell)) in found:
            where = "" if cell.fold is None else f" for fold {cell.fold}"
            maps[f"{cell.variant.name}{where}"].append(found[key])
    names = [name for name, of_name in maps.items() if not any(each is not None for each in of_name)]
    untold = "no class has a known present and a known absent validation cell, so the grid's first setting is taken"
    return [f"{first_few(names)}: {untold}; raise --tune-keep, or add --no-tune"] if names else []
