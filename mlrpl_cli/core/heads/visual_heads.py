"""Visual heads give each class its own feature out of the frozen ones (method.md, parts 2 and 5).

CLIP's pooled vector, semantic attention, or semantic decoupling.
Axes: B images, C classes, P grid positions, D channels, S semantic size, K attention width, E joint embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.heads.semantic_decoupling import SemanticDecoupling, pool

SEMANTIC_TEMPERATURE = 0.05

State = Mapping[str, Tensor]
"""Tensors of a trained recognizer by name."""
AHead = TypeVar("AHead", bound="DecoupledHead")


class VisualHead(nn.Module):
    """Gives each class its visual feature (B, C, E) and says where it looked (B, C, P)."""


class PooledHead(VisualHead):
    """CLIP's own pooled vector for every class, with CLIP's own attention."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, features: ImageFeatures) -> tuple[Tensor, Tensor]:
        shared, attention = features.pooled[:, None], features.attention[:, None]
        return shared.expand(-1, self.classes, -1), attention.expand(-1, self.classes, -1)


class AttendingHead(VisualHead):
    """Each class pools the joint-space grid with an attention of its own, which `attend` gives."""

    semantics: Tensor
    """(C, S) what guides the attention."""

    def __init__(self, semantics: Tensor) -> None:
        super().__init__()
        self.register_buffer("semantics", semantics)

    def attend(self, features: ImageFeatures) -> Tensor:
        """(B, C, P), each row summing to 1 over P."""
        raise NotImplementedError

    def forward(self, features: ImageFeatures) -> tuple[Tensor, Tensor]:
        attention = self.attend(features)
        return pool(attention, features.joint), attention


class SemanticHead(AttendingHead):
    """Semantic attention fusion: a_bcp = softmax_p( cos(g_bp, x_c) / τ ), nothing learned in it (method.md, `sa`).

    The semantics are compared with the grid itself, so they live in the joint space: S is E.
    """

    def __init__(self, semantics: Tensor, temperature: float = SEMANTIC_TEMPERATURE) -> None:
        super().__init__(semantics)
        self.temperature = temperature

    def attend(self, features: ImageFeatures) -> Tensor:
        return (region_cosines(features, self.semantics) / self.temperature).softmax(dim=-1)


class DecoupledHead(AttendingHead):
    """Semantic decoupling: the attention is learned, of K `width` over feature maps of D `channels`.

    With `even` it starts as the mean over positions.
    """

    def __init__(self, semantics: Tensor, channels: int, width: int, even: bool = False) -> None:
        super().__init__(semantics)
        self.decoupling = SemanticDecoupling(channels, semantics.shape[1], width, even)

    @classmethod
    def like(cls: type[AHead], state: State, prefix: str, *more: Any) -> AHead:
        """One of the sizes of the tensors that `state` has below `prefix`; `more` is what a subclass takes besides.

        Raises KeyError for a state without them.
        """
        width, channels = state[f"{prefix}decoupling.image_projection.weight"].shape
        return cls(state[f"{prefix}semantics"], channels, width, *more)

    def attend(self, features: ImageFeatures) -> Tensor:
        return self.decoupling(features.grid, self.semantics)


def region_cosines(features: ImageFeatures, vectors: Tensor) -> Tensor:
    """cos(g_bp, x_c) of the joint-space grid and vectors (C, E) → (B, C, P) float32."""
    regions, directions = (F.normalize(of.float(), dim=-1) for of in (features.joint, vectors))
    return torch.einsum("bpe,ce->bcp", regions, directions)
