"""Semantic decoupling: each class attends over the feature map, guided by its semantic vector (method.md, part 2).

Axes: B images, P grid positions, D channels, C classes, S semantic size, K attention width, E joint embedding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlrpl_cli.core.heads.bilinear import bilinear_scores


class SemanticDecoupling(nn.Module):
    """a_c = softmax_p( v · tanh((U f_p) ⊙ (V x_c)) ), low-rank bilinear attention (Ruan et al. 2024, after SSGRL).

    The published form has an output matrix P, a vector w and two biases; P and w are both linear with nothing between
    them, so they are one vector v, and a constant added to every position cancels in the softmax.
    """

    def __init__(self, channels: int, semantic_size: int, width: int, even: bool = False) -> None:
        """With `even`, v starts at 0: every class looks everywhere alike until it has learned better."""
        super().__init__()
        self.even = even
        self.image_projection = nn.Linear(channels, width, bias=False)
        self.semantic_projection = nn.Linear(semantic_size, width, bias=False)
        self.score = nn.Parameter(torch.empty(width))

    def initialize(self, generator: torch.Generator) -> None:
        """Draw U, V and v so that a unit-variance grid and unit-length semantics give products of order 1."""
        nn.init.normal_(self.image_projection.weight, std=self.image_projection.in_features**-0.5, generator=generator)
        nn.init.normal_(self.semantic_projection.weight, std=1.0, generator=generator)
        nn.init.normal_(self.score, std=len(self.score) ** -0.5, generator=generator)
        if self.even:
            nn.init.zeros_(self.score)

    @torch.no_grad()
    def fit_scale(self, grid: Tensor) -> None:
        """Rescale U so that U f has unit variance over `grid` (B, P, D): backbones differ by orders of magnitude."""
        spread = self.project(grid).std()
        if torch.isfinite(spread) and spread > 0:
            self.image_projection.weight.div_(spread)

    def project(self, grid: Tensor) -> Tensor:
        """U f: (B, P, D) → (B, P, K), multiplied in the precision of the grid, which is the encoder's."""
        return F.linear(grid, self.image_projection.weight.to(grid.dtype)).to(self.score.dtype)

    def scores(self, grid: Tensor, semantics: Tensor) -> Tensor:
        """v · tanh((U f_p) ⊙ (V x_c)) of a grid (B, P, D) and semantic vectors (C, S) → (B, P, C) float32."""
        return bilinear_scores(self.project(grid), self.semantic_projection(semantics), self.score).float()

    def forward(self, grid: Tensor, semantics: Tensor) -> Tensor:
        """Grid (B, P, D) and semantic vectors (C, S) → attention (B, C, P), each row summing to 1 over P."""
        return self.scores(grid, semantics).softmax(dim=1).transpose(1, 2)


def pool(attention: Tensor, grid: Tensor) -> Tensor:
    """f_bc = Σ_p a_bcp grid_bp: attention (B, C, P) over a grid (B, P, X) → (B, C, X), in the wider dtype of the two.

    CLIP's projections are affine and attention sums to 1, so pooling the projected grid is projecting the pooled one.
    """
    dtype = torch.promote_types(attention.dtype, grid.dtype)
    return torch.einsum("bcp,bpx->bcx", attention.to(dtype), grid.to(dtype))
