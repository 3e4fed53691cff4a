"""OpenAI's nine CLIPs by their names, and the same untrained as "random:RN101"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlrpl_cli.core.backbones.backbone import Backbone, BackboneOptions, Defaults, Description, InputRule
from mlrpl_cli.core.backbones.files.reading import read_state
from mlrpl_cli.core.backbones.openai.architectures import ARCHITECTURES, VISUAL, random_state
from mlrpl_cli.core.backbones.openai.assembly import assemble
from mlrpl_cli.core.backbones.openai.published import cached_path, fetch_published
from mlrpl_cli.core.io.progress import Progress, Silent

RANDOM = "random:"
DEFAULTS = Defaults(image_size=448)
"""As the literature has it."""


class OpenAI:
    """The family of the checkpoints that OpenAI published."""

    def claims(self, name: str) -> bool:
        return name.removeprefix(RANDOM) in ARCHITECTURES

    def names(self) -> list[str]:
        return list(ARCHITECTURES)

    def describe(self, options: BackboneOptions, recorded: Mapping[str, Any] | None = None) -> Description:
        name = options.name.removeprefix(RANDOM)
        image = ARCHITECTURES[name].image
        rule = InputRule(image.image_size, image.stride)
        sizes = rule, DEFAULTS, image.channels, image.embed_dim
        if name != options.name:
            return Description(options.name, "openai", *sizes, "untrained", downloaded=True)
        return Description(name, "openai", *sizes, "OpenAI's WIT", "MIT", cached_path(name).is_file())

    def load(
        self,
        options: BackboneOptions,
        recorded: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
        text: bool = True,
    ) -> Backbone:
        name = options.name.removeprefix(RANDOM)
        if name != options.name:
            state = random_state(ARCHITECTURES[name], seed=0)
        else:
            path = fetch_published(name, progress or Silent())
            state = read_state(path, "" if text else VISUAL, published=True)
        return assemble(options, state, recorded, text)


FAMILY = OpenAI()
