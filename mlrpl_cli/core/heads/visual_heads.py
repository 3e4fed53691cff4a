"""Visual heads give each class its own feature out of the frozen ones (method.md, parts 2 and 5).

CLIP's pooled vector, semantic attention, or semantic decoupling.
Axes: B images, C classes, P grid positions, S semantic size, E joint embedding.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.heads.class_semantics import guiding_vectors, template_features
from mlrpl_cli.core.heads.semantic_decoupling import SemanticDecoupling, pool

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
    visual_head: Any
    """The class of the method's visual head; None where the recognizer looks at the regions itself."""


class VisualHead(nn.Module):
    """Gives each class its visual feature (B, C, E) and says where it looked (B, C, P).

    A class that is guided has `guidance`, a function from `TextInputs` to the semantic vectors (C, S) of a new head.
    """

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.classes = blueprint.classes


class PooledHead(VisualHead):
    """CLIP's own pooled vector for every class, with CLIP's own attention."""

    def forward(self, features: ImageFeatures) -> tuple[Tensor, Tensor]:
        shared, attention = features.pooled[:, None], features.attention[:, None]
        return shared.expand(-1, self.classes, -1), attention.expand(-1, self.classes, -1)


class SemanticHead(VisualHead):
    """Semantic attention fusion: a_bcp = softmax_p( cos(g_bp, x_c) / τ ), nothing learned in it (method.md, `sa`)."""

    semantics: Tensor
    # Compared with the grid itself, so that they have to live in the joint space.
    guidance = staticmethod(template_features)

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__(blueprint)
        self.register_buffer("semantics", blueprint.semantics)

    def attend(self, features: ImageFeatures) -> Tensor:
        return (region_cosines(features, self.semantics) / SEMANTIC_TEMPERATURE).softmax(dim=-1)

    def forward(self, features: ImageFeatures) -> tuple[Tensor, Tensor]:
        attention = self.attend(features)
        return pool(attention, features.joint), attention


class DecoupledHead(SemanticHead):
    """Semantic decoupling: each class pools the joint-space grid with its own learned attention."""

    guidance = staticmethod(guiding_vectors)

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__(blueprint)
        self.decoupling = SemanticDecoupling(blueprint.channels, blueprint.semantics.shape[1], blueprint.width)

    def attend(self, features: ImageFeatures) -> Tensor:
        return self.decoupling(features.grid, self.semantics)


def region_cosines(features: ImageFeatures, vectors: Tensor) -> Tensor:
    """cos(g_bp, x_c) of the joint-space grid and vectors (C, E) → (B, C, P) float32."""
    regions, directions = (F.normalize(of.float(), dim=-1) for of in (features.joint, vectors))
    return torch.einsum("bpe,ce->bcp", regions, directions)
