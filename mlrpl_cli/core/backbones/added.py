"""Backbones of installed packages: an entry point of `mlrpl.backbones` is the name, its object a function."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mlrpl_cli.core.backbones.backbone import Backbone, BackboneOptions, Description, Family, InputRule
from mlrpl_cli.core.backbones.openai.architectures import ARCHITECTURES, image_architecture
from mlrpl_cli.core.backbones.openai.assembly import DEFAULTS, assemble
from mlrpl_cli.core.backbones.openai.family import RANDOM
from mlrpl_cli.core.backbones.tiny import TINY
from mlrpl_cli.core.io.errors import MlrplError, WeightsError, one_line
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.io.registry import Registry

OURS = {TINY, *ARCHITECTURES, *(RANDOM + name for name in ARCHITECTURES)}
BACKBONES = Registry("backbone", "mlrpl.backbones", {}, OURS)
"""Name → a function of no argument that returns a state dict in OpenAI's format."""


class Added(Family):
    """The family of what packages add by name alone; one with towers of its own is a family of its own."""

    def names(self) -> list[str]:
        return list(BACKBONES)

    def describe(self, options: BackboneOptions) -> Description:
        image = image_architecture(_state(options.name))
        rule = InputRule(image.image_size, image.stride)
        return Description(options.name, "added", rule, DEFAULTS, image.channels, image.embed_dim, downloaded=True)

    def load(self, options: BackboneOptions, progress: Progress | None = None, text: bool = True) -> Backbone:
        return assemble(options, _state(options.name), text)

    def rebuild(self, options: BackboneOptions, weights: Mapping[str, Tensor]) -> Backbone:
        return assemble(options, weights, text=False)


FAMILY = Added()


def _state(name: str) -> dict[str, Tensor]:
    """What the function of an installed package gives. Raises WeightsError when that fails or is no state dict."""
    try:
        state = BACKBONES.load(name)()
    except MlrplError:
        raise
    except Exception as error:  # whatever someone else's code does
        told = f"{type(error).__name__}: {one_line(error)}"
        raise WeightsError(f"backbone '{name}' of {BACKBONES.owner(name)} cannot be loaded: {told}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        owner = BACKBONES.owner(name)
        raise WeightsError(f"backbone '{name}' of {owner}: expected a state dict of tensors, got {type(state)}")
    return {str(name): tensor for name, tensor in state.items()}
