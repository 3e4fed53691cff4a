"""What an image encoder returns, whatever its form, and the resizing of positional tables both forms share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ImageFeatures:
    """Frozen features of B images: all a head needs, so that images are encoded once and heads run many times."""

    grid: Tensor
    """(B, P, D) visual features before projection: what attention looks at."""
    joint: Tensor
    """(B, P, E) the same positions in CLIP's joint space: what attention pools."""
    pooled: Tensor
    """(B, E) CLIP's own pooled image vector."""
    attention: Tensor
    """(B, P) the share of CLIP's own pooling attention on each position, averaged over heads; sums to at most 1."""

    def map(self, function: Callable[[Tensor], Tensor]) -> ImageFeatures:
        """The features with `function` applied to each tensor."""
        return ImageFeatures(*map(function, vars(self).values()))


def are_finite(described: Iterable[Tensor]) -> Tensor:
    """(B,) bool: whether all that tensors of B rows say of an image is finite; a sum is, as long as its terms are."""
    sums = [tensor.flatten(1).sum(dim=1).float() for tensor in described]
    return torch.stack(sums).isfinite().all(dim=0)


def resize_positions(table: Tensor, grid: torch.Size | tuple[int, int]) -> Tensor:
    """Positional table (1+P₀, D) of a square grid → (1+P, D) of an H×W grid, bicubic; the first row is kept."""
    side = int((table.shape[0] - 1) ** 0.5)
    if tuple(grid) == (side, side):
        return table
    square = table[1:].T.reshape(1, -1, side, side).float()
    resized = F.interpolate(square, size=tuple(grid), mode="bicubic", align_corners=False)
    return torch.cat([table[:1], resized.flatten(2)[0].T.to(table.dtype)])
