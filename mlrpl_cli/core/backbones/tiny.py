"""tiny: a small CLIP that comes with the package and knows the objects of the scenes (docs/tiny.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mlrpl_cli.core.backbones.backbone import Backbone, BackboneOptions, Defaults, Description, Family, InputRule
from mlrpl_cli.core.backbones.files.reading import read_state
from mlrpl_cli.core.backbones.openai.architectures import VISUAL
from mlrpl_cli.core.backbones.openai.assembly import assemble
from mlrpl_cli.core.io.progress import Progress

TINY = "tiny"
TINY_PATH = Path(__file__).parents[2] / "assets" / "tiny.safetensors"
DEFAULTS = Defaults(image_size=256, attention_width=64, precision="float32")
"""Scenes are 256 pixels wide; the width is for speed (docs/trials.md), and tiny is fast enough in float32."""

# CLIP's vocabulary has 49,408 tokens, of which tiny's pre-training met a few hundred. The rows of the others still have
# the values they were drawn with, so they are drawn again from the same seed instead of being stored.
EMBEDDING = "token_embedding.weight"
ROWS, VALUES, SEED = "token_embedding.rows", "token_embedding.values", "token_embedding.seed"
VOCABULARY, INITIAL_STD = 49408, 0.02


class Tiny(Family):
    """The family of tiny alone."""

    def names(self) -> list[str]:
        return [TINY]

    def describe(self, options: BackboneOptions) -> Description:
        rule = InputRule(size=128, stride=32)
        return Description(TINY, "tiny", rule, DEFAULTS, 512, 256, "scenes", "MIT", downloaded=True)

    def load(self, options: BackboneOptions, progress: Progress | None = None, text: bool = True) -> Backbone:
        return assemble(options, tiny_state("" if text else VISUAL), text)

    def rebuild(self, options: BackboneOptions, weights: Mapping[str, Tensor]) -> Backbone:
        return assemble(options, weights, text=False)


FAMILY = Tiny()


def tiny_state(prefix: str = "") -> dict[str, Tensor]:
    """Its state dict in OpenAI's format; only the tensors whose names start with `prefix`."""
    return unpack_token_embedding(read_state(TINY_PATH, prefix))


def initial_token_embedding(width: int, seed: int) -> Tensor:
    """(49408, W) float32: every row before pre-training. NumPy's legacy generator gives the same on every machine."""
    drawn = np.random.RandomState(seed).standard_normal((VOCABULARY, width))
    return torch.from_numpy((drawn * INITIAL_STD).astype(np.float32))


def unpack_token_embedding(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict with the whole table in place of its trained rows; one that has the table is returned as it is."""
    if ROWS not in state:
        return dict(state)
    table = initial_token_embedding(state[VALUES].shape[1], int(state[SEED]))
    table[state[ROWS].long()] = state[VALUES].float()
    return {name: state[name] for name in state if name not in (ROWS, VALUES, SEED)} | {EMBEDDING: table}
