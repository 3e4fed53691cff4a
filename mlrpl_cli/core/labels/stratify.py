"""A split that gives each class its share: for one table that does not grow.

K. Sechidis, G. Tsoumakas, I. Vlahavas: On the Stratification of Multi-Label Data, ECML PKDD 2011, algorithm 1, with two
subsets, what is set aside and what is left. Units (groups of images, or single ones) take the place of examples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlrpl_cli.core.labels.splits import Choice, Unit, place


def stratified(present: np.ndarray) -> Choice:
    """A choice for `splits.divide` by the known present cells (N, C) bool of the N images.

    The rarest class is served first, by the subset that lacks most of it, then by the one that lacks most images; ties
    are broken by `place`, so the order of the rows does not matter, but which rows there are does.
    """

    def choose(purpose: str, seed: int, units: Sequence[Unit], fraction: float) -> set[Unit]:
        if not fraction or not units:
            return set()
        ordered = sorted(units, key=lambda unit: (place(purpose, seed, unit.key), unit.key))
        counts = np.array([present[list(unit.rows)].sum(axis=0) for unit in ordered], np.int64)
        sizes = np.array([len(unit.rows) for unit in ordered])
        even = [place(f"{purpose} tie", seed, unit.key) < fraction for unit in ordered]
        taken = _taken(counts, sizes, fraction, even)
        return {ordered[position] for position in np.flatnonzero(taken)}

    return choose


def _taken(counts: np.ndarray, sizes: np.ndarray, fraction: float, even: Sequence[bool]) -> np.ndarray:
    """(U,) bool, of U units with `counts` (U, C) of present cells and `sizes` (U,): those that are set aside."""
    shares = np.array([1 - fraction, fraction])
    wanted, images = shares[:, None] * counts.sum(axis=0), shares * sizes.sum()  # (2, C), (2,): what is still lacking
    taken, waiting = np.zeros(len(counts), bool), np.ones(len(counts), bool)
    left = (counts > 0).sum(axis=0)  # (C,) waiting units with each class
    while waiting.any():
        column = int(np.where(left > 0, left, len(counts) + 1).argmin()) if left.any() else None
        rows = np.flatnonzero(waiting if column is None else waiting & (counts[:, column] > 0))
        for row in rows.tolist():
            lacking = ([] if column is None else [wanted[:, column]]) + [images]
            differing = next((pair for pair in lacking if pair[0] != pair[1]), None)
            side = int(even[row] if differing is None else differing[1] > differing[0])
            wanted[side] -= counts[row]
            images[side] -= sizes[row]
            left -= counts[row] > 0
            taken[row], waiting[row] = bool(side), False
    return taken
