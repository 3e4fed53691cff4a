"""CLIP's text encoder. It takes token embeddings, so that learnable context vectors go through it like words.

Axes: C prompts, T tokens in a prompt, W text width, E joint embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlrpl_cli.core.models.transformer import HEAD_WIDTH, Transformer


class TextEncoder(nn.Module):
    """A causal transformer, read out at each prompt's end-of-text token."""

    def __init__(self, width: int, layers: int, embed_dim: int, context_length: int, vocabulary: int) -> None:
        super().__init__()
        self.width, self.context_length = width, context_length
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.randn(context_length, width) * 0.01)
        self.transformer = Transformer(width, layers, width // HEAD_WIDTH, causal=True)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, embed_dim) * width**-0.5)

    def forward(self, embeddings: Tensor, end: Tensor) -> Tensor:
        """Token embeddings (C, T, W) with T ≤ 77, and the index of each end-of-text token (C,) → (C, E).

        Attention is causal, so what stands behind the end token changes nothing: pass T = the longest real prompt.
        """
        x = embeddings + self.positional_embedding[: embeddings.shape[1]].to(embeddings.dtype)
        x = self.transformer(x)
        last = x[torch.arange(len(x), device=x.device), end]  # (C, W); ln_final is per token, so it can come after
        return self.ln_final(last) @ self.text_projection.to(x.dtype)

    def encode_tokens(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Token ids of each text, from start-of-text to end-of-text and not padded → (C, E)."""
        ids, end = pad_tokens(tokens)
        device = self.positional_embedding.device
        return self(self.token_embedding(ids.to(device)), end.to(device))


def pad_tokens(tokens: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ragged token ids → ids (C, T) padded with 0 to the longest, and the index of each last token (C,)."""
    longest = max(len(row) for row in tokens)
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in tokens])
    return ids, torch.tensor([len(row) - 1 for row in tokens])
