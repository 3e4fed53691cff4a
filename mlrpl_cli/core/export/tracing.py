"""A module as a graph without Python: torch.export, and whose fault it is where that cannot be done."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

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
        except MlrplError:
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
    """The error of a model that cannot be converted: its backbone's if that cannot be by itself, or its method's."""
    info = model.head.info
    try:
        example = torch.zeros(EXAMPLES, 3, model.size, model.size)
        convert(traced(TowerAlone(model.tower), example, {0: Dim("batch", max=MOST)}))
    except Exception as error:
        told = f"the modules of the backbone '{info.backbone}' cannot be exported: {short(one_line(error))}"
        return WeightsError(f"{told}; train with another --backbone to have the run as one file")
    told = f"the method '{info.method}' of {METHODS.owner(info.method)} cannot be exported: {reason}"
    return ConfigError(f"{told}; train with another --method to have the run as one file")


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
