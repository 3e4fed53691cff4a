"""The labels that answers make of those that were given. N images, C classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from mlrpl_cli.core.io.errors import ConfigError, did_you_mean
from mlrpl_cli.core.labels import states
from mlrpl_cli.core.labels.answers.records import ABSENT, PRESENT, Standing

DISAGREEMENTS = ("unknown", "newest", "majority")
"""What becomes of a cell that some say is present and others say is absent."""
_LABELS = {PRESENT: states.PRESENT, ABSENT: states.ABSENT}


def settled(
    given: np.ndarray, standing: Iterable[Standing], disagreements: str = "unknown"
) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) int8: the labels `given`, replaced where people answered; and (N, C) bool: where they disagree.

    "unsure" changes nothing. A cell that people disagree on is unknown; with `disagreements` "newest" it is what the
    last of `standing` says, and with "majority" what more people say, unknown where as many say either. Raises
    ConfigError for another word.
    """
    if disagreements not in DISAGREEMENTS:
        meant = did_you_mean(disagreements, DISAGREEMENTS)
        raise ConfigError(f"no way with disagreements is called '{disagreements}'; {meant}")
    said = defaultdict[tuple[int, int], list[int]](list)
    for answer in standing:
        if answer.state in _LABELS:
            said[answer.row, answer.column].append(_LABELS[answer.state])
    labels, disputed = np.array(given, np.int8), np.zeros(given.shape, bool)
    for cell, answers in said.items():
        disputed[cell] = len(set(answers)) > 1
        labels[cell] = _decided(answers, disagreements) if disputed[cell] else answers[0]
    return labels, disputed


def _decided(answers: list[int], disagreements: str) -> int:
    """What becomes of answers that are PRESENT and ABSENT, the newest last."""
    if disagreements == "newest":
        return answers[-1]
    # PRESENT is 1 and ABSENT -1, so the sign of their sum is what more people say, and 0, a tie, is UNKNOWN.
    return int(np.sign(sum(answers))) if disagreements == "majority" else states.UNKNOWN
