"""Backbones by the path of a file or a folder of weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from mlrpl_cli.core.backbones.backbone import Backbone, BackboneOptions, Description, Family
from mlrpl_cli.core.backbones.files.configuration import is_file
from mlrpl_cli.core.backbones.files.forms import Decided, decide
from mlrpl_cli.core.backbones.files.huggingface.names import of_image, to_open_clip
from mlrpl_cli.core.backbones.files.reading import Weights, check_floating, open_weights
from mlrpl_cli.core.backbones.files.tokenizers import tokenizer_of
from mlrpl_cli.core.backbones.open_clip.assembly import (
    Architecture,
    architecture_from,
    assemble,
    describe,
    reassemble,
)
from mlrpl_cli.core.backbones.openai import assembly as openai
from mlrpl_cli.core.backbones.openai.published import PUBLISHED_SHA256
from mlrpl_cli.core.io.progress import Progress

KIND, ARCHITECTURE = "file", "architecture"


class Files(Family):
    """Whatever lies on this machine: the architecture is decided by `forms.decide`."""

    takes_config = True

    def claims(self, name: str) -> bool:
        try:
            return os.path.exists(name)
        except ValueError:  # what cannot be the name of a file
            return False

    def names(self) -> list[str]:
        return []

    def absolute(self, options: BackboneOptions) -> BackboneOptions:
        config = options.config
        if config is not None and is_file(config):
            config = str(Path(config).resolve())
        return replace(options, name=str(Path(options.name).resolve()), config=config)

    def describe(self, options: BackboneOptions) -> Description:
        """Without reading weights, apart from those of a TorchScript archive."""
        return describe(options, KIND, _opened(options, text=False).architecture, downloaded=True)

    def load(self, options: BackboneOptions, progress: Progress | None = None, text: bool = True) -> Backbone:
        if options.recorded is not None and ARCHITECTURE not in options.recorded:
            # An older run: of files, it took OpenAI's form alone.
            state = open_weights(Path(options.name), PUBLISHED_SHA256.values()).read(bool if text else of_image)
            return openai.assemble(options, state, text)
        weights, architecture, notes = _opened(options, text)
        state = to_open_clip(weights.read(bool if text else of_image))
        check_floating(weights.path, state)
        return assemble(options, KIND, architecture, state, text, notes=(*weights.notes, *notes))

    def rebuild(self, options: BackboneOptions, weights: Mapping[str, Tensor]) -> Backbone:
        if ARCHITECTURE not in (options.recorded or {}):
            return openai.assemble(options, weights, text=False)
        return reassemble(options, KIND, weights)


FAMILY = Files()


class _Opened(NamedTuple):
    weights: Weights
    architecture: Architecture
    notes: tuple[str, ...]


def _opened(options: BackboneOptions, text: bool) -> _Opened:
    """The weights, still to be read, and their architecture: the one that a run recorded, or the one decided on."""
    weights = open_weights(Path(options.name), trusted=PUBLISHED_SHA256.values())
    if options.recorded:
        decided = Decided(architecture_from(options.recorded))
    else:
        decided = decide(weights, to_open_clip(weights.on_meta()), options.config)
    architecture = replace(decided.architecture, tokenizer=None)
    if text:
        tokenizer = tokenizer_of(weights.path.parent, architecture.model["text_cfg"])
        architecture = replace(architecture, tokenizer=tokenizer)
    return _Opened(weights, architecture, decided.notes)
