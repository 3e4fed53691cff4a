"""How decide, complete, suggest and check grow with ten times the images, or classes, on made-up scores and labels.

Seconds of the larger size stand beside those of 2,000 images of 20 classes, so that a ratio of 0.1 is growth in
proportion. `curation-fit` is one of the five classifiers of a cross-fitting, which all but decide begin with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch

from benchmarks.measure import Promise, Row
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.curation.asking.choosing import choose, units_of
from mlrpl_cli.core.curation.asking.information import Information
from mlrpl_cli.core.curation.asking.options import CELL, IMAGE
from mlrpl_cli.core.curation.asking.pool import Pool
from mlrpl_cli.core.curation.calibrating import calibrated_logits
from mlrpl_cli.core.curation.checking import rank
from mlrpl_cli.core.curation.completing.filling import fill
from mlrpl_cli.core.curation.cross_fitting import CrossFitted, parts_of
from mlrpl_cli.core.curation.ground import Ground
from mlrpl_cli.core.decisions.calibration import choose as choose_calibration
from mlrpl_cli.core.decisions.thresholds import choose_thresholds
from mlrpl_cli.core.io.devices import make_generator
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from mlrpl_cli.core.runs.decided.calibration import sigmoid
from mlrpl_cli.core.runs.decided.objective import Objective

SIZE, LARGER = (2_000, 20), ((20_000, 20), (2_000, 200))
CHANNELS, KEEP, BUDGET, COSTS = 512, 0.3, 1_000, (1.0, 0.2)


@dataclass(frozen=True)
class Made:
    """Images of `size` (N, C): content that labels follow from, scores that say something of it, 30% of cells known."""

    size: tuple[int, int]

    @cached_property
    def content(self) -> np.ndarray:
        return np.random.default_rng(0).normal(size=(self.size[0], CHANNELS)).astype(np.float32) / CHANNELS**0.5

    @cached_property
    def logits(self) -> np.ndarray:
        """(N, C), of what is present."""
        directions = np.random.default_rng(1).normal(size=(CHANNELS, self.size[1]))
        return 2.5 * (self.content @ directions) - 2

    @cached_property
    def labels(self) -> np.ndarray:
        random = np.random.default_rng(2)
        truth = np.where(random.random(self.size) < sigmoid(self.logits), PRESENT, ABSENT)
        return np.where(random.random(self.size) < KEEP, truth, UNKNOWN).astype(np.int8)

    @cached_property
    def ground(self) -> Ground:
        noise = np.random.default_rng(3).normal(size=(*self.size, 2))
        scores = torch.from_numpy(0.2 + 0.02 * (self.logits[..., None] + 2 * noise)).float()
        contents = torch.nn.functional.normalize(torch.from_numpy(self.content), dim=1)
        return Ground(scores, contents, torch.zeros(self.size[1], 8), TrainConfig(loss="bce"))

    @cached_property
    def crossed(self) -> CrossFitted:
        images, classes = self.size
        names, parts = tuple(map(str, range(classes))), parts_of(np.arange(images), classes)
        blurred = self.logits + np.random.default_rng(4).normal(size=self.size)
        return CrossFitted(names, np.arange(images), self.labels, parts, blurred.astype(np.float32))

    @cached_property
    def pool(self) -> Pool:
        ground, standard = self.ground, self.ground.scores - self.ground.scores.mean()
        scores = (standard / standard.std()).numpy()
        return Pool(
            self.labels, self.labels == UNKNOWN, sigmoid(self.crossed.logits), scores, ground.contents.numpy(), 0.1
        )


def of_fit(made: Made) -> None:
    made.ground.fit(made.labels, make_generator(0, "bench"))


def of_decide(made: Made) -> None:
    calibration = choose_calibration(made.crossed.logits, made.labels, np.random.default_rng(0)).calibration
    choose_thresholds(calibration.apply(made.crossed.logits), Objective(), calibration.shared)


def of_complete(made: Made) -> None:
    fill(calibrated_logits(made.crossed), made.labels, {PRESENT: 0.95, ABSENT: 0.95}, 0.95)


def of_check(made: Made) -> None:
    rank(made.crossed)


def of_suggest(by: str, made: Made) -> None:
    for _ in choose(Information(made.pool), units_of(made.pool.may_ask, by, COSTS), BUDGET):
        pass


WORK: dict[str, Callable[[Made], None]] = {
    "fit": of_fit,
    "decide": of_decide,
    "complete": of_complete,
    "check": of_check,
    "suggest-cells": partial(of_suggest, CELL),
    "suggest-images": partial(of_suggest, IMAGE),
}


def curation_rows() -> Iterator[Row]:
    """One run of each size, the first of each warm by a smaller one."""
    for name, work in WORK.items():
        seconds_of(work, Made((200, 20)))
        base = seconds_of(work, Made(SIZE))
        for images, classes in LARGER:
            seconds = seconds_of(work, Made((images, classes)))
            against = f"{SIZE[0]:,} x {SIZE[1]}"
            yield Row(
                f"curation-{name}", against, Promise(), seconds, base, note=f"{images:,} images x {classes} classes"
            )


def seconds_of(work: Callable[[Made], None], made: Made) -> float:
    """Of one run; what it is given is made before."""
    _ = made.ground, made.crossed, made.pool
    started = time.perf_counter()
    work(made)
    return time.perf_counter() - started
