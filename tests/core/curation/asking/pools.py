"""Small pools to ask of, and the slow forms that quick ones are held to."""

from __future__ import annotations

import numpy as np

from mlrpl_cli.core.curation.asking.pool import Pool
from mlrpl_cli.core.heads.fitted.map_estimate import OF_BIAS, OF_TRUST


def pool(images: int = 30, classes: int = 4, channels: int = 6, known: float = 0.3, seed: int = 0) -> Pool:
    random = np.random.default_rng(seed)
    labels = random.choice([-1, 1], (images, classes)) * (random.random((images, classes)) < known)
    content = random.standard_normal((images, channels)).astype(np.float32)
    scores = random.standard_normal((images, classes, 2)).astype(np.float32)
    p = random.uniform(0.01, 0.99, (images, classes))
    return Pool(labels.astype(np.int8), labels == 0, p, scores, content, 0.3)


def variance(of: Pool, row: int, column: int, answered: set[tuple[int, int]]) -> float:
    """xᵀ (I + Σ v x xᵀ)⁻¹ x over known and answered cells of the class, written out."""

    def features(of_row: int) -> np.ndarray:
        scores, content = of.scores[of_row, column].astype(float), of.content[of_row].astype(float)
        return np.concatenate([content / of.precision**0.5, scores / OF_TRUST**0.5, [OF_BIAS**-0.5]])

    x = features(row)
    precision = np.eye(len(x))
    for other in range(len(of.labels)):
        if of.labels[other, column] or (other, column) in answered:
            p, y = of.probabilities[other, column], features(other)
            precision += p * (1 - p) * np.outer(y, y)
    return float(x @ np.linalg.inv(precision) @ x)


def information(of: Pool, row: int, column: int, answered: set[tuple[int, int]]) -> float:
    p = of.probabilities[row, column]
    return float(0.5 * np.log(1 + p * (1 - p) * variance(of, row, column, answered)))
