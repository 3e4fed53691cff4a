"""Which unknown cells are filled: class by class where a class can promise alone, the others together where they can.

Cells that are rather present than absent, by their calibrated scores, may be filled as present, the others as absent.
Axes: N images, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlrpl_cli.core.curation.completing.options import ALONE, TOGETHER
from mlrpl_cli.core.curation.completing.risk_control import Promise, promised, promised_of_each
from mlrpl_cli.core.decisions.exchangeable import DEVIATIONS, above, is_even
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

UNEVEN = "and its cells are not known as evenly as those of the other classes and images, to be judged together"


@dataclass(frozen=True)
class Verdict:
    """What a class is promised of the cells that are filled as present, or of those filled as absent."""

    promise: Promise | None = None
    """Its threshold is of scores, for ABSENT with their sign turned."""
    group: str | None = None
    """ALONE, or TOGETHER with the others that are."""
    why: str | None = None
    """Why there is no promise."""


@dataclass(frozen=True)
class Filling:
    """The cells that are filled, and by what promise."""

    states: np.ndarray
    """(N, C) int8: PRESENT or ABSENT of a cell that is filled, else UNKNOWN."""
    verdicts: dict[int, tuple[Verdict, ...]]
    """(C,) by PRESENT and by ABSENT."""


def fill(logits: np.ndarray, labels: np.ndarray, precisions: dict[int, float], confidence: float) -> Filling:
    """Fill cells of labels (N, C) by calibrated logits (N, C), in which no cell had a say for itself.

    `precisions` are by PRESENT and by ABSENT, in [0.5, 1): the share that is right, of each class or group. Of the
    promises of a side at least the share `confidence` is kept, in expectation.
    """
    barred = [_barred(logits[:, column], labels[:, column]) for column in range(labels.shape[1])]
    states, verdicts = np.full(labels.shape, UNKNOWN, np.int8), dict[int, tuple[Verdict, ...]]()
    for side, precision in precisions.items():
        scores, turned = side * logits, side * labels
        candidates = scores >= 0 if side == PRESENT else scores > 0
        found = _verdicts(scores, turned, candidates, barred, precision, confidence)
        verdicts[side] = tuple(found)
        least = np.array([np.inf if each.promise is None else each.promise.threshold for each in found])
        states[candidates & (labels == UNKNOWN) & (scores >= least)] = side
    return Filling(states, verdicts)


def _barred(logits: np.ndarray, labels: np.ndarray) -> str | None:
    """Why the known cells of a class cannot vouch for its unknown ones, whatever they say; None where they may."""
    known = labels != UNKNOWN
    for state, name in ((PRESENT, "present"), (ABSENT, "absent")):
        if not (labels == state).any():
            return f"has no cell that is known to be {name}"
    if known.all():
        return "has no unknown cell"
    share, deviations = above(logits, known)
    if abs(deviations) > DEVIATIONS:
        told = f"known cells score {'higher' if share > 0.5 else 'lower'} than unknown ones"
        return f"{told} in {max(share, 1 - share):.0%} of pairs, so chance did not choose them"
    return None


def _verdicts(
    scores: np.ndarray,
    states: np.ndarray,
    candidates: np.ndarray,
    barred: list[str | None],
    precision: float,
    confidence: float,
) -> list[Verdict]:
    """Of each class: alone first, and then together for those that can promise nothing alone."""
    tried = [column for column, why in enumerate(barred) if why is None]
    cells = [(scores[candidates[:, column], column], states[candidates[:, column], column]) for column in tried]
    given_alone = dict(zip(tried, promised_of_each(cells, precision, confidence), strict=True))
    found = list[Verdict]()
    for column, why in enumerate(barred):
        given = given_alone[column] if why is None else why
        found.append(Verdict(why=given) if isinstance(given, str) else Verdict(given, ALONE))
    joined = [column for column, each in enumerate(found) if each.promise is None and barred[column] is None]
    if len(joined) < 2:
        return found
    inside = candidates[:, joined]
    even = is_even((states != UNKNOWN)[:, joined])
    given = promised(scores[:, joined][inside], states[:, joined][inside], precision, confidence) if even else UNEVEN
    for column in joined:
        alone = found[column].why
        together = f"{alone}; {given if not even else f'together: {given}'}"
        found[column] = Verdict(why=together) if isinstance(given, str) else Verdict(given, TOGETHER)
    return found
