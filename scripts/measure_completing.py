"""Measure whether completed labels keep their promise where the truth is known and hidden.

    python -m scripts.measure_completing REPETITIONS ROOT [FOLDER]

The first 800 scenes of seed 0, with tiny, and photographs with lite: ROOT holds VOCdevkit/VOC2007 and folds.csv (id,
fold). What describes them is kept in FOLDER. Every repetition draws a mask and parts, fits `anchored` without each
part, calibrates and fills with a confidence of 95%, as `mlrpl complete` does. So that a repetition takes a second, the
classifier has the AXES principal axes of the content alone, λ is not chosen but LAMBDA, the minimum is found roughly,
and the calibration is not chosen but PLATT; what is promised supposes nothing of them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.curation import calibrating
from mlrpl_cli.core.curation.completing.filling import Filling, fill
from mlrpl_cli.core.curation.completing.options import ALONE
from mlrpl_cli.core.curation.cross_fitting import CrossFitted, fit_parts, parts_of
from mlrpl_cli.core.decisions import calibration
from mlrpl_cli.core.heads.fitted import anchored, map_estimate
from mlrpl_cli.core.io.files import atomic_file
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.formats.published.voc import CLASSES
from mlrpl_cli.core.labels.masks import known_mask
from mlrpl_cli.core.labels.records import TRAIN, PrepareOptions
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from mlrpl_cli.core.prepared.build import prepare
from scripts.measure_anchored import described_by
from scripts.measure_lite import read

SCENES, AXES, CONFIDENCE, FLIPPED, FEW, SLACK = 800, 100, 0.95, 0.05, 20, 1e-9
LAMBDA, PLATT = 0.1, calibration.Candidate(calibration.PLATT, 16.0)
Hide = Callable[[np.ndarray, int], np.ndarray]
"""True labels (N, C) and a seed → what is known of them, perhaps wrongly."""
Made = tuple[Tensor, dict[str, Tensor], np.ndarray]
"""Zero-shot scores, contents and true labels."""


class Ground(NamedTuple):
    name: str
    described: list[Tensor]
    """What `AnchoredClassifier.describe` says of N images."""
    labels: np.ndarray
    """(N, C) int8, the truth."""


class Setting(NamedTuple):
    """A line of the table."""

    name: str
    hide: Hide
    promised: float = 0.95


class Outcome(NamedTuple):
    """Of the cells that a repetition filled on one side."""

    filled: float
    """Share of the unknown cells."""
    right: float
    """Share of the filled cells; NaN without any."""
    kept: list[bool]
    """Of each promise, whether the cells filled by it keep it."""


def main(repetitions: int, root: Path, folder: Path) -> None:
    columns = (
        "images",
        "known",
        "promised",
        "filled present",
        "absent",
        "right of them",
        "",
        "promises",
        "kept",
        "in all",
    )
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for ground in (scenes(folder), photographs(root, folder)):
        for setting in SETTINGS:
            found = [outcomes(ground, setting, seed) for seed in range(repetitions)]
            told = f"{ground.name} | {setting.name} | {setting.promised:.0%}"
            print(f"| {told} | {line(found, setting.promised)} |", flush=True)


def scenes(folder: Path) -> Ground:
    def made() -> Made:
        prepared = prepare(PrepareOptions("scenes", 1.0, 0, folder / "data", 0.0))
        rows = prepared.rows(TRAIN)[:SCENES]
        return *described_by("tiny", prepared.paths(rows), prepared.classes), prepared.full_labels[rows]

    return kept("scenes", folder, made)


def photographs(root: Path, folder: Path) -> Ground:
    def made() -> Made:
        found = read(root)
        return *described_by("lite", found.paths, CLASSES), found.labels

    return kept("photographs", folder, made)


def kept(name: str, folder: Path, made: Callable[[], Made]) -> Ground:
    """What FOLDER holds of images, or what is made for it."""
    path = folder / f"{name}.npz"
    if not path.exists():
        scores, contents, labels = made()
        with atomic_file(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, scores=scores, content=contents["strongest"], labels=labels.astype(np.int8))
    with np.load(path) as found:
        content = torch.from_numpy(found["content"])
        axes = torch.linalg.svd(content - content.mean(dim=0), full_matrices=False).Vh[:AXES]
        return Ground(name, [torch.from_numpy(found["scores"]), content @ axes.T], found["labels"])


def known_at(keep: float, labels: np.ndarray, seed: int) -> np.ndarray:
    images, classes = labels.shape
    return np.where(known_mask(images, classes, keep, seed), labels, UNKNOWN).astype(np.int8)


def flipped(keep: float, labels: np.ndarray, seed: int) -> np.ndarray:
    """A share FLIPPED of the known cells says the contrary."""
    wrong = np.random.default_rng([seed, 1]).random(labels.shape) < FLIPPED
    return known_at(keep, np.where(wrong, -labels, labels), seed)


def few(labels: np.ndarray, seed: int) -> np.ndarray:
    """FEW cells of each class."""
    places = np.random.default_rng([seed, 2]).random(labels.shape).argsort(axis=0).argsort(axis=0)
    return np.where(places < FEW, labels, UNKNOWN).astype(np.int8)


WRONG = f"30%, {FLIPPED:.0%} of them wrong"
SETTINGS = (
    *(Setting(f"{keep:.0%}", partial(known_at, keep)) for keep in (0.1, 0.3, 0.5)),
    *(Setting(WRONG, partial(flipped, 0.3), promised) for promised in (0.95, 0.9)),
    *(Setting(f"{FEW} cells a class", few, promised) for promised in (0.95, 0.9)),
)


def outcomes(ground: Ground, setting: Setting, seed: int) -> dict[int, Outcome]:
    """Of cells filled as PRESENT and as ABSENT."""
    labels = setting.hide(ground.labels, seed)
    parts = parts_of(np.arange(len(labels)), labels.shape[1], seed)
    texts = torch.zeros(labels.shape[1], 1)
    with ExitStack() as fixed:
        fixed.enter_context(patch.object(anchored, "chosen_precision", lambda *_: LAMBDA))
        fixed.enter_context(patch.object(map_estimate, "EXACTLY", map_estimate.ROUGHLY))
        logits = fit_parts(ground.described, texts, labels, parts, TrainConfig(loss="bce"), Silent())
        fixed.enter_context(patch.object(calibrating, "choose", as_platt))
        found = CrossFitted((), np.arange(len(labels)), labels, parts, logits)
        calibrated = calibrating.calibrated_logits(found)
    filling = fill(calibrated, labels, dict.fromkeys((PRESENT, ABSENT), setting.promised), CONFIDENCE)
    return {state: outcome(ground.labels, labels, filling, state, setting.promised) for state in (PRESENT, ABSENT)}


def as_platt(logits: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> calibration.Chosen:
    """PLATT, unchosen."""
    fitted = calibration.fit(logits, labels, PLATT)
    return calibration.Chosen(fitted, fitted.apply(logits), {})


def outcome(truth: np.ndarray, labels: np.ndarray, filling: Filling, state: int, promised: float) -> Outcome:
    chosen, right = filling.states == state, filling.states == truth
    groups = dict[str, np.ndarray]()
    for column, verdict in enumerate(filling.verdicts[state]):
        if verdict.group is not None:
            name = f"{column}" if verdict.group == ALONE else verdict.group
            own = chosen & (np.arange(labels.shape[1]) == column)
            groups[name] = own | groups.get(name, np.zeros_like(own))
    kept = [bool(right[group].mean() >= promised - SLACK) for group in groups.values()]
    share = float(right[chosen].mean()) if chosen.any() else np.nan
    return Outcome(float(chosen.sum() / (labels == UNKNOWN).sum()), share, kept)


def line(found: list[dict[int, Outcome]], promised: float) -> str:
    """Means over repetitions in percent; the last two are of promises, and of repetitions that keep it in all."""
    sides = [[each[state] for each in found] for state in (PRESENT, ABSENT)]
    filled = [f"{100 * np.mean([each.filled for each in side]):.1f}" for side in sides]
    right = [[each.right for each in side if not np.isnan(each.right)] for side in sides]
    mean = [f"{100 * np.mean(each):.1f}" if each else "–" for each in right]
    kept = [one for side in sides for each in side for one in each.kept]
    per = len(kept) / len(found)
    told = f"{100 * np.mean(kept):.1f}" if kept else "–"
    in_all = [bool(share >= promised - SLACK) for side in right for share in side]
    return " | ".join([*filled, *mean, f"{per:.1f}", told, f"{100 * np.mean(in_all):.1f}" if in_all else "–"])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3] if len(sys.argv) > 3 else temporary))
