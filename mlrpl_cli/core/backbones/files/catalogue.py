"""open_clip's configurations: which there are, what it knows of their pretraining, and whose shapes tensors have."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from mlrpl_cli.core.backbones.files.sizes import differences, sizes_of_state
from mlrpl_cli.core.backbones.open_clip.building import empty_visual
from mlrpl_cli.core.backbones.open_clip.library import open_clip
from mlrpl_cli.core.backbones.openai.architectures import VISUAL
from mlrpl_cli.core.io.errors import WeightsError, first_few

RULE = ("mean", "std", "interpolation", "resize_mode")
"""What a pretraining says of its images."""
BUFFERS = ("num_batches_tracked", "relative_position_index", "attn_mask")
"""Last parts of names that hold no weights."""


@cache
def configurations() -> Mapping[str, Mapping[str, Any]]:
    """Name → model_cfg, as the installed open_clip has them; it is not imported for that."""
    found = importlib.util.find_spec("open_clip")
    folders = [Path(place) / "model_configs" for place in (found and found.submodule_search_locations) or ()]
    paths = sorted(path for folder in folders for path in folder.glob("*.json"))
    contents = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    return {
        name: content for name, content in contents.items() if {"embed_dim", "vision_cfg", "text_cfg"} <= set(content)
    }


def fitting_names(state: Mapping[str, Tensor]) -> list[str]:
    """The configurations whose shapes these are; timm's encoders are built for it, few of them."""
    known, sizes = configurations(), sizes_of_state(state)
    return [name for name, model in known.items() if not differences(model, sizes) and _fits_trunk(model, state)]


def pretrainings(name: str) -> dict[str, dict[str, Any]]:
    """Tag → what open_clip knows of the weights that it has for a configuration."""
    library = open_clip()
    return {tag: library.get_pretrained_cfg(name, tag) for tag in library.list_pretrained_tags_by_model(name)}


def preprocess_of(name: str, tag: str | None, option: str) -> tuple[dict[str, Any], bool | None]:
    """The input rule of a pretraining, and whether it was made with QuickGELU; None where the configuration says it.

    Without a tag, the rule that all of them have; {} (OpenAI's) where there is none. Raises WeightsError where they
    differ, and for an unknown tag; `option` says where the name was given.
    """
    known = pretrainings(name)
    if tag is not None:
        if tag not in known:
            told = f"known: {first_few(known, 30)}" if known else f"none is known; give {name}"
            raise WeightsError(f"{option}: {name} has no pretraining '{tag}'; {told}")
        return _rule(known[tag]), True if known[tag].get("quick_gelu") else None
    rules = {json.dumps(_rule(content), sort_keys=True): tag for tag, content in known.items()}
    pixels = {json.dumps({**json.loads(rule), "resize_mode": None}, sort_keys=True) for rule in rules}
    if len(pixels) > 1:
        told = " and ".join(f"{name}:{tag}" for tag in rules.values())
        raise WeightsError(f"{option}: {name} takes other images after each pretraining; say which, such as {told}")
    return (json.loads(next(iter(rules))) if rules else {}), None


def _rule(pretraining: Mapping[str, Any]) -> dict[str, Any]:
    return {name: pretraining[name] for name in RULE if name in pretraining}


def _fits_trunk(model: Mapping[str, Any], state: Mapping[str, Tensor]) -> bool:
    """True for a configuration without timm, and where every tensor of its image encoder has that name and shape."""
    if not model["vision_cfg"].get("timm_model_name"):
        return True
    try:
        expected = empty_visual(model).state_dict()
    except WeightsError:  # a configuration that the installed timm cannot build
        return False
    return _shapes(expected) == _shapes({n.removeprefix(VISUAL): t for n, t in state.items() if n.startswith(VISUAL)})


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items() if name.rpartition(".")[2] not in BUFFERS}
