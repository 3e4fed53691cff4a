"""EfficientNet-Lite (Tan & Le 2019, arXiv:1905.11946; Lite: no squeeze-and-excitation, ReLU6 for swish), as a tower.

Axes: B images, H·W = P grid positions, D channels, L labels of ImageNet, E joint embedding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlrpl_cli.core.backbones.backbone import ImageTower
from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.backbones.filling import fold_batch_norms

STRIDE, STEM, CHANNELS, LABELS, EPSILON = 32, 32, 1280, 1000, 1e-3
STAGES = (  # blocks, kernel, stride, expansion, channels of EfficientNet-B0
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


@dataclass(frozen=True)
class Form:
    """How much wider and deeper than B0 a network is; the stem, the head and the depth of both end stages stay."""

    width: float
    depth: float

    def channels(self, of: int) -> int:
        """`of` times the width, rounded to a multiple of 8 but not down by more than 10%."""
        rounded = max(8, int(of * self.width + 4) // 8 * 8)
        return rounded if rounded >= 0.9 * of * self.width else rounded + 8

    def blocks(self, stage: int) -> int:
        repeats = STAGES[stage][0]
        return repeats if stage in (0, len(STAGES) - 1) else math.ceil(repeats * self.depth)


LITE2 = Form(1.1, 1.2)


class Convolution(nn.Sequential):
    """A convolution padded as TensorFlow's "same", batch norm, and ReLU6 unless `linear`."""

    def __init__(
        self, channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        # Of an even side, stride 2 takes k - 2 more pixels, the odd one behind; stride 1 takes k - 1.
        before, both = (kernel - stride) // 2, kernel - stride
        even = before * 2 == both
        convolution = nn.Conv2d(channels, out, kernel, stride, before if even else 0, groups=groups, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(out, EPSILON), nn.Identity() if linear else nn.ReLU6(inplace=True))
        self.padding = None if even else (before, both - before) * 2

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self.padding is None else F.pad(x, self.padding))


class Block(nn.Module):
    """1×1 to more channels, a depthwise convolution, 1×1 to fewer; the input is added where the shape is the same."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.expand = Convolution(channels, wide) if expansion > 1 else None
        self.depthwise = Convolution(wide, wide, kernel, stride, groups=wide)
        self.project = Convolution(wide, out, linear=True)
        self.residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(x if self.expand is None else self.expand(x)))
        return x + y if self.residual else y


class EfficientNetLite(nn.Module):
    """(B, 3, S, S), S a multiple of 32 → the last feature map (B, 1280, S/32, S/32), at least 0 and at most 6."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.stem = Convolution(3, STEM, 3, 2)
        blocks, channels = [], STEM
        for stage, (_, kernel, stride, expansion, out) in enumerate(STAGES):
            for number in range(form.blocks(stage)):
                first = number == 0
                blocks.append(Block(channels, form.channels(out), kernel, stride if first else 1, expansion))
                channels = form.channels(out)
        self.blocks = nn.Sequential(*blocks)
        self.head = Convolution(channels, CHANNELS)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(images)))


class LiteTower(ImageTower):
    """The feature map, and what ImageNet's classifier says at each of its positions, as a unit vector.

    joint_p = Uᵀ √softmax(W g_p + b): the cosine of two such vectors is, up to the rank E of U, the Bhattacharyya
    coefficient Σ √(p q) of two distributions over labels. `joint.py` makes U.
    """

    basis: Tensor
    """(L, E) U, its columns orthonormal."""

    def __init__(self, form: Form, basis: Tensor) -> None:
        super().__init__()
        self.channels, self.embed_dim = CHANNELS, basis.shape[1]
        self.network = EfficientNetLite(form)
        self.classifier = nn.Linear(CHANNELS, LABELS)
        self.register_buffer("basis", basis)

    def forward(self, images: Tensor) -> ImageFeatures:
        grid = self.network(images).flatten(2).transpose(1, 2)  # (B, P, D)
        shares = self.classifier(grid).float().softmax(dim=-1)  # (B, P, L)
        joint = shares.sqrt().to(grid.dtype) @ self.basis
        attention = torch.full_like(joint[..., 0], 1 / joint.shape[1])
        return ImageFeatures(grid=grid, joint=joint, pooled=joint.mean(dim=1), attention=attention)

    def fold(self) -> None:
        fold_batch_norms(self.network)


def renamed(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The published names ("_blocks.3._bn1.weight") → those of `LiteTower`."""
    for name, tensor in state.items():
        *place, layer, value = name.split(".")
        block = f"blocks.{place[1]}." if place else ""
        ours = f"network.{block}{(_IN_BLOCK if block else _OUTSIDE)[layer]}" if layer != "_fc" else "classifier"
        yield f"{ours}.{value}", tensor


_OUTSIDE = {"_conv_stem": "stem.0", "_bn0": "stem.1", "_conv_head": "head.0", "_bn1": "head.1"}
_IN_BLOCK = {
    "_expand_conv": "expand.0",
    "_bn0": "expand.1",
    "_depthwise_conv": "depthwise.0",
    "_bn1": "depthwise.1",
    "_project_conv": "project.0",
    "_bn2": "project.1",
}
