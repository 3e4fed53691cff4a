"""The CLIP that ships with the package, and the form its token embedding is stored in.

CLIP's vocabulary has 49,408 tokens, of which tiny's pre-training met a few hundred. The rows of the others still have
the values they were drawn with, so they are drawn again from the same seed instead of being stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

TINY_PATH = Path(__file__).parents[2] / "assets" / "tiny.safetensors"
EMBEDDING = "token_embedding.weight"
ROWS, VALUES, SEED = "token_embedding.rows", "token_embedding.values", "token_embedding.seed"
VOCABULARY = 49408
INITIAL_STD = 0.02


def initial_token_embedding(width: int, seed: int) -> Tensor:
    """(49408, W) float32: every row before pre-training. NumPy's legacy generator gives the same on every machine."""
    drawn = np.random.RandomState(seed).standard_normal((VOCABULARY, width))
    return torch.from_numpy((drawn * INITIAL_STD).astype(np.float32))


def unpack_token_embedding(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict with the whole table in place of its trained rows; one that has the table is returned as it is."""
    if ROWS not in state:
        return dict(state)
    unpacked = {name: tensor for name, tensor in state.items() if name not in (ROWS, VALUES, SEED)}
    table = initial_token_embedding(state[VALUES].shape[1], int(state[SEED]))
    table[state[ROWS].long()] = state[VALUES].float()
    return {**unpacked, EMBEDDING: table}
