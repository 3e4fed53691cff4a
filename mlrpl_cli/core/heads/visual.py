"""The visual heads of a recognizer: how each class gets its own visual feature out of the frozen features.

Axes: B images, C classes, P grid positions, E joint embedding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.heads.attention import SemanticDecoupling, pool

SEMANTIC_TEMPERATURE = 0.05


class VisualHead(nn.Module):
    """Gives each class its visual feature (B, C, E) and says where it looked (B, C, P)."""

    def forward(self, features: ImageFeatures, classes: int) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def calibrate(self, features: ImageFeatures) -> None:
        """Fit scales to a sample of training features, before training starts."""


class PooledHead(VisualHead):
    """CLIP's own pooled vector for every class, with CLIP's own attention."""

    def forward(self, features: ImageFeatures, classes: int) -> tuple[Tensor, Tensor]:
        batch = len(features.pooled)
        shared = features.pooled[:, None].expand(batch, classes, -1)
        return shared, features.attention[:, None].expand(batch, classes, -1)


class DecoupledHead(VisualHead):
    """Semantic decoupling: each class pools the joint-space grid with its own attention."""

    semantics: Tensor

    def __init__(self, decoupling: SemanticDecoupling, semantics: Tensor) -> None:
        super().__init__()
        self.decoupling = decoupling
        self.register_buffer("semantics", semantics)

    def forward(self, features: ImageFeatures, classes: int) -> tuple[Tensor, Tensor]:
        attention = self.decoupling(features.grid, self.semantics)
        return pool(attention, features.joint), attention

    def calibrate(self, features: ImageFeatures) -> None:
        self.decoupling.fit_scale(features.grid)


class SemanticHead(VisualHead):
    """Semantic attention fusion: a_bcp = softmax_p( cos(g_bp, x_c) / τ ), nothing learned in it (method.md, `sa`)."""

    semantics: Tensor

    def __init__(self, semantics: Tensor) -> None:
        """Semantic vectors (C, E) in the joint space, such as the frozen text features."""
        super().__init__()
        self.register_buffer("semantics", semantics)

    def forward(self, features: ImageFeatures, classes: int) -> tuple[Tensor, Tensor]:
        attention = (region_cosines(features, self.semantics) / SEMANTIC_TEMPERATURE).softmax(dim=-1)
        return pool(attention, features.joint), attention


def region_cosines(features: ImageFeatures, vectors: Tensor) -> Tensor:
    """cos(g_bp, x_c) of the joint-space grid and vectors (C, E) → (B, C, P) float32."""
    regions, directions = F.normalize(features.joint.float(), dim=-1), F.normalize(vectors.float(), dim=-1)
    return torch.einsum("bpe,ce->bcp", regions, directions)
