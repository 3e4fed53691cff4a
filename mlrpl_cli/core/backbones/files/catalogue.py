"""open_clip's configurations, read without importing it, and what it knows of each one's pretraining."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mlrpl_cli.core.backbones.open_clip.library import open_clip
from mlrpl_cli.core.io.errors import WeightsError, first_few

RULE = ("mean", "std", "interpolation", "resize_mode")
"""What a pretraining says of its images."""


@cache
def configurations() -> Mapping[str, Mapping[str, Any]]:
    """Name → model_cfg, as the installed open_clip has them."""
    found = importlib.util.find_spec("open_clip")
    folders = [Path(place) / "model_configs" for place in (found and found.submodule_search_locations) or ()]
    paths = sorted(path for folder in folders for path in folder.glob("*.json"))
    contents = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    return {
        name: content for name, content in contents.items() if {"embed_dim", "vision_cfg", "text_cfg"} <= set(content)
    }


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
        return _rule(known[tag]), bool(known[tag].get("quick_gelu"))
    rules = {json.dumps(_rule(content), sort_keys=True): tag for tag, content in known.items()}
    pixels = {json.dumps({**json.loads(rule), "resize_mode": None}, sort_keys=True) for rule in rules}
    if len(pixels) > 1:
        told = " and ".join(f"{name}:{tag}" for tag in rules.values())
        raise WeightsError(f"{option}: {name} takes other images after each pretraining; say which, such as {told}")
    return (json.loads(next(iter(rules))) if rules else {}), None


def _rule(pretraining: Mapping[str, Any]) -> dict[str, Any]:
    return {name: pretraining[name] for name in RULE if name in pretraining}
