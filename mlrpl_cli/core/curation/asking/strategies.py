"""Simple orders to ask in: an answer is worth the same whatever else is asked. Axes: N images, C classes, U units."""

from __future__ import annotations

import numpy as np

from mlrpl_cli.core.curation.asking.choosing import Units, Worth
from mlrpl_cli.core.curation.asking.pool import Pool


class Table(Worth):
    """A worth of each cell."""

    def __init__(self, worths: np.ndarray) -> None:
        self.worths = worths

    def of_all(self) -> np.ndarray:
        return self.worths

    def of(self, row: int, columns: np.ndarray) -> np.ndarray:
        return self.worths[row, columns]

    def expect(self, row: int, columns: np.ndarray) -> None:
        """Changes nothing."""


class Random(Table):
    """All orders alike, of images too, however many cells of them are open."""

    def __init__(self, pool: Pool, generator: np.random.Generator) -> None:
        super().__init__(generator.random(pool.may_ask.shape))

    def first(self, units: Units) -> np.ndarray:
        return self.worths[units.rows, units.column] if units.column is not None else self.worths[units.rows, 0]

    def now(self, units: Units, unit: int) -> float:
        return float(self.worths[units.rows[unit], 0 if units.column is None else units.column[unit]])


class Uncertainty(Table):
    """1 - |2p - 1| in [0, 1]: how near a probability is to one half."""

    def __init__(self, pool: Pool, generator: np.random.Generator) -> None:
        super().__init__(1 - np.abs(2 * pool.probabilities - 1))


class Balanced(Table):
    """4 p (1 - p) / √(1 + n_c) in [0, 1], n_c the known present cells of the class: doubt counts more in rare ones."""

    def __init__(self, pool: Pool, generator: np.random.Generator) -> None:
        super().__init__(4 * pool.doubt / np.sqrt(1 + pool.present))
