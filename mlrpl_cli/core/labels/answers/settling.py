"""The labels that answers make of those that were given. N images, C classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import get_args

import numpy as np

from mlrpl_cli.core.io.errors import ConfigError, did_you_mean
from mlrpl_cli.core.labels import states
from mlrpl_cli.core.labels.answers.records import ABSENT, PRESENT, Disagreements, Standing

DISAGREEMENTS: tuple[str, ...] = get_args(Disagreements)
_LABELS = {PRESENT: states.PRESENT, ABSENT: states.ABSENT}


def settled(
    given: np.ndarray, standing: Iterable[Standing], disagreements: str = "unknown"
) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) int8: the labels `given`, replaced where people answered; and (N, C) bool: where they disagree.

    "unsure" changes nothing. A cell that people disagree on is unknown; with `disagreements` "newest" it is what the
    last of `standing` says, and with "majority" what more people say, unknown where as many say either. Raises
    ConfigError for another word.
    """
    check_disagreements(disagreements)
    said = defaultdict[tuple[int, int], list[str]](list)
    for answer in standing:
        said[answer.row, answer.column].append(answer.state)
    labels, disputed = np.array(given, np.int8), np.zeros(given.shape, bool)
    for cell, told in said.items():
        labels[cell], disputed[cell] = settled_cell(int(labels[cell]), told, disagreements)
    return labels, disputed


def settled_cell(given: int, said: Iterable[str], disagreements: str) -> tuple[int, bool]:
    """The same of one cell, by the states that people `said`, the newest last."""
    answers = [_LABELS[state] for state in said if state in _LABELS]
    if len(set(answers)) > 1:
        return _decided(answers, disagreements), True
    return (answers[0] if answers else given), False


def check_disagreements(disagreements: str) -> None:
    """Raise ConfigError for a word that is none of DISAGREEMENTS."""
    if disagreements not in DISAGREEMENTS:
        meant = did_you_mean(disagreements, DISAGREEMENTS)
        raise ConfigError(f"no way with disagreements is called '{disagreements}'; {meant}")


def _decided(answers: list[int], disagreements: str) -> int:
    """What becomes of answers that are PRESENT and ABSENT, the newest last."""
    if disagreements == "newest":
        return answers[-1]
    # PRESENT is 1 and ABSENT -1, so the sign of their sum is what more people say, and 0, a tie, is UNKNOWN.
    return int(np.sign(sum(answers))) if disagreements == "majority" else states.UNKNOWN
