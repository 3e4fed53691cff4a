"""Measure how well `check` finds wrong labels, how many it expects, and what correcting them gives.

    python -m scripts.measure_checking ROOT [FOLDER]

ROOT holds VOCdevkit/VOC2007 and folds.csv (id, fold): photographs with lite. Scenes are those of seed 0 with tiny. What
is known of an image is drawn, and a share of the known labels turned over, for each of three seeds. The classifiers
have λ = 0.1 and stop early, so that a setting takes seconds. FOLDER keeps the scenes, what describes images, and
scores. cleanlab is given the same out-of-fold probabilities, where all cells are known, since it knows no other labels.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class
from cleanlab.multilabel_classification.rank import get_label_quality_scores_per_class
from sklearn.metrics import roc_auc_score

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.curation import checking
from mlrpl_cli.core.curation.check_options import BELOW
from mlrpl_cli.core.curation.correcting import corrected
from mlrpl_cli.core.curation.cross_fitting import CrossFitted, fit_parts, parts_of
from mlrpl_cli.core.decisions.calibration import Chosen, choose
from mlrpl_cli.core.evaluation.metrics import average_precisions, mean_of_classes
from mlrpl_cli.core.heads.fitted import anchored, map_estimate
from mlrpl_cli.core.heads.fitted.anchored import AnchoredClassifier
from mlrpl_cli.core.heads.fitted.map_estimate import Estimate, Evidence
from mlrpl_cli.core.heads.losses import make_cells
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.formats.published.voc import CLASSES
from mlrpl_cli.core.labels.records import TEST, PrepareOptions
from mlrpl_cli.core.labels.states import PRESENT, UNKNOWN
from mlrpl_cli.core.prepared.build import prepare
from mlrpl_cli.core.prepared.folder import is_prepared, read_prepared
from mlrpl_cli.core.runs.decided.calibration import sigmoid
from scripts.measure_anchored import described_by
from scripts.measure_lite import counting, read

SEEDS, COUNTS, CONFIG = (0, 1, 2), (50, 100, 200), TrainConfig(loss="bce")
PRECISION, ENDING = 0.1, 0.03
"""λ, and the largest slope that ends a fit."""


class Ground(NamedTuple):
    """Images and the truth of them."""

    scores: np.ndarray
    """(N, C, 2)"""
    contents: np.ndarray
    """(N, D)"""
    labels: np.ndarray
    """(N, C) label states, all known."""
    tests: list[np.ndarray]
    """(N,) bool by seed: what measures a classifier that learned from the others."""
    counted: np.ndarray
    """(C,) bool: classes of the mAP."""

    def of(self, images: np.ndarray) -> Ground:
        tests = [test[images] for test in self.tests]
        return Ground(self.scores[images], self.contents[images], self.labels[images], tests, self.counted)


class Errors(NamedTuple):
    """Shares of labels that are turned over."""

    absent: float
    present: float


EVEN, MISSED = (Errors(0.0, 0.0), Errors(0.02, 0.02), Errors(0.05, 0.05)), Errors(0.005, 0.2)
GAINS = (EVEN[-1], MISSED)


class Turned(NamedTuple):
    """Known labels, some of them wrong, with a cross-fitted score of every cell."""

    truth: np.ndarray
    scored: CrossFitted

    @property
    def cells(self) -> tuple[np.ndarray, ...]:
        return np.nonzero(self.scored.known)

    @property
    def wrong(self) -> np.ndarray:
        return (self.scored.labels != self.truth)[self.cells]


_CHOSEN: dict[bytes, Chosen] = {}


def remembered(logits: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Chosen:
    """`choose`, once for the same cells: every ranking starts with it."""
    key = hashlib.sha256(logits.tobytes() + labels.tobytes()).digest()
    if key not in _CHOSEN:
        _CHOSEN[key] = choose(logits, labels, generator)
    return _CHOSEN[key]


def self_confidence(turned: Turned) -> np.ndarray:
    """(M,) the calibrated probability of what is given."""
    scored = turned.scored
    held_out = remembered(scored.logits.astype(float), scored.labels, np.random.default_rng(0)).held_out
    return np.where(scored.labels == PRESENT, held_out, 1 - held_out)[turned.cells]


def above_typical(turned: Turned) -> np.ndarray:
    """(M,) the same less its mean over the cells of the class that are given alike (confident learning's margin)."""
    confidence, columns = self_confidence(turned), turned.cells[1]
    group = 2 * columns + (turned.scored.labels[turned.cells] == PRESENT)
    means = np.bincount(group, confidence) / np.maximum(np.bincount(group), 1)
    return confidence - means[group]


def above_prior(turned: Turned) -> np.ndarray:
    """(M,) its log odds less those of the class's share of present cells."""
    labels, (_, columns) = turned.scored.labels, turned.cells
    present, absent = ((labels == state).sum(axis=0) + 1 for state in (PRESENT, -PRESENT))
    confidence = np.clip(self_confidence(turned), 1e-12, 1 - 1e-12)
    return np.log(confidence / (1 - confidence)) - labels[turned.cells] * np.log(present / absent)[columns]


def by_cleanlab(turned: Turned) -> np.ndarray:
    """(M,) cleanlab's score of each label, by its default method, of complete labels."""
    return get_label_quality_scores_per_class(*for_cleanlab(turned)).ravel()


def by_check(turned: Turned) -> np.ndarray:
    found = checking.rank(turned.scored)
    right = np.empty(turned.truth.shape)
    right[found.rows, found.columns] = np.arange(len(found.right))
    return right[turned.cells]


def for_cleanlab(turned: Turned) -> tuple[list[list[int]], np.ndarray]:
    present = [np.flatnonzero(row == PRESENT).tolist() for row in turned.scored.labels]
    return present, sigmoid(turned.scored.logits)


RANKINGS: dict[str, Callable[[Turned], np.ndarray]] = {
    "**`check`**": by_check,
    "calibrated self-confidence": self_confidence,
    "its margin above the class's typical one": above_typical,
    "its log odds above the class's prior": above_prior,
    "cleanlab": by_cleanlab,
}


def main(root: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    grounds = {"photographs": photographs(root, folder), "scenes": scenes(folder)}
    columns = [f"precision at {count}" for count in COUNTS]
    print(f"| | errors | known | ranked by | {' | '.join(columns)} | AUROC |\n|{'---|' * 8}")
    shares = []
    for name, (ground, keep, errors) in settings(grounds):
        learning = ground.of(~ground.tests[0]) if name == "scenes" else ground
        turned = [turn(learning, keep, errors, seed, folder) for seed in SEEDS]
        shares.append(share_line(name, keep, errors, turned))
        for way, ranking in RANKINGS.items():
            if errors.absent and (keep == 1 or ranking is not by_cleanlab):
                figures = np.mean([found_by(ranking(each), each.wrong) for each in turned], axis=0)
                shown = " | ".join(f"{figure:.2f}" for figure in figures[:-1])
                print(f"| {name} | {told(errors)} | {keep:.0%} | {way} | {shown} | {figures[-1]:.3f} |", flush=True)
    print("\n| | errors | known | wrong | `check` expects | mean of 1 - self-confidence | cleanlab finds |")
    print("|---|---|---|---|---|---|---|", *shares, sep="\n")
    print("\n| | errors | known | mAP as given | dropped | flipped | without errors |\n|---|---|---|---|---|---|---|")
    for name, (ground, keep, errors) in settings(grounds):
        if errors in GAINS and keep < 1:
            gains = np.array([gain(ground, keep, errors, seed, folder) for seed in SEEDS])
            print(f"| {name} | {told(errors)} | {keep:.0%} | {' | '.join(map(spread, gains.T))} |", flush=True)


def settings(grounds: dict[str, Ground]) -> list[tuple[str, tuple[Ground, float, Errors]]]:
    every = [(0.3, errors) for errors in (*EVEN, MISSED)] + [(1.0, errors) for errors in EVEN[1:]]
    return [(name, (ground, *setting)) for name, ground in grounds.items() for setting in every]


def told(errors: Errors) -> str:
    if errors.absent == errors.present:
        return f"{errors.absent:.0%}"
    return f"{errors.present:.0%} of present, {errors.absent:.1%} of absent"


def spread(values: np.ndarray) -> str:
    return f"{values.mean():.1f} ± {values.std(ddof=1):.1f}"


def photographs(root: Path, folder: Path) -> Ground:
    found = read(root)
    scores, contents = described("lite", found.paths, CLASSES, folder)
    return Ground(scores, contents, found.labels, [found.fold == fold for fold in SEEDS], counting(found))


def scenes(folder: Path) -> Ground:
    place = folder / "scenes"
    prepared = read_prepared(place) if is_prepared(place) else prepare(PrepareOptions("scenes", keep=0.3, out=place))
    every = np.arange(len(prepared.splits))
    scores, contents = described("tiny", prepared.paths(every), prepared.classes, folder)
    test, counted = np.array(prepared.splits) == TEST, np.ones(len(prepared.classes), bool)
    return Ground(scores, contents, prepared.full_labels, [test] * len(SEEDS), counted)


def described(backbone: str, paths: list[Path], classes: tuple[str, ...], folder: Path) -> tuple[np.ndarray, ...]:
    path = folder / f"{backbone}-described.npz"
    if not path.is_file():
        scores, contents = described_by(backbone, paths, classes)
        np.savez(path, scores=scores.numpy(), contents=contents["strongest"].numpy())
    with np.load(path) as stored:
        return stored["scores"], stored["contents"]


def turn(ground: Ground, keep: float, errors: Errors, seed: int, folder: Path) -> Turned:
    """Scores are kept in the folder by what they are of."""
    random = np.random.default_rng([seed, int(1000 * errors.absent), int(100 * keep)])
    known, draws = (random.random(ground.labels.shape) for _ in range(2))
    flipped = draws < np.where(ground.labels == PRESENT, errors.present, errors.absent)
    given = np.where(known < keep, np.where(flipped, -ground.labels, ground.labels), UNKNOWN).astype(np.int8)
    parts = parts_of(np.arange(len(given)), given.shape[1])
    path = folder / f"{hashlib.sha256(ground.scores.tobytes() + given.tobytes()).hexdigest()}.npy"
    if not path.is_file():
        with quickly():
            texts = torch.zeros(given.shape[1], 1)
            np.save(path, fit_parts(tensors(ground), texts, given, parts, CONFIG, Silent()))
    names = tuple(map(str, range(given.shape[1])))
    return Turned(ground.labels, CrossFitted(names, np.arange(len(given)), given, parts, np.load(path)))


def tensors(ground: Ground) -> list[torch.Tensor]:
    return [torch.from_numpy(ground.scores), torch.from_numpy(ground.contents)]


@contextmanager
def quickly() -> Iterator[None]:
    """Fits of one λ in float32, each from where the last one ended, along the same axes, until the slope is small."""
    axes, start = list[torch.Tensor](), list[torch.Tensor]()

    def roughly(evidence: Evidence, precision: float) -> Estimate:
        if not axes:
            axes.append(evidence.axes.float())
        turned = Evidence(evidence.scores, evidence.content @ axes[0], evidence.cells)
        found, point = map_estimate._minimum(turned, precision, ENDING, start[0] if start else None)
        start[:] = [point]
        return Estimate(found.trust, axes[0] @ found.weight, found.offset)

    chosen = patch.object(anchored, "chosen_precision", lambda *_: PRECISION)
    with chosen, patch.object(anchored, "fit", roughly):
        yield


def found_by(score: np.ndarray, wrong: np.ndarray) -> list[float]:
    order = np.argsort(score, kind="stable")
    return [*(wrong[order[:count]].mean() for count in COUNTS), float(roc_auc_score(wrong, -score))]


def share_line(name: str, keep: float, errors: Errors, turned: list[Turned]) -> str:
    def each(of: Callable[[Turned], float]) -> str:
        values = 100 * np.array([of(one) for one in turned])
        return f"{values.mean():.1f} ± {values.std(ddof=1):.1f}"

    wrong = each(lambda one: one.wrong.mean())
    expected = each(lambda one: float(1 - checking.rank(one.scored).right.mean()))
    naive = each(lambda one: float(1 - self_confidence(one).mean()))
    issues = (
        each(lambda one: float(np.mean(find_multilabel_issues_per_class(*for_cleanlab(one), n_jobs=1))))
        if keep == 1
        else "–"
    )
    return f"| {name} | {told(errors)} | {keep:.0%} | {wrong} | {expected} | {naive} | {issues} |"


def gain(ground: Ground, keep: float, errors: Errors, seed: int, folder: Path) -> list[float]:
    """mAP in percent of the test images: of labels as given, without those that look wrong, flipped, and right."""
    test = ground.tests[seed]
    learning, testing = ground.of(~test), ground.of(test)
    turned = turn(learning, keep, errors, seed, folder)
    found, given = checking.rank(turned.scored), turned.scored.labels
    wrong = int(np.searchsorted(found.right, BELOW))
    right = np.where(given == UNKNOWN, UNKNOWN, learning.labels).astype(np.int8)
    ways = (given, *(corrected(given, found, wrong, flip) for flip in (False, True)), right)
    return [100 * trained(learning, labels, testing) for labels in ways]


def trained(learning: Ground, labels: np.ndarray, testing: Ground) -> float:
    classifier = AnchoredClassifier(torch.zeros(labels.shape[1], 1), learning.contents.shape[1])
    with quickly():
        cells = make_cells(CONFIG, torch.from_numpy(labels))
        classifier.fit(tensors(learning), cells, torch.Generator().manual_seed(0))
    scores = classifier.logits(*tensors(testing)).numpy()
    return mean_of_classes(average_precisions(scores, testing.labels)[testing.counted])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary, patch.object(checking, "choose", remembered):
        main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else temporary))
