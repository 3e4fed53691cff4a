"""How many unknown cells may be filled so that a share of them is right, by known cells that are as good as drawn.

Learn then test (Angelopoulos et al., 2021) over nested sets of one group of cells, the surest first. A set ends just
before the known cell that comes after its first n known ones, for numbers n that no label chooses. Let it have m
unknown cells beside. Where chance decides which cells are known, the n known ones are drawn from all N = n + m without
looking, so of K wrong ones among the N the known ones have a hypergeometric number. That more than u of the unknown
ones are wrong while no more than x of the known ones are has then at most the probability

    p(x) = P(X ≤ x),  X ~ Hypergeometric(N, K = x + u + 1, n)

With unlimited unknown cells that is the exact binomial test of Clopper and Pearson. Here the promise is of the cells
that are filled, not of those that might be, so that their own luck counts, too. Sets are tested in sequences, the
smallest first, each up to its first failure; the sequences divide the risk. The probability is exact for each set; that
their sequences keep it was seen in simulations, since what is tested depends on which cells are known.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import hypergeom

from mlrpl_cli.core.labels.states import ABSENT, UNKNOWN

STARTS = 3
"""At most so many sequences of tests share what may go wrong, so that one unlucky set does not end it all."""
FURTHER = 2
"""How many times as many known cells the next sequence begins with."""
STEP = 1.2
"""How many times as many known cells the next set of a sequence has, about."""
SLACK = 1e-9
"""Of rounding, where a share of a number of cells is a whole number."""


@dataclass(frozen=True)
class Promise:
    """What holds of the unknown cells of a group from a score on."""

    threshold: float
    """The least score of a cell that it speaks of."""
    bound: float
    """The share of the unknown cells that are right, at least, in [0, 1]; no less than the precision asked for."""
    known: int
    """Known cells from the threshold on, which vouch for the others."""
    wrong: int
    """Those of them that are wrong."""
    unknown: int
    """Unknown cells from the threshold on."""


@dataclass(frozen=True)
class Nested:
    """Nested sets of a group, the smallest first; J of them."""

    threshold: np.ndarray
    """(J,) float64 least score of a cell in the set."""
    known: np.ndarray
    """(J,) n"""
    unknown: np.ndarray
    """(J,) m"""
    wrong: np.ndarray
    """(J,) x, which decides of no other field."""


def promised(scores: np.ndarray, states: np.ndarray, precision: float, confidence: float) -> Promise | str:
    """The largest set of unknown cells of a group that keeps `precision` with `confidence`, or why there is none.

    scores (M,) are higher for cells that are surer to be right, states (M,) PRESENT for a known cell that is right,
    ABSENT for one that is wrong, UNKNOWN for the others; precision and confidence are in (0, 1). The probability that
    there is a promise and the filled cells break it is at most 1 - confidence.
    """
    return _promised(scores, states, precision, risk_of(confidence))


def risk_of(confidence: float) -> float:
    """1 - confidence, as it is meant: 0.1 for 0.9."""
    return round(1 - confidence, 12)


def _promised(scores: np.ndarray, states: np.ndarray, precision: float, level: float) -> Promise | str:
    """`promised` at the level 1 - confidence."""
    nested = nested_sets(scores, states)
    total, unknown = int((states != UNKNOWN).sum()), int((states == UNKNOWN).sum())
    if not unknown:
        return "has no unknown cell of such scores"
    starts, sets = _sequences(nested, allowed := _allowed(nested.unknown, precision), level)
    if not len(sets):
        least = least_known(unknown, precision, level)
        return (
            f"{least} known cells of such scores would do beside {unknown} unknown ones, if all were right; has {total}"
        )
    accepted = chance_of(nested.known, nested.unknown, nested.wrong, allowed)[sets] <= level / len(starts)
    last = max(_last_of_sequence(accepted, begin) for begin in starts)
    n, m, x = (int(of[sets[max(last, 0)]]) for of in (nested.known, nested.unknown, nested.wrong))
    if last < 0:
        return f"scores are not good enough: {x} of the {n} surest known cells are wrong"
    return Promise(float(nested.threshold[sets[last]]), lower_bound(n, m, x, level / len(starts)), n, x, m)


def promised_of_each(
    groups: Sequence[tuple[np.ndarray, np.ndarray]], precision: float, confidence: float
) -> list[Promise | str]:
    """What `promised` says of each group, so that of the promises that are made 1 - confidence are broken, at most.

    Of G groups of which R make a promise, each is tested at the level (1 - confidence) R / G: were all at 1 -
    confidence, and few could promise anything, those that do would be the lucky ones (Benjamini and Hochberg 1995;
    Benjamini and Bogomolov 2014 for what is tested inside a chosen group).
    """
    count = len(groups)
    while count:
        level = risk_of(confidence) * count / len(groups)
        found = [_promised(*group, precision, level) for group in groups]
        made = sum(isinstance(each, Promise) for each in found)
        if made >= count or count == 1:
            return found
        count = max(made, 1)  # at no level between do more than so many make one: they are stricter
    return []


def nested_sets(scores: np.ndarray, states: np.ndarray) -> Nested:
    """The sets of (M,) cells: each ends before a known cell, which tells nothing of those inside, the last has all."""
    order = np.argsort(-scores, kind="stable")
    scores, states = scores[order].astype(float), states[order]
    known = states != UNKNOWN
    places = np.flatnonzero(known)
    ends = [int(np.searchsorted(-scores, -scores[places[count]])) for count in _counts(len(places))]
    sizes = np.unique(np.array([end for end in (*ends, len(scores)) if end], int))
    found, wrong = (np.concatenate([[0], each.cumsum()])[sizes] for each in (known, states == ABSENT))
    return Nested(scores[sizes - 1], found, sizes - found, wrong)


def chance_of(known: np.ndarray, unknown: np.ndarray, wrong: np.ndarray | int, allowed: np.ndarray) -> np.ndarray:
    """(J,) p(x), in [0, 1]: of x = `wrong` known cells while more than u = `allowed` unknown ones are wrong.

    0 where u is all unknown cells: they cannot be more.
    """
    chance = hypergeom.cdf(wrong, known + unknown, np.minimum(wrong + allowed + 1, known + unknown), known)
    return np.where(allowed >= unknown, 0.0, chance)


def lower_bound(known: int, unknown: int, wrong: int, level: float) -> float:
    """The least share, in [0, 1], of `unknown` cells that are right, but for a chance of `level`; 1 of no cells."""
    if not unknown:
        return 1.0

    def is_unlikely(allowed: int) -> bool:
        return bool(chance_of(np.array(known), np.array(unknown), wrong, np.array(allowed)) <= level)

    return 1 - bisect_left(range(unknown), True, key=is_unlikely) / unknown


def least_known(unknown: int, precision: float, level: float) -> int:
    """Known cells that would do beside `unknown` ones if none of the known ones were wrong."""
    others = np.array(unknown)

    def would_do(known: int) -> bool:
        return bool(chance_of(np.array(known), others, 0, _allowed(others, precision)) <= level)

    most = 1
    while not would_do(most):
        most *= 2
    return bisect_left(range(most + 1), True, key=would_do)


def _allowed(unknown: np.ndarray, precision: float) -> np.ndarray:
    """u: how many of the unknown cells may be wrong."""
    return np.floor((1 - precision) * unknown + SLACK).astype(int)


def _counts(known: int) -> list[int]:
    """Numbers of known cells below `known`, each about STEP times the one before."""
    counts, count = list[int](), 1
    while count < known:
        counts.append(count)
        count = max(count + 1, round(count * STEP))
    return counts


def _sequences(nested: Nested, allowed: np.ndarray, level: float) -> tuple[list[int], np.ndarray]:
    """Where sequences of tests begin among the sets that are tested, and those sets, (T,) of J; by no label.

    Tested are sets that would pass if no known cell were wrong. There are as many sequences as have room.
    """
    unmarred = chance_of(nested.known, nested.unknown, 0, allowed)
    for starts in range(STARTS, 0, -1):
        sets = np.flatnonzero((unmarred <= level / starts) & (allowed < nested.unknown))
        known = nested.known[sets]
        if len(sets) and known[0] * FURTHER ** (starts - 1) <= known[-1]:
            return np.searchsorted(known, known[0] * FURTHER ** np.arange(starts)).tolist(), sets
    return [], np.empty(0, int)


def _last_of_sequence(accepted: np.ndarray, begin: int) -> int:
    """The last of the sets that are accepted one after another from `begin` on; -1 where that one is not."""
    rest = accepted[begin:]
    return begin + (len(rest) if rest.all() else int(np.argmin(rest))) - 1 if rest[0] else -1
