"""A promise is kept by the cells that are filled; its tests are those of MAPIE where both mean the same."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from mapie.risk_control.fwer_control import control_fwer
from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value

from mlrpl_cli.core.curation.completing import risk_control
from mlrpl_cli.core.curation.completing.risk_control import (
    Promise,
    _promised,
    chance_of,
    least_known,
    lower_bound,
    nested_sets,
    promised,
    promised_of_each,
)
from mlrpl_cli.core.labels.states import UNKNOWN


def test_beside_unlimited_unknown_cells_the_p_value_is_that_of_mapie():
    """Learn then test's for a loss of 0 or 1, which is the binomial tail."""
    known, wrong = np.array([59, 100, 300, 1000, 40]), np.array([0, 2, 9, 51, 3])
    unknown = np.full(5, 10**8)
    ours = chance_of(known, unknown, wrong, unknown // 20)
    theirs = compute_hoeffding_bentkus_p_value(wrong / known, known, 0.05, binary=True)[:, 0]
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_a_sequence_ends_where_mapies_fixed_sequence_does():
    random = np.random.default_rng(0)
    for chances in random.random((200, 12)) * random.random((200, 1)) * 0.2:
        found = control_fwer(chances, 0.05, "fixed_sequence")
        last = risk_control._last_of_sequence(chances <= 0.05, 0)
        assert found.tolist() == list(range(last + 1))


def test_the_p_value_is_the_share_of_draws_that_mislead():
    """All ways to know 4 of 9 cells, 4 of which are wrong: more than 2 unknown ones are, and at most 1 known one is."""
    draws = [len(set(drawn) & {0, 1, 2, 3}) for drawn in combinations(range(9), 4)]
    misled = np.mean([known <= 1 and 4 - known > 2 for known in draws])
    assert chance_of(np.array(4), np.array(5), 1, np.array(2)) == pytest.approx(misled)


def test_the_bound_is_the_last_share_that_is_not_unlikely():
    for known, unknown, wrong in ((30, 40, 0), (200, 17, 3), (80, 900, 2), (5, 5, 5)):
        every = np.arange(unknown + 1)
        unlikely = chance_of(np.full(unknown + 1, known), np.full(unknown + 1, unknown), wrong, every) <= 0.05
        assert lower_bound(known, unknown, wrong, 0.05) == 1 - unlikely.argmax() / unknown
    assert lower_bound(30, 0, 0, 0.05) == 1


def test_no_label_has_a_say_in_which_sets_are_tested():
    random = np.random.default_rng(0)
    scores, states = random.normal(size=500).round(1), random.choice([-1, 0, 1], 500)
    one, other = nested_sets(scores, states), nested_sets(scores, np.where(states == 0, 0, 1))
    assert one.threshold.tolist() == other.threshold.tolist()
    assert (one.known == other.known).all()
    assert (one.unknown == other.unknown).all()
    assert one.wrong.any()
    for threshold, known, unknown in zip(one.threshold, one.known, one.unknown, strict=True):
        inside = scores >= threshold  # cells of equal scores are in a set together
        assert ((inside & (states != UNKNOWN)).sum(), (inside & (states == UNKNOWN)).sum()) == (known, unknown)


POPULATIONS = {
    "as many mistakes everywhere as may be": lambda place: 0.05 + 0 * place,
    "a few more": lambda place: 0.06 + 0 * place,
    "a few less": lambda place: 0.04 + 0 * place,
    "ever more of them": lambda place: place**2,
    "none and then many": lambda place: 0.2 * (place > 0.4),
}


@pytest.mark.parametrize("keep", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("errors", POPULATIONS.values(), ids=POPULATIONS)
def test_a_promise_is_broken_as_seldom_as_it_says(errors, keep):
    """2,000 cells, 200 draws of which are known; the most that chance makes of 5% of them is 18 (three deviations)."""
    random = np.random.default_rng(1)
    scores = -np.arange(2000.0)
    truth = np.where(random.random(2000) < errors(np.arange(2000) / 2000), -1, 1)
    broken = below = 0
    for _ in range(200):
        states = np.where(random.random(2000) < keep, truth, UNKNOWN)
        found = promised(scores, states, 0.95, 0.95)
        if isinstance(found, Promise):
            filled = truth[(scores >= found.threshold) & (states == UNKNOWN)]
            assert len(filled) == found.unknown
            assert found.bound >= 0.95
            below += (filled == 1).mean() < found.bound - 1e-9
            broken += bool(len(filled)) and (filled == 1).mean() < 0.95 - 1e-9
    assert broken <= 18
    assert below <= 18  # nor is the bound that is told


def test_of_the_promises_that_are_made_no_more_are_broken_where_few_can_be_made():
    """Twenty groups with 5.5% mistakes, one with none; tested one by one, most that would promise had luck alone."""
    random = np.random.default_rng(2)
    made = dict.fromkeys(("together", "one by one"), 0)
    broken, shares = dict(made), []
    for _ in range(60):
        groups, truths = [], []
        for group in range(21):
            truth = np.where(random.random(1000) < (0.055 if group else 0), -1, 1)
            states = np.where(random.random(1000) < 0.2, truth, UNKNOWN)
            groups.append((-np.arange(1000.0), states))
            truths.append(truth)
        ways = {
            "together": promised_of_each(groups, 0.95, 0.9),
            "one by one": [promised(*group, 0.95, 0.9) for group in groups],
        }
        for way, found in ways.items():
            kept = []
            for one, (scores, states), truth in zip(found, groups, truths, strict=True):
                if isinstance(one, Promise):
                    filled = truth[(scores >= one.threshold) & (states == UNKNOWN)]
                    kept.append((filled == 1).mean() >= 0.95)
            made[way], broken[way] = made[way] + len(kept), broken[way] + kept.count(False)
            if way == "together":
                assert isinstance(found[0], Promise)
                shares.append(kept.count(False) / len(kept))
    assert np.mean(shares) <= 0.1
    assert broken["one by one"] > 0.2 * made["one by one"]  # the control


def test_promises_of_each_are_those_of_trying_every_number_of_them():
    """From all of them down: the first number of groups that so many promise at its level."""
    random, tried = np.random.default_rng(4), 0
    for _ in range(25):
        groups = []
        for _ in range(int(random.integers(1, 12))):
            truth = np.where(random.random(400) < random.choice([0.0, 0.02, 0.06]), -1, 1)
            groups.append((-np.arange(400.0), np.where(random.random(400) < random.random(), truth, UNKNOWN)))
        for count in range(len(groups), 0, -1):
            level = round(0.1 * count / len(groups), 12)
            expected = [_promised(*group, 0.95, level) for group in groups]
            if sum(isinstance(each, Promise) for each in expected) >= count:
                break
        tried += count < len(groups)
        assert promised_of_each(groups, 0.95, 0.9) == expected
    assert tried > 10


def test_clean_scores_are_filled():
    random = np.random.default_rng(0)
    truth = np.where(np.arange(1000) < 400, 1, -1)
    states = np.where(random.random(1000) < 0.3, truth, UNKNOWN)
    found = promised(-np.arange(1000.0), states, 0.95, 0.95)
    assert isinstance(found, Promise)
    assert 250 < found.unknown < 320  # 280 of the 400 are unknown


@pytest.mark.parametrize(
    ("level", "precision", "least"), [(0.05, 0.95, 59), (0.05, 0.5, 5), (0.1, 0.9, 22), (0.01, 0.9, 44)]
)
def test_how_many_known_cells_are_needed(level, precision, least):
    """Beside unlimited unknown cells as Clopper and Pearson have it; beside one, 1 of k + 1 draws misses it."""
    assert precision**least <= level < precision ** (least - 1)
    assert least_known(10**7, precision, level) == least
    assert least_known(1, precision, level) == round(1 / level) - 1


def test_nearly_complete_labels_are_promised_by_fewer_known_cells():
    found = promised(-np.arange(42.0), np.where(np.arange(42) < 40, 1, 0), 0.95, 0.95)
    assert isinstance(found, Promise)  # 2 of 42 draws of 40 miss a wrong one
    assert (found.known, found.unknown) == (40, 2)
    assert isinstance(promised(-np.arange(40.0), np.where(np.arange(40) < 38, 1, 0), 0.95, 0.95), Promise)
    assert isinstance(promised(-np.arange(38.0), np.where(np.arange(38) < 36, 1, 0), 0.95, 0.95), str)


def test_why_nothing_is_promised():
    few = promised(np.arange(100.0), np.where(np.arange(100) < 21, 1, 0), 0.95, 0.95)
    assert few == "87 known cells of such scores would do beside 79 unknown ones, if all were right; has 21"
    assert least_known(79, 0.95, 0.05) == 87
    assert promised(np.empty(0), np.empty(0, int), 0.95, 0.95) == "has no unknown cell of such scores"
    none = "9 known cells of such scores would do beside 1 unknown ones, if all were right; has 0"
    assert promised(np.zeros(1), np.zeros(1, int), 0.9, 0.9) == none
    alternating = np.tile([1, 0, -1, 0], 100)
    told = promised(-np.arange(400.0), alternating, 0.95, 0.95)
    assert told == "scores are not good enough: 43 of the 86 surest known cells are wrong"
