"""What is drawn: which cells stay known, by the field's published protocol, and which images a split takes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.labels.states import UNKNOWN


def known_mask(rows: int, classes: int, keep: float, seed: int = 0) -> np.ndarray:
    """The cells that stay known, each kept independently with probability `keep`, present and absent alike.

    Rows are the training images, validation included, in the publisher's order; columns are the classes in theirs.
    Masks of one size and seed are nested: the cells known at 10% are known at 20% too.

    Returns (rows, classes) bool. Raises ConfigError for what `mask_problem` finds.
    """
    if problem := mask_problem(keep, seed):
        raise ConfigError(problem)
    # RandomState, not a Generator: the published label files were drawn from exactly this stream.
    return np.random.RandomState(seed).random_sample((rows, classes)) < keep


def drawn_rows(count: int, fraction: float, seed: int | list[int]) -> set[int]:
    """A seeded `fraction` of `count` rows: at least one is drawn and at least one is not, as far as there are two."""
    share = min(max(1, round(fraction * count)), max(count - 1, 0))
    return set(np.random.RandomState(seed).permutation(count)[:share].tolist())


def mask_problem(keep: float, seed: int, flag: str = "--keep") -> str | None:
    """The sentence that says why no mask can be drawn: `keep` outside (0, 1] or `seed` outside [0, 2^32).

    `flag` is the one that takes the proportion.
    """
    if not 0 < keep <= 1:
        return f"the keep proportion must be above 0 and at most 1, not {keep:g}; for 30% type {flag} 0.3"
    if not 0 <= seed < 2**32:
        return f"the seed must be from 0 to {2**32 - 1}, not {seed}"
    return None


def observe(labels: np.ndarray, splits: Sequence[str], keep: float, seed: int) -> tuple[np.ndarray, str]:
    """What training may see of `labels` (N, C), test rows whole and the others behind a mask; and the mask's checksum.

    Cells that were unknown stay so. Returns a new (N, C) int8 and what `mask_sha256` says; raises as `known_mask` does.
    """
    learning = np.array(splits) != TEST
    mask = known_mask(int(learning.sum()), labels.shape[1], keep, seed)
    observed = labels.copy()
    observed[learning] = np.where(mask, labels[learning], UNKNOWN)
    return observed, mask_sha256(mask)


def mask_sha256(mask: np.ndarray) -> str:
    """Hexadecimal SHA-256 of the (N, C) mask as one byte a cell, 1 known and 0 hidden, row after row."""
    return hashlib.sha256(np.ascontiguousarray(mask, dtype=np.uint8).tobytes()).hexdigest()
