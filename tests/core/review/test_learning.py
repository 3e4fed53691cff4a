"""What is learned from answers: p of cells that were not learned from, an order to ask in, and how good it is."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
import torch

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.curation.cross_fitting import parts_of
from mlrpl_cli.core.curation.ground import Ground
from mlrpl_cli.core.evaluation.metrics import average_precisions
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from mlrpl_cli.core.review import learning
from mlrpl_cli.core.review.learner import learner, material_of
from mlrpl_cli.core.review.learning import Task, learn

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES, CLASSES, CHANNELS = 120, 3, 8


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return np.where(np.random.default_rng(0).random((IMAGES, CLASSES)) < 0.4, PRESENT, ABSENT).astype(np.int8)


@pytest.fixture(scope="module")
def ground(truth: np.ndarray) -> Ground:
    """Content that says each class in a channel of its own, with noise."""
    random = np.random.default_rng(1)
    contents = random.normal(0, 0.8, (IMAGES, CHANNELS)).astype(np.float32)
    contents[:, :CLASSES] += truth
    scores = (0.3 * truth[..., None] + random.normal(0, 1, (IMAGES, CLASSES, 2))).astype(np.float32)
    texts = torch.eye(CLASSES, CHANNELS)
    return Ground(torch.from_numpy(scores), torch.from_numpy(contents), texts, TrainConfig(method="anchored"))


@pytest.fixture(scope="module")
def parts() -> np.ndarray:
    return parts_of(np.arange(IMAGES), CLASSES)


def known(truth: np.ndarray, share: float) -> np.ndarray:
    return np.where(np.random.default_rng(2).random(truth.shape) < share, truth, UNKNOWN).astype(np.int8)


def nothing(truth: np.ndarray) -> np.ndarray:
    return np.zeros(truth.shape, bool)


def test_nothing_known_is_a_start(ground: Ground, parts: np.ndarray, truth: np.ndarray) -> None:
    found = learn(ground, parts, nothing(truth), Task(1, np.zeros_like(truth), 0, None))
    assert np.isfinite(found.probabilities).all()
    assert (found.calibrated, found.estimate, len(found.doubtful.rows), found.known) == (False, None, 0, 0)
    assert len(found.suggested.rows) == truth.size


def test_unknown_cells_are_suggested_once_each_and_known_ones_doubted(
    ground: Ground, parts: np.ndarray, truth: np.ndarray
) -> None:
    labels = known(truth, 0.5)
    found = learn(ground, parts, nothing(truth), Task(1, labels, 0, None))
    for cells, mask in ((found.suggested, labels == UNKNOWN), (found.doubtful, labels != UNKNOWN)):
        listed = np.zeros(labels.shape, int)
        np.add.at(listed, (cells.rows, cells.columns), 1)
        assert (listed == mask).all()
        assert len(cells.because) == len(cells.rows)


def test_labels_that_are_wrong_are_doubted_first(ground: Ground, parts: np.ndarray, truth: np.ndarray) -> None:
    labels = truth.copy()
    flipped = {(n, n % CLASSES) for n in range(0, IMAGES, 15)}
    for cell in flipped:
        labels[cell] *= -1
    found = learn(ground, parts, labels != UNKNOWN, Task(1, labels, 0, None)).doubtful
    first = set(zip(found.rows[:16].tolist(), found.columns[:16].tolist(), strict=True))
    assert len(first & flipped) >= 6


def test_no_cell_has_a_say_in_its_own_probability(ground: Ground, parts: np.ndarray, truth: np.ndarray) -> None:
    """A part's labels are turned round: the scores behind its own cells stay as they are, up to their calibration."""
    labels = known(truth, 0.6)
    turned = np.where(parts == 0, -labels, labels).astype(np.int8)
    orders = []
    for of in (labels, turned):
        p = learn(ground, parts, nothing(truth), Task(1, of, 0, 1.0)).probabilities
        orders.append([np.argsort(p[parts[:, c] == 0, c], kind="stable").tolist() for c in range(CLASSES)])
    assert orders[0] == orders[1]


def test_the_estimate_is_of_given_cells_by_scores_that_did_not_know_them(
    ground: Ground, parts: np.ndarray, truth: np.ndarray
) -> None:
    """A random half was given; the cells that were asked for are all of another kind."""
    labels, given = truth.copy(), np.random.default_rng(3).random(truth.shape) < 0.5
    found = learn(ground, parts, given, Task(1, labels, 0, 1.0)).estimate
    assert found is not None
    assert found.low <= found.map <= found.high
    assert f"{given.sum()} labels that were given" in found.told
    scores = np.where(given, np.random.default_rng(4).normal(size=truth.shape), 0)
    alone = learning.estimate(scores, labels, given)
    expected = np.nanmean(average_precisions(scores, np.where(given, labels, UNKNOWN)))
    assert alone is not None
    assert alone.map == pytest.approx(expected)


def test_without_given_labels_the_estimate_says_that_nobody_drew_them(
    ground: Ground, parts: np.ndarray, truth: np.ndarray
) -> None:
    found = learn(ground, parts, nothing(truth), Task(1, known(truth, 0.5), 0, 1.0)).estimate
    assert found is not None
    assert "nobody drew at random" in found.told
    assert not found.of_given


def test_the_learner_keeps_a_precision_until_half_as_much_again_is_known(
    ground: Ground, parts: np.ndarray, truth: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float | None] = []

    class Pool:
        def __init__(self, *arguments: object) -> None: ...
        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *error: object) -> None: ...

        def submit(self, work: object, task: Task) -> object:
            asked.append(task.precision)
            return task

    class Done:
        def __init__(self, known: int) -> None:
            self.known, self.precision = known, 0.3

        def result(self) -> object:
            return self

    class Died:
        def result(self) -> object:
            raise BrokenProcessPool

    monkeypatch.setattr("mlrpl_cli.core.review.learner.process_pool", Pool)
    with learner(material_of(ground, parts, nothing(truth))) as learns:
        for count in (100, 101, 149, 150, 151):
            labels = np.zeros(truth.size, np.int8)
            labels[:count] = PRESENT
            task = Task(1, labels.reshape(truth.shape), 0, None)
            learns.begin(task)
            if count == 100:  # one that died has chosen nothing
                with pytest.raises(BrokenProcessPool):
                    learns.took(Died())
                learns.begin(task)
            learns.took(Done(count))
    assert asked == [None, None, 0.3, 0.3, None, 0.3]
