"""The one place that imports open_clip, and with it timm and torchvision: it takes seconds."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from mlrpl_cli.core.io.errors import WeightsError, one_line

KWARGS = "timm_kwargs"
"""In a vision_cfg of ours: what timm's constructor of that name is given beside what open_clip gives it."""


@cache
def open_clip() -> Any:
    """The package `open_clip`, also where torchvision's compiled part belongs to another torch.

    Raises WeightsError where it cannot be imported.
    """
    torchvision_operators()
    try:
        import open_clip
        import open_clip.coca_model
    except ImportError as error:
        told = one_line(error)
        raise WeightsError(f"open_clip cannot be imported ({told}); run pip install open-clip-torch timm") from error
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


def vision_of(model: Mapping[str, Any]) -> dict[str, Any]:
    """The vision_cfg of a model_cfg as open_clip takes it: of other sizes, under a name that timm is told here."""
    vision = dict(model["vision_cfg"])
    kwargs = vision.pop(KWARGS, None)
    return {**vision, "timm_model_name": _registered(vision["timm_model_name"], kwargs)} if kwargs else vision


def _registered(base: str, kwargs: Mapping[str, Any]) -> str:
    """A name under which timm makes its model `base` with these arguments."""
    open_clip()  # first: it lets torchvision be imported, as timm does
    from timm.models import is_model, model_entrypoint, register_model

    name = f"{base}_{hashlib.sha256(json.dumps(kwargs, sort_keys=True).encode()).hexdigest()[:12]}"
    if is_model(name):
        return name
    make = model_entrypoint(base)

    def entry(pretrained: bool = False, **others: Any) -> Any:
        return make(pretrained=pretrained, **{**kwargs, **others})

    entry.__name__, entry.__module__ = name, make.__module__
    register_model(entry)
    return name
