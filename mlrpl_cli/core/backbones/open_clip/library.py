"""The one place that imports open_clip, and with it timm and torchvision: it takes seconds."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import torch

from mlrpl_cli.core.io.errors import WeightsError, one_line


@cache
def open_clip() -> Any:
    """The package `open_clip`, also where torchvision's compiled part belongs to another torch.

    Raises WeightsError where it cannot be imported.
    """
    declared = torchvision_operators()
    try:
        import open_clip
        import open_clip.coca_model
    except ImportError as error:
        told = one_line(error)
        raise WeightsError(f"open_clip cannot be imported ({told}); run pip install open-clip-torch timm") from error
    del declared
    logging.getLogger("timm").setLevel(logging.ERROR)  # it tells every table of positions that it resizes
    return open_clip


@cache
def torchvision_operators() -> torch.library.Library | None:
    """Let torchvision's Python part import where its compiled operators were built for another torch.

    Only the declarations are missing, and no model here calls them. The library has to stay alive for as long as its
    declarations, so the cache holds it.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, operator):
                library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    except ImportError:
        return None  # open_clip then says so itself
    return None


def kind_of(module: torch.nn.Module) -> str:
    """ "timm.AttentionPoolLatent": the library that a module's class is of, and its name."""
    return f"{type(module).__module__.partition('.')[0]}.{type(module).__name__}"
