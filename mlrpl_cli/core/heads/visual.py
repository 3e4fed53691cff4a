"""The visual heads of a recognizer: how each class gets its own visual feature out of the frozen features.

Axes: B images, C classes, P grid positions, S semantic size, E joint embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.heads.attention import SemanticDecoupling, pool
from mlrpl_cli.core.heads.semantics import guiding_vectors
from mlrpl_cli.core.heads.text import TextInputs, template_features

SEMANTIC_TEMPERATURE = 0.05


@dataclass(frozen=True)
class Blueprint:
    """What a recognizer is made from, alike for a new one and for one of a checkpoint."""

    classes: int
    channels: int
    """D of the feature map."""
    embed_dim: int
    width: int
    """K of the attention."""
    semantics: Tensor
    """(C, S) what guides the attention; empty for visual heads without guidance."""


class VisualHead(nn.Module):
    """Gives each class its visual feature (B, C, E) and says where it looked (B, C, P)."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.classes = blueprint.classes

    @staticmethod
    def guidance(inputs: TextInputs) -> Tensor:
        """The semantic vectors (C, S) of a new head's blueprint; (0, 0) for a head without guidance."""
        return torch.empty(0, 0)


class PooledHead(VisualHead):
    """CLIP's own pooled vector for every class, with CLIP's own attention."""

    def forward(self, features: ImageFeatures) -> tuple[Tensor, Tensor]:
        shared, attention = features.pooled[:, None], features.attention[:, None]
        return shared.expand(-1, self.classes, -1), attention.expand(-1, self.classes, -1)


class DecoupledHead(VisualHead):
    """Semantic decoupling: each class pools the joint-space grid with its own attention."""

    semantics: Tensor
    guidance = staticmethod(guiding_vectors)

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__(blueprint)
        self.decoupling = SemanticDecoupling(blueprint.channels, blueprint.semantics.shape[1], blueprint.width)
        self.register_buffer("semantics", blueprint.semantics)

    def forward(self, features: ImageFeatures) -> tuple[Tensor, Tensor]:
        attention = self.decoupling(features.grid, self.semantics)
        return pool(attention, features.joint), attention


class SemanticHead(VisualHead):
    """Semantic attention fusion: a_bcp = softmax_p( cos(g_bp, x_c) / τ ), nothing learned in it (method.md, `sa`)."""

    semantics: Tensor
    # Compared with the grid itself, so that they have to live in the joint space.
    guidance = staticmethod(template_features)

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__(blueprint)
        self.register_buffer("semantics", blueprint.semantics)

    def forward(self, features: ImageFeatures) -> tuple[Tensor, Tensor]:
        attention = (region_cosines(features, self.semantics) / SEMANTIC_TEMPERATURE).softmax(dim=-1)
        return pool(attention, features.joint), attention


def region_cosines(features: ImageFeatures, vectors: Tensor) -> Tensor:
    """cos(g_bp, x_c) of the joint-space grid and vectors (C, E) → (B, C, P) float32."""
    regions, directions = (F.normalize(of.float(), dim=-1) for of in (features.joint, vectors))
    return torch.einsum("bpe,ce->bcp", regions, directions)
