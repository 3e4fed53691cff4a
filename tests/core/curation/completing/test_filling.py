"""Classes promise alone where they can and together where they cannot, and what cannot be vouched for is left."""

from __future__ import annotations

import numpy as np
import pytest

from mlrpl_cli.core.curation.completing.filling import ALONE, TOGETHER, Filling, fill
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

PRECISIONS = {PRESENT: 0.95, ABSENT: 0.9}


def drawn(images: int = 1500, classes: int = 4, keep: float = 0.3, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Calibrated logits (N, C), the truth drawn by them, and what is known of it."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 8, size=(images, classes))
    truth = np.where(random.random(logits.shape) < 1 / (1 + np.exp(-logits)), PRESENT, ABSENT)
    return logits, truth, np.where(random.random(logits.shape) < keep, truth, UNKNOWN).astype(np.int8)


def groups_of(filling: Filling, state: int) -> list[str | None]:
    return [verdict.group for verdict in filling.verdicts[state]]


def test_known_cells_are_left_and_cells_of_a_group_are_filled_from_its_threshold_on():
    logits, truth, labels = drawn()
    filling = fill(logits, labels, PRECISIONS, 0.95)
    assert groups_of(filling, PRESENT) == groups_of(filling, ABSENT) == [ALONE] * 4
    assert not filling.states[labels != UNKNOWN].any()
    for state, precision in PRECISIONS.items():
        for column, verdict in enumerate(filling.verdicts[state]):
            chosen = filling.states[:, column] == state
            from_there = state * logits[:, column] >= verdict.promise.threshold
            assert (chosen == (from_there & (labels[:, column] == UNKNOWN))).all()
            assert chosen.sum() == verdict.promise.unknown
            assert (truth[chosen, column] == state).mean() >= precision
            assert (state * logits[chosen, column] >= 0).all()


def test_classes_with_few_known_cells_promise_together():
    logits, truth, labels = drawn(images=400, classes=20, keep=0.1)
    filling = fill(logits, labels, PRECISIONS, 0.95)
    assert groups_of(filling, PRESENT) == [TOGETHER] * 20
    assert len({verdict.promise.threshold for verdict in filling.verdicts[PRESENT]}) == 1
    chosen = filling.states == PRESENT
    assert chosen.sum() == filling.verdicts[PRESENT][0].promise.unknown
    assert (truth[chosen] == PRESENT).mean() >= 0.95


@pytest.mark.parametrize(
    ("hide", "told"),
    [
        (lambda labels, truth: np.where(truth == ABSENT, UNKNOWN, labels), "has no cell that is known to be absent"),
        (lambda labels, truth: np.where(truth == PRESENT, UNKNOWN, labels), "has no cell that is known to be present"),
        (lambda labels, truth: truth, "has no unknown cell"),
    ],
)
def test_classes_that_nothing_can_be_said_of_are_left_by_both_sides(hide, told):
    logits, truth, labels = drawn()
    labels[:, 1] = hide(labels, truth)[:, 1]
    filling = fill(logits, labels.astype(np.int8), PRECISIONS, 0.95)
    for state in PRECISIONS:
        assert filling.verdicts[state][1].why == told
        assert groups_of(filling, state) == [ALONE, None, ALONE, ALONE]
    assert not filling.states[:, 1].any()


def test_annotators_who_looked_where_they_expected_something_are_noticed_without_a_label():
    logits, truth, _ = drawn()
    chance = np.random.default_rng(1).random(logits.shape)
    looked = chance < np.where(logits > 0, 0.5, 0.1)
    labels = np.where(looked, truth, UNKNOWN).astype(np.int8)
    filling = fill(logits, labels, PRECISIONS, 0.95)
    assert not filling.states.any()
    for verdict in (*filling.verdicts[PRESENT], *filling.verdicts[ABSENT]):
        assert verdict.why.startswith("known cells score higher than unknown ones in 7")
        assert verdict.why.endswith("% of pairs, so chance did not choose them")


def test_whole_images_vouch_for_a_class_and_not_for_classes_together():
    """Cells of an image are no independent draws of a group that has several of them."""
    logits, truth, _ = drawn(images=400, classes=20)
    looked = np.random.default_rng(2).random((400, 1)) < 0.1
    filling = fill(logits, np.where(looked, truth, UNKNOWN).astype(np.int8), PRECISIONS, 0.95)
    assert TOGETHER not in groups_of(filling, PRESENT) + groups_of(filling, ABSENT)
    assert "not known as evenly as those of the other classes and images" in filling.verdicts[PRESENT][0].why


def test_scores_that_say_nothing_fill_nothing():
    logits, _, labels = drawn()
    random = np.random.default_rng(3)
    filling = fill(random.permutation(logits), labels, PRECISIONS, 0.95)
    assert not filling.states.any()
    assert "scores are not good enough: " in filling.verdicts[PRESENT][0].why
    assert "together: scores are not good enough: " in filling.verdicts[PRESENT][0].why


def test_a_few_wrong_labels_fill_less_and_break_no_promise():
    """5% of the known cells say the contrary: what they vouch for is better than they say."""
    counts = list[int]()
    for flipped in (0.0, 0.05):
        kept, made = 0, 0
        for seed in range(10):
            logits, truth, labels = drawn(keep=0.4, seed=seed)
            wrong = np.random.default_rng(seed).random(labels.shape) < flipped
            filling = fill(logits, np.where(wrong, -labels, labels).astype(np.int8), dict.fromkeys((1, -1), 0.9), 0.95)
            for state in (PRESENT, ABSENT):
                for column in range(4):
                    chosen = filling.states[:, column] == state
                    made += bool(chosen.any())
                    kept += bool(chosen.any()) and (truth[chosen, column] == state).mean() >= 0.9
                counts.append(int((filling.states == state).sum()))
        assert made > 25
        assert kept >= made - 3
    assert sum(counts[20:]) < sum(counts[:20])
