"""Token ids of texts of different lengths: checked, and put into one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlrpl_cli.core.io.errors import ConfigError


def check_lengths(texts: Sequence[str], rows: Sequence[Sequence[int]], most: int, who: str = "the backbone") -> None:
    """Raise ConfigError for a text of more than `most` tokens, naming it; `who` takes no more."""
    for text, row in zip(texts, rows, strict=True):
        if len(row) > most:
            raise ConfigError(f"'{text[:60]}' is {len(row)} tokens long, {who} takes {most}; shorten it")


def pad_tokens(tokens: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ragged token ids → ids (C, T) padded with 0 to the longest, and the index of each last token (C,)."""
    ids = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in tokens], batch_first=True)
    return ids, torch.tensor([len(row) - 1 for row in tokens])
