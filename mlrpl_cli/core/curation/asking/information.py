"""What an answer is expected to tell a classifier of its class, given what is known and what is asked already.

    w_bc = ½ ln(1 + p_bc (1 - p_bc) σ²_bc),   σ²_bc = x_bcᵀ Σ_c x_bc,   Σ_c⁻¹ = I + Σ_b∈known p_bc (1 - p_bc) x_bc x_bcᵀ

is the information in nats that the answer has of the weights of class c (D-optimal design; Houlsby et al. 2011 for its
meaning as disagreement of probable classifiers), in the Laplace approximation of the posterior of `anchored`. It is
large where the answer is open, and where little is known of the class in such an image: σ is the deviation of the
cell's logit. So classes with few known cells count more, and a cell that is asked takes from the worth of its likes,
near copies of its image above all. x_bc = (φ_b / √λ, s_bc / √κ, 1 / √ρ): content on its main axes, scores and a
constant, in units of their priors. Axes: N images, C classes, R features.
"""

from __future__ import annotations

import numpy as np

from mlrpl_cli.core.curation.asking.choosing import Worth
from mlrpl_cli.core.curation.asking.pool import Pool
from mlrpl_cli.core.heads.fitted.map_estimate import OF_BIAS, OF_TRUST
from mlrpl_cli.core.labels.states import UNKNOWN

AXES = 96
"""Of content, the most that are looked along: those with the largest variance."""


class Information(Worth):
    """In nats; grows smaller with what is expected."""

    def __init__(self, pool: Pool, generator: np.random.Generator | None = None) -> None:
        self.pool = pool
        self.content = _main_axes(pool.content) / np.sqrt(pool.precision)
        self.covariance = np.stack([self._posterior(column) for column in range(pool.labels.shape[1])])

    def of_all(self) -> np.ndarray:
        return 0.5 * np.log1p(self.pool.doubt * self.deviations() ** 2)

    def of(self, row: int, columns: np.ndarray) -> np.ndarray:
        return 0.5 * np.log1p(self.pool.doubt[row, columns] * self._variances(row, columns))

    def expect(self, row: int, columns: np.ndarray) -> None:
        """Σ - v Σx xᵀΣ / (1 + v xᵀΣx) for each class, v = p (1 - p)."""
        x, doubt = self._features(row, columns), self.pool.doubt[row, columns]
        moved = self._moved(x, columns)
        shares = doubt / (1 + doubt * (moved * x).sum(axis=1))
        for column, share, direction in zip(columns, shares, moved, strict=True):
            self.covariance[column] -= np.outer(share * direction, direction)

    def deviations(self) -> np.ndarray:
        """(N, C) σ of each cell's logit."""
        found = np.empty(self.pool.labels.shape)
        for column, covariance in enumerate(self.covariance):
            x = self._of_class(column)
            found[:, column] = np.einsum("nr,nr->n", x @ covariance, x)
        return np.sqrt(np.maximum(found, 0))

    def deviation(self, row: int, columns: np.ndarray) -> np.ndarray:
        """(k,) σ of some cells of an image, after what is expected."""
        return np.sqrt(self._variances(row, columns))

    def _variances(self, row: int, columns: np.ndarray) -> np.ndarray:
        x = self._features(row, columns)
        return np.maximum((self._moved(x, columns) * x).sum(axis=1), 0)

    def _moved(self, x: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(k, R) Σ_c x_c, class by class: a product of all would copy their posteriors."""
        return np.stack([self.covariance[column] @ of for column, of in zip(columns, x, strict=True)])

    def _features(self, row: int, columns: np.ndarray) -> np.ndarray:
        """(k, R)"""
        scores = self.pool.scores[row, columns] / np.sqrt(OF_TRUST)
        content = np.broadcast_to(self.content[row], (len(columns), self.content.shape[1]))
        return np.concatenate([content, scores, np.full((len(columns), 1), OF_BIAS**-0.5)], axis=1)

    def _of_class(self, column: int) -> np.ndarray:
        """(N, R)"""
        scores = self.pool.scores[:, column] / np.sqrt(OF_TRUST)
        return np.concatenate([self.content, scores, np.full((len(scores), 1), OF_BIAS**-0.5)], axis=1)

    def _posterior(self, column: int) -> np.ndarray:
        """(R, R) Σ of a class by its known cells."""
        known = self.pool.labels[:, column] != UNKNOWN
        x = self._of_class(column)[known]
        return np.linalg.inv(np.eye(x.shape[1]) + (x * self.pool.doubt[known, column, None]).T @ x)


def _main_axes(content: np.ndarray) -> np.ndarray:
    """(N, D) → (N, up to AXES) float64 along the axes of most variance."""
    exact = content.astype(float)
    axes = np.linalg.eigh(exact.T @ exact)[1][:, ::-1]  # ascending
    return exact @ axes[:, :AXES]
