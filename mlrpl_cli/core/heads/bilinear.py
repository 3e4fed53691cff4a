"""The attention's bilinear scores without their product tensor, tile by tile, forward and backward (method.md, part 2).

Axes: B images, P grid positions, C classes, K attention width; R = B·P regions, of which a tile has r, and c of the
classes.
"""

import platform
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CPU_NUMBERS = 2**20
"""float32 numbers of a tile on a CPU: 4 MiB, of which two at a time stay in the processor's cache."""
DEVICE_NUMBERS = 2**24
"""float32 numbers of a tile elsewhere: 64 MiB, so that a launch costs less than the work it starts."""
TRACED_PARTS = 64
"""Tiles that a traced graph has at most, each a few operations of its own."""


class Squashing(NamedTuple):
    """s and f of tanh z = s f(s z) - (s - 1), so that tanh' z = s² f'(s z)."""

    scale: int
    apply_: Callable[[Tensor], Tensor]
    backward: Callable[..., Tensor]
    """(upstream, f(z), grad_input=) → upstream · f'(z)"""


TANH = Squashing(1, torch.tanh_, torch.ops.aten.tanh_backward.grad_input)
SIGMOID = Squashing(2, torch.sigmoid_, torch.ops.aten.sigmoid_backward.grad_input)


class Plan(NamedTuple):
    """How `bilinear_scores` computes: by which function, and how many regions and classes make a tile."""

    squashing: Squashing
    regions: int
    classes: int


def bilinear_scores(image: Tensor, semantics: Tensor, score: Tensor, plan: Plan | None = None) -> Tensor:
    """ã_bpc = Σ_k v_k tanh(image_bpk · semantics_ck): (B, P, K), (C, K), (K,) → (B, P, C).

    The product tensor (B, P, C, K) never exists: forward and backward go tile by tile over regions and classes.
    `plan` is the device's own by default; plans differ by rounding, and each gives the same bits every time.
    While a graph is traced, it is plain operations over parts of the classes, which every runtime knows.
    """
    if torch.compiler.is_compiling():
        return _traceable_scores(image, semantics.to(image.dtype), score.to(image.dtype))
    plan = plan or plan_for(image)
    return _BilinearScores.apply(image, semantics.to(image.dtype), score.to(image.dtype), plan)


def plan_for(image: Tensor) -> Plan:
    """On a CPU a few regions that stay in its cache while class after class passes; elsewhere all, and many classes."""
    regions, width = image.flatten(0, 1).shape
    if image.device.type == "cpu":
        return Plan(_cpu_squashing(), max(CPU_NUMBERS // width, 1), 1)
    rows = max(min(DEVICE_NUMBERS // width, regions), 1)
    return Plan(SIGMOID, rows, max(DEVICE_NUMBERS // (rows * width), 1))


def _traceable_scores(image: Tensor, semantics: Tensor, score: Tensor) -> Tensor:
    """`bilinear_scores` without a loop over regions, a buffer or a backward: C/64 product tensors, one at a time."""
    parts = (torch.tanh(image[:, :, None] * part) @ score for part in semantics.chunk(TRACED_PARTS))  # (B, P, c) each
    return torch.cat([*parts], dim=2)


@cache
def _cpu_squashing() -> Squashing:
    """The faster of the two: tanh on an Intel processor with AVX-512, else sigmoid.

    PyTorch's sigmoid is its own vector code; its tanh is MKL's, which is the faster one on Intel's processors and takes
    four times as long as sigmoid on AMD's. The processor decides, and no measurement, since a busy moment would
    then change the bits of a run. `make bench ONLY=decoupling-squashing` measures the choice.
    """
    wide = torch.backends.mkl.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"
    return TANH if wide and "GenuineIntel" in _processor() else SIGMOID


def _processor() -> str:
    """What names the processor's maker: a file on Linux, the system's own words elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return platform.processor()


class _BilinearScores(torch.autograd.Function):
    """Both passes, written in f of the plan's squashing; backward computes f again rather than keep it."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, semantics: Tensor, score: Tensor, plan: Plan) -> Tensor:
        ctx.save_for_backward(image, semantics, score)
        ctx.plan = plan
        regions, scale = image.flatten(0, 1), plan.squashing.scale  # (R, K)
        scores = image.new_empty(len(semantics), len(regions))
        for rows, classes, squashed in _tiles(regions, scale * semantics, plan):
            scores[classes, rows] = squashed @ score
        return scores.mul_(scale).sub_((scale - 1) * score.sum()).T.unflatten(0, image.shape[:2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        image, semantics, score = ctx.saved_tensors
        squashing, scale = ctx.plan.squashing, ctx.plan.squashing.scale
        regions, upstream = image.flatten(0, 1), gradient.flatten(0, 1).T.contiguous()  # (R, K), (C, R)
        d_regions, d_semantics = torch.zeros_like(regions), torch.zeros_like(semantics)
        d_score = (1 / scale - 1) * upstream.sum() * torch.ones_like(score)
        scaled = scale * semantics
        weighted = scaled * score
        for rows, classes, squashed in _tiles(regions, scaled, ctx.plan):
            part, up = regions[rows], upstream[classes, rows]
            d_score += up.flatten() @ squashed.flatten(0, 1)
            # up · f', in the place of f
            slope = squashing.backward(up[..., None].expand_as(squashed), squashed, grad_input=squashed)
            for of_class, weights in zip(slope, weighted[classes], strict=True):
                d_regions[rows].addcmul_(of_class, weights)
            d_semantics[classes] += slope.mul_(part).sum(1)
        return d_regions.mul_(scale).view_as(image), d_semantics * (scale**2 * score), d_score * scale, None


def _tiles(regions: Tensor, semantics: Tensor, plan: Plan) -> Iterator[tuple[slice, slice, Tensor]]:
    """Of (R, K) and (C, K), tile by tile: its regions, its classes, and f(region · semantics) (c, r, K).

    The next tile is written over the one before.
    """
    for first in range(0, len(regions), plan.regions):
        rows = slice(first, first + plan.regions)
        part = regions[rows]
        buffer = part.new_empty(min(plan.classes, len(semantics)), *part.shape)
        for start in range(0, len(semantics), plan.classes):
            classes = slice(start, start + plan.classes)
            factors = semantics[classes, None]
            yield rows, classes, plan.squashing.apply_(torch.mul(part, factors, out=buffer[: len(factors)]))
