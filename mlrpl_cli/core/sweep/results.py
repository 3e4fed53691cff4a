"""A sweep's results: an append-only file of rows, and the test probabilities of every run."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from mlrpl_cli.core.errors import RunError
from mlrpl_cli.core.files import atomic_file
from mlrpl_cli.core.sweep.plan import TUNING_KEEPS, Plan, Setting, tuning_cells

RESULTS, SCORES = "results.jsonl", "scores"

Row = dict[str, Any]


class Results:
    """The append-only results file: one JSON object a line; a line that a killed process left unfinished is dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = read_results(path)
        if path.is_file():
            whole = path.read_bytes()
            with path.open("r+b") as stream:
                stream.truncate(whole.rfind(b"\n") + 1)

    @property
    def keys(self) -> set[str]:
        return {row["key"] for row in self.rows}

    def append(self, row: Row) -> None:
        """Add a row and see it to the disk."""
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        self.rows.append(row)


def read_results(path: Path) -> list[Row]:
    """The whole rows of a results file; none for a file that is not there. Raises RunError when a line is damaged."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise RunError(f"{path} is damaged: expected a JSON object a line; move it away to start anew") from error


def read_scores(out: Path, key: str) -> np.ndarray:
    """Test probabilities (N, C) float32 of the run whose row has this key."""
    return load_file(out / SCORES / f"{key}.safetensors")["probabilities"]


def write_scores(out: Path, key: str, probabilities: np.ndarray) -> None:
    """Keep the test probabilities (N, C) float32 of a run."""
    with atomic_file(out / SCORES / f"{key}.safetensors") as temporary:
        save_file({"probabilities": probabilities}, temporary)


def chosen_settings(plan: Plan, rows: Sequence[Row]) -> dict[str, Setting]:
    """Each method's setting: the one with the highest mean validation mAP of its tuning rows, the first of equals.

    A setting that failed at one proportion is not compared with those that ran at all of them. A method without a
    whole setting has none.
    """
    if not plan.options.tune:
        return dict.fromkeys(plan.options.methods, (plan.config.lr, plan.config.epochs, plan.config.loss))
    found = {row["key"]: row for row in rows}
    maps: dict[str, dict[Setting, list[float]]] = {}
    for cell in tuning_cells(plan.options):
        if row := found.get(plan.key(cell)):
            of_method = maps.setdefault(cell.method, {})
            of_method.setdefault(cell.setting, []).append(row["validation_map"] or 0.0)
    whole = {
        method: {setting: found for setting, found in tried.items() if len(found) == len(TUNING_KEEPS)}
        for method, tried in maps.items()
    }
    return {
        method: max(tried, key=lambda setting: float(np.mean(tried[setting])))
        for method, tried in whole.items()
        if tried
    }
