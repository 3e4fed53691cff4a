"""Backbones that are files in OpenAI's format."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlrpl_cli.core.backbones.backbone import Backbone, BackboneOptions, Description, InputRule
from mlrpl_cli.core.backbones.checkpoints import read_state
from mlrpl_cli.core.backbones.openai.architectures import VISUAL, image_architecture
from mlrpl_cli.core.backbones.openai.assembly import assemble
from mlrpl_cli.core.backbones.openai.family import DEFAULTS
from mlrpl_cli.core.backbones.tiny import unpack_token_embedding
from mlrpl_cli.core.io.progress import Progress


class Files:
    """The family of files."""

    def claims(self, name: str) -> bool:
        return os.path.isfile(name)  # Path.is_file raises for a name that is too long

    def names(self) -> list[str]:
        return []

    def describe(self, options: BackboneOptions, recorded: Mapping[str, Any] | None = None) -> Description:
        image = image_architecture(read_state(Path(options.name), VISUAL))
        rule = InputRule(image.image_size, image.stride)
        return Description(options.name, "file", rule, DEFAULTS, image.channels, image.embed_dim, downloaded=True)

    def load(
        self,
        options: BackboneOptions,
        recorded: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
        text: bool = True,
    ) -> Backbone:
        state = unpack_token_embedding(read_state(Path(options.name), "" if text else VISUAL))
        return assemble(options, state, recorded, text)


FAMILY = Files()
