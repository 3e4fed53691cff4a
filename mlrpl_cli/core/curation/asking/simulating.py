"""What an order to ask in is worth, replayed where the answers are known and hidden.

From few known cells, a strategy asks some, the hidden labels answer, `anchored` is fitted to all that is known then, as
training does, and so on. Of hidden labels only the answers and the figures are taken. A strategy is compared with
asking at random. Probabilities are those of the fitted classifier, in which an open cell has no say.
Axes: N images, C classes, R resamples.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pkgutil import resolve_name

import numpy as np

from mlrpl_cli.core.curation.asking.choosing import choose, units_of
from mlrpl_cli.core.curation.asking.comparing import Measured, by_strategy
from mlrpl_cli.core.curation.asking.curves import Simulated
from mlrpl_cli.core.curation.asking.options import RANDOM, ROUNDS, SEEDS, STRATEGIES, SuggestOptions, check
from mlrpl_cli.core.curation.asking.pool import Pool, pool_of
from mlrpl_cli.core.curation.asking.writing import places_of
from mlrpl_cli.core.curation.filled import warn_of_filled
from mlrpl_cli.core.curation.ground import Ground, ground_of
from mlrpl_cli.core.decisions.calibration import sigmoid
from mlrpl_cli.core.evaluation.comparison import RESAMPLES, resample_weights, resampled_maps
from mlrpl_cli.core.evaluation.metrics import average_precisions, mean_of_classes
from mlrpl_cli.core.heads.fitted.anchored import AnchoredClassifier
from mlrpl_cli.core.io.devices import derive_seed, make_generator
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.files import write_text
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.labels.masks import known_mask
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.runs.subject import Subject, subject_of


@dataclass(frozen=True)
class Truth:
    """What is asked about, and what is measured on."""

    learning: Ground
    """Of N images that are no test images."""
    labels: np.ndarray
    """(N, C) as published: what is answered."""
    test: Ground
    test_labels: np.ndarray
    weights: np.ndarray
    """(R, test images) how often each is drawn."""

    def measured(self, classifier: AnchoredClassifier, known: np.ndarray, answers: int, cost: float) -> Measured:
        """A classifier that was fitted to `known` (N, C) label states."""
        logits = self.test.logits(classifier)
        value = mean_of_classes(average_precisions(logits, self.test_labels))
        maps = resampled_maps(logits, self.test_labels, self.weights)
        guessed = np.where(self.learning.logits(classifier) > 0, PRESENT, ABSENT)
        complete = np.where(known == UNKNOWN, guessed, known) == self.labels
        right = float(complete[self.labels != UNKNOWN].mean())
        return Measured(answers, cost, int((known != UNKNOWN).sum()), value, right, maps)


def simulate(
    options: SuggestOptions,
    progress: Progress | None = None,
    overwrite: bool = False,
    draw: Callable[[Simulated], None] | None = None,
) -> Simulated:
    """Replay the strategy of `options`, or all without one, beside asking at random; figures are written as JSON.

    `draw` writes the picture, before the figures. Raises as `suggest` does, and DataError without a test image, or
    without hidden labels that could answer.
    """
    progress = progress or Silent()
    check(options, simulate=True)
    subject = subject_of(options)
    prepared = subject.prepared
    warn_of_filled(prepared, progress)
    places = places_of(prepared, options, "simulation", overwrite, ".json", ".png")
    seeds, rounds = options.seeds or SEEDS, options.rounds or ROUNDS
    starts = [_start(prepared, options.start, seed) for seed in range(seeds)]
    names = list(STRATEGIES) if options.strategy is None else list(dict.fromkeys((RANDOM, options.strategy)))
    truth = _truth(subject, options, progress)
    found = {name: list[list[Measured]]() for name in names}
    fits = seeds * (1 + rounds * len(names))
    with progress.task("replaying", fits * AnchoredClassifier.fits, "fits") as task:
        for seed, start in enumerate(starts):
            replay = Replay(truth, options, seed, task.advance)
            first = replay.fitted(start, 0)
            for name in names:
                found[name].append(list(replay.rounds(name, start, first, rounds)))
    path, figure = places
    simulated = Simulated(
        prepared.folder, subject.run, options.by, seeds, options.start, len(truth.labels), len(truth.test_labels),
        path, figure, by_strategy(found, RANDOM),
    )  # fmt: skip
    if draw is not None:
        draw(simulated)
    write_text(simulated.path, json.dumps(asdict(simulated), indent=1, default=str) + "\n")
    return simulated


@dataclass(frozen=True)
class Replay:
    """Of one seed."""

    truth: Truth
    options: SuggestOptions
    seed: int
    done: Callable[[], object]
    """Told of each fit."""

    def fitted(self, known: np.ndarray, number: int) -> AnchoredClassifier:
        return self.truth.learning.fit(known, make_generator(self.seed, "replay", number), self.done)

    def rounds(self, strategy: str, known: np.ndarray, first: AnchoredClassifier, rounds: int) -> Iterator[Measured]:
        """Before any answer, and after each of the `rounds`; `first` is fitted to the `known` cells (N, C)."""
        answers, cost, classifier = 0, 0.0, first
        yield self.truth.measured(classifier, known, answers, cost)
        for number in range(1, rounds + 1):
            cells, paid = self._asked(strategy, self._pool(classifier, known), number)
            answers, cost = answers + int(cells.sum()), cost + paid
            known = np.where(cells, self.truth.labels, known)
            classifier = self.fitted(known, number)
            yield self.truth.measured(classifier, known, answers, cost)

    def _pool(self, classifier: AnchoredClassifier, known: np.ndarray) -> Pool:
        """What a strategy sees: of the truth, whether there is an answer, which people would have to look for."""
        learning = self.truth.learning
        may_ask = (known == UNKNOWN) & (self.truth.labels != UNKNOWN)
        probabilities = sigmoid(learning.logits(classifier))
        return pool_of(classifier, learning.described, known, probabilities, may_ask)

    def _asked(self, strategy: str, pool: Pool, number: int) -> tuple[np.ndarray, float]:
        """(N, C) bool which cells are asked, and what that costs."""
        generator = np.random.default_rng(derive_seed(self.seed, strategy, number))
        worth = resolve_name(STRATEGIES[strategy])(pool, generator)
        units, cells = units_of(pool.may_ask, self.options.by, self.options.costs), np.zeros(pool.labels.shape, bool)
        chosen = [unit for unit, _ in choose(worth, units, self.options.budget)]
        for unit in chosen:
            cells[units.rows[unit], units.columns(unit)] = True
        return cells, float(units.costs[chosen].sum())


def _start(prepared: Prepared, share: float | None, seed: int) -> np.ndarray:
    """(N, C) what is known at first of the images that are no test images."""
    learning = np.array(prepared.splits) != TEST
    full, known = prepared.full_labels[learning], prepared.observed_labels[learning]
    if share is not None:
        known = np.where(known_mask(len(full), full.shape[1], share, seed), full, UNKNOWN).astype(np.int8)
    if not (known != UNKNOWN).any():
        raise DataError(f"{prepared.folder} has no known cell to start from; prepare it with a larger --keep")
    if not (known != full).any():
        told = "hides no label that could answer; give the share that is known at first with --start 0.05"
        raise DataError(f"{prepared.folder} {told}")
    return known


def _truth(subject: Subject, options: SuggestOptions, progress: Progress) -> Truth:
    prepared = subject.prepared
    testing = np.array(prepared.splits) == TEST
    if not testing.any():
        raise DataError(f"{prepared.folder} has no test image to measure on; prepare it with a test split")
    ground = ground_of(prepared, np.arange(len(testing)), options, subject.run, progress)
    learning, test = (np.flatnonzero(side) for side in (~testing, testing))
    labels = prepared.full_labels
    weights = resample_weights(len(test), RESAMPLES)
    return Truth(ground.part(learning), labels[learning], ground.part(test), labels[test], weights)
