"""Semantic decoupling: each class attends over the feature map, guided by its semantic vector (method.md, part 2).

Axes: B images, P grid positions, D channels, C classes, S semantic size, K attention width, E joint embedding.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CACHED_NUMBERS = 2**20
"""float32 numbers of a chunk of regions: 4 MiB, of which two at a time are in use."""


class SemanticDecoupling(nn.Module):
    """a_c = softmax_p( v · tanh((U f_p) ⊙ (V x_c)) ), low-rank bilinear attention (Ruan et al. 2024, after SSGRL).

    The published form has an output matrix P, a vector w and two biases; P and w are both linear with nothing between
    them, so they are one vector v, and a constant added to every position cancels in the softmax.
    """

    def __init__(self, channels: int, semantic_size: int, width: int) -> None:
        super().__init__()
        self.image_projection = nn.Linear(channels, width, bias=False)
        self.semantic_projection = nn.Linear(semantic_size, width, bias=False)
        self.score = nn.Parameter(torch.empty(width))

    def initialize(self, generator: torch.Generator) -> None:
        """Draw U, V and v so that a unit-variance grid and unit-length semantics give products of order 1."""
        channels, width = self.image_projection.in_features, len(self.score)
        nn.init.normal_(self.image_projection.weight, std=channels**-0.5, generator=generator)
        nn.init.normal_(self.semantic_projection.weight, std=1.0, generator=generator)
        nn.init.normal_(self.score, std=width**-0.5, generator=generator)

    @torch.no_grad()
    def calibrate(self, grid: Tensor) -> None:
        """Rescale U so that U f has unit variance over `grid` (B, P, D): backbones differ by orders of magnitude."""
        spread = self.project(grid).std()
        if torch.isfinite(spread) and spread > 0:
            self.image_projection.weight.div_(spread)

    def project(self, grid: Tensor) -> Tensor:
        """U f: (B, P, D) → (B, P, K), multiplied in the precision of the grid, which is the encoder's."""
        return F.linear(grid, self.image_projection.weight.to(grid.dtype)).to(self.score.dtype)

    def forward(self, grid: Tensor, semantics: Tensor) -> Tensor:
        """Grid (B, P, D) and semantic vectors (C, S) → attention (B, C, P), each row summing to 1 over P."""
        scores = bilinear_scores(self.project(grid), self.semantic_projection(semantics), self.score)
        return scores.float().softmax(dim=1).transpose(1, 2)


def bilinear_scores(image: Tensor, semantics: Tensor, score: Tensor) -> Tensor:
    """ã_bpc = Σ_k v_k tanh(image_bpk · semantics_ck): (B, P, K), (C, K), (K,) → (B, P, C).

    The product tensor (B, P, C, K) never exists: forward and backward go class by class over a few regions at a time.
    """
    return _BilinearScores.apply(image, semantics.to(image.dtype), score.to(image.dtype))


def pool(attention: Tensor, grid: Tensor) -> Tensor:
    """f_bc = Σ_p a_bcp grid_bp: attention (B, C, P) over a grid (B, P, X) → (B, C, X), in the wider dtype of the two.

    CLIP's projections are affine and attention sums to 1, so pooling the projected grid is projecting the pooled one.
    """
    dtype = torch.promote_types(attention.dtype, grid.dtype)
    return torch.einsum("bcp,bpx->bcx", attention.to(dtype), grid.to(dtype))


class _BilinearScores(torch.autograd.Function):
    """With tanh z = 2σ(2z) - 1 and its derivative 4σ(1-σ): PyTorch's sigmoid is several times faster on a CPU.

    Regions are taken in chunks that stay in the processor's cache while every class passes over them.
    """

    @staticmethod
    def forward(ctx: Any, image: Tensor, semantics: Tensor, score: Tensor) -> Tensor:
        ctx.save_for_backward(image, semantics, score)
        regions = image.flatten(0, 1)  # (B P, K)
        scores = image.new_empty(len(semantics), len(regions))
        doubled = 2 * semantics
        for chunk in _chunks(regions):
            part = regions[chunk]
            sigmoid = torch.empty_like(part)
            for c, row in enumerate(doubled):
                torch.mv(torch.mul(part, row, out=sigmoid).sigmoid_(), score, out=scores[c, chunk])
        return scores.mul_(2).sub_(score.sum()).T.unflatten(0, image.shape[:2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        image, semantics, score = ctx.saved_tensors
        regions, upstream = image.flatten(0, 1), gradient.flatten(0, 1).T.contiguous()  # (C, B P)
        d_regions, d_semantics = torch.zeros_like(regions), torch.zeros_like(semantics)
        d_score = -upstream.sum() / 2 * torch.ones_like(score)
        doubled = 2 * semantics
        scaled = doubled * score
        for chunk in _chunks(regions):
            part, d_part = regions[chunk], d_regions[chunk]
            buffer = torch.empty_like(part)
            for c, row in enumerate(doubled):
                up = upstream[c, chunk]
                sigmoid = torch.mul(part, row, out=buffer).sigmoid_()
                d_score += up @ sigmoid
                # up · σ(1-σ), in the place of σ
                slope = torch.ops.aten.sigmoid_backward.grad_input(
                    up[:, None].expand_as(part), sigmoid, grad_input=buffer
                )
                d_part.addcmul_(slope, scaled[c])
                d_semantics[c] += slope.mul_(part).sum(0)
        return d_regions.mul_(2).view_as(image), d_semantics * (4 * score), d_score * 2


def _chunks(regions: Tensor) -> list[slice]:
    """Slices of the rows (B P, K) whose numbers fit a processor's cache together; one of all on other devices."""
    rows = max(CACHED_NUMBERS // regions.shape[1], 1) if regions.device.type == "cpu" else max(len(regions), 1)
    return [slice(start, start + rows) for start in range(0, len(regions), rows)]
