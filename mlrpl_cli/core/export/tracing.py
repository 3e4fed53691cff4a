"""A module as a graph without Python: torch.export, and whose fault it is where that cannot be done."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.export.model import RunModel
from mlrpl_cli.core.heads.registry import METHODS
from mlrpl_cli.core.io.errors import ConfigError, MlrplError, WeightsError, one_line
from mlrpl_cli.core.io.reading import short

EXAMPLES = 2
"""Images of the batch that is traced: of one, a graph could take its size for a constant."""
BEYOND = (8, 16)
"""Pixels that the traced images are higher and wider than S, where the graph resizes."""
MOST = 1 << 20
"""Images of a batch, and pixels of a side; without a limit PyTorch 2.5 takes the largest 64-bit number for one."""
LOGGERS = ("onnxscript", "onnx_ir", "torch.onnx", "torch.export", "torch.fx.experimental.symbolic_shapes", "")
"""Of the exporters, and the root's, which onnxruntime's quantisation warns by."""

T = TypeVar("T")
Convert = Callable[[ExportedProgram], T]


def converted(model: RunModel, convert: Convert[T]) -> T:
    """What `convert` makes of the traced `model`.

    Raises WeightsError, which names the backbone, or ConfigError, which names the method, where one of its modules
    cannot be traced or converted.
    """
    size = model.size
    height, width = (size + more if model.resizes else size for more in BEYOND)
    example = torch.zeros(EXAMPLES, height, width, 3, dtype=torch.uint8)
    sides = {1: Dim("height", max=MOST), 2: Dim("width", max=MOST)} if model.resizes else {}
    with quiet():
        try:
            return convert(traced(model, example, {0: Dim("batch", max=MOST), **sides}))
        except (MlrplError, MemoryError):
            raise
        except Exception as error:  # whatever a library's modules, and the exporters, do
            raise _blamed(model, convert, short(one_line(error))) from error


def traced(module: nn.Module, example: Tensor, shapes: dict[int, Any]) -> ExportedProgram:
    """The graph of a module of one tensor, like `example` but for the axes that are named in `shapes`."""
    with torch.no_grad():
        program = torch.export.export(module, (example,), dynamic_shapes=(shapes,), strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # where the source lies on this machine
    return program


def _blamed(model: RunModel, convert: Convert[Any], reason: str) -> MlrplError:
    """The error of a model that cannot be converted, for `reason`.

    It is the backbone's if that cannot be converted by itself, and the method's if the model with another backbone
    cannot be, either; where each can, neither is blamed alone.
    """
    info, batch = model.head.info, {0: Dim("batch", max=MOST)}
    method = f"the method '{info.method}' of {METHODS.owner(info.method)}"
    images = torch.zeros(EXAMPLES, 3, model.size, model.size)
    if told := _failure(TowerAlone(model.tower), images, batch, convert):
        told = f"the modules of the backbone '{info.backbone}' cannot be exported: {told}"
        return WeightsError(f"{told}; train with another --backbone to have the run as one file")
    pixels = torch.zeros(EXAMPLES, model.size, model.size, 3, dtype=torch.uint8)
    if told := _failure(with_stand_in(model, images), pixels, batch, convert):
        return ConfigError(
            f"{method} cannot be exported: {told}; train with another --method to have the run as one file"
        )
    told = f"the backbone '{info.backbone}' with {method} cannot be exported, though each can by itself: {reason}"
    return ConfigError(f"{told}; train with another --backbone or --method, or leave --with-resize out")


def _failure(module: nn.Module, example: Tensor, shapes: dict[int, Any], convert: Convert[Any]) -> str | None:
    """Why a module cannot be converted, in one line; None where it can."""
    try:
        convert(traced(module, example, shapes))
    except MemoryError:
        raise
    except Exception as error:  # as in `converted`
        return short(one_line(error)) or type(error).__name__
    return None


def with_stand_in(model: RunModel, images: Tensor) -> RunModel:
    """The same, that does not resize, with an image tower of like sizes that any exporter takes."""
    with torch.no_grad():
        features = model.tower(images)
    other = copy(model)
    other._modules = {**model._modules, "tower": StandIn(features, model.side)}
    other.resizes = False
    return other


class StandIn(nn.Module):
    """An image tower that says the mean colours of the positions, as many times as it takes."""

    def __init__(self, like: ImageFeatures, side: int) -> None:
        super().__init__()
        self.side = side
        for name in ("grid", "joint"):
            self.register_buffer(name, torch.ones(3, getattr(like, name).shape[2]) / 3)

    def forward(self, images: Tensor) -> ImageFeatures:
        colours = F.adaptive_avg_pool2d(images, self.side).flatten(2).transpose(1, 2)
        grid, joint = (colours @ self.get_buffer(name) for name in ("grid", "joint"))
        return ImageFeatures(grid, joint, joint.mean(dim=1), colours.mean(dim=2).softmax(dim=1))


class TowerAlone(nn.Module):
    """An image tower whose features are a tuple, as graphs return them."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(vars(self.tower(images)).values())


@contextmanager
def quiet() -> Iterator[None]:
    """What these libraries log of their own workings, and warn of their next versions, is not told meanwhile."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
