"""Which classes of an image are told, and in what order. Axes: C classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlrpl_cli.core.prediction.predictor import Predictor

TOP_K = 3
"""How many classes are told where nothing else is asked for."""


@dataclass(frozen=True)
class Selection:
    """Classes that are asked for; with both limits a class must pass both."""

    classes: tuple[str, ...]
    """The run's C classes."""
    columns: Sequence[int]
    """Those that may be told."""
    top_k: int | None
    threshold: float | None

    @classmethod
    def make(
        cls, predictor: Predictor, classes: Sequence[str] | None, top_k: int | None, threshold: float | None
    ) -> Selection:
        """The named `classes`, or all; the TOP_K most probable where nothing at all is asked for.

        Raises ConfigError for a class that the run does not know.
        """
        columns = [predictor.class_index(name) for name in classes or ()]
        if top_k is None and threshold is None and classes is None:
            top_k = TOP_K
        return cls(predictor.classes, columns or range(len(predictor.classes)), top_k, threshold)

    def of(self, probabilities: np.ndarray) -> list[tuple[str, float]]:
        """(class, probability), most probable first, of an image's probabilities (C,)."""
        scores = sorted(((self.classes[c], float(probabilities[c])) for c in self.columns), key=lambda pair: -pair[1])
        return [pair for pair in scores if self.threshold is None or pair[1] > self.threshold][: self.top_k]
