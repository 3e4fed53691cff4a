"""Run folders: where what a run writes lies, its configuration and its log.

A run folder holds config.yaml, last.safetensors (with the optimizer's state), best.safetensors, metrics.jsonl, the
TensorBoard events, and where there are held-out images their scores and the decisions that were chosen by these.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from mlrpl_cli.core.config import LAST, TrainConfig, make_config
from mlrpl_cli.core.io import files, reading, schema, tensorfiles
from mlrpl_cli.core.io.errors import ConfigError, RunError, one_line

CONFIG_FILE, LOG_FILE, EVENTS = "config.yaml", "metrics.jsonl", "tensorboard"
ASKED = "asked.json"
"""Views and number format that were asked for, until a checkpoint says them: config.yaml has what was taken."""
FOLDS, OUT_OF_FOLD = "folds", "out_of_fold.json"
"""Of a cross-validated run: the folder with a file of probabilities of each fold, and the figures of all together."""
HELD_OUT, DECISIONS = f"held_out{tensorfiles.SUFFIX}", "decisions.json"
"""Scores of held-out images with their known cells, and the calibration and thresholds that were chosen by them."""
RUNS = Path("runs")

Epoch = Annotated[int, Field(ge=0)]


class LoggedEpoch(BaseModel, strict=True):
    """What every row of metrics.jsonl has; there is more."""

    epoch: Epoch
    loss: float
    map: float | None
    """mAP on `split`, in [0, 1]; None when no class has an AP there."""
    split: str


class OutOfFoldFile(BaseModel, strict=True):
    """What the figures of all folds together have; there is more."""

    folds: Annotated[int, Field(ge=2)]
    map: Annotated[float, Field(ge=0, le=1)] | None
    """Mean average precision; None when no class has an AP."""


def checkpoint_path(run: Path, which: str) -> Path:
    """Where a run folder keeps its "best" or "last" checkpoint."""
    return run / f"{which}{tensorfiles.SUFFIX}"


def load_config(run: Path) -> TrainConfig:
    """The configuration a run was started with. Raises RunError for a folder without, and for that of another mlrpl."""
    path = existing(run / CONFIG_FILE)
    try:
        return make_config(path, {"run": run})
    except ConfigError as error:
        raise RunError(f"{path} is not what this mlrpl writes: {error}; train again") from error


def read_out_of_fold(run: Path) -> OutOfFoldFile | None:
    """The figures of a cross-validated run; None for another one. Raises RunError for a file that is damaged."""
    path = run / OUT_OF_FOLD
    if not path.is_file():
        return None
    try:
        return schema.validated(OutOfFoldFile, json.loads(reading.read_text(path, reading.MIB * 64)))
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"{path} is damaged: {one_line(error)}; remove it, and train again to have it written"
        ) from error


def newest_run(parent: Path = RUNS) -> Path:
    """The run below `parent` whose last checkpoint is newest. Raises RunError when there is none."""
    found = sorted(parent.glob(f"*/{LAST}{tensorfiles.SUFFIX}"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise RunError(f"no run below {parent}; run `mlrpl train`, or name one with --run")
    return found[-1].parent


def read_log(run: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, one an epoch; an unfinished last line of a killed process is left out."""
    path = run / LOG_FILE
    try:
        return schema.read_rows(path, lambda row: LoggedEpoch)
    except ValueError as error:
        advice = "move it away, and --resume goes on without the epochs before"
        raise RunError(f"{path} is damaged: {error}; {advice}") from error


def write_log(run: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace metrics.jsonl by `rows`, atomically."""
    files.write_text(run / LOG_FILE, "".join(json.dumps(row) + "\n" for row in rows))


def existing(path: Path) -> Path:
    """A file of a run folder. Raises RunError where there is none."""
    if path.parent.is_file():
        told = f"{path.parent} is a file, and this takes the run folder: what `mlrpl pack` writes has no data"
        raise RunError(f"{told} to train or measure with; name the folder with --run, or give the file to predict")
    if not path.is_file():
        raise RunError(f"{path.parent} has no {path.name}: expected a run folder that `mlrpl train` wrote; check --run")
    return path
