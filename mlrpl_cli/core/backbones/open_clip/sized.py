"""timm's image encoders in other sizes than timm has a name for: `timm_kwargs` beside `timm_model_name`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from mlrpl_cli.core.backbones.open_clip.library import open_clip

KWARGS = "timm_kwargs"
"""In a vision_cfg of ours: what timm's constructor of that name is given beside what open_clip gives it."""


def vision_of(model: Mapping[str, Any]) -> dict[str, Any]:
    """The vision_cfg of a model_cfg as open_clip takes it: of other sizes, under a name that timm is told here."""
    vision = dict(model["vision_cfg"])
    kwargs = vision.pop(KWARGS, None)
    return {**vision, "timm_model_name": _registered(vision["timm_model_name"], kwargs)} if kwargs else vision


def _registered(base: str, kwargs: Mapping[str, Any]) -> str:
    """A name under which timm makes its model `base` with these arguments."""
    open_clip()  # which lets torchvision be imported, as timm does
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
