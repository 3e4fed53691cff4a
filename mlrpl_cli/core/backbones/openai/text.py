"""CLIP's text encoder. It takes token embeddings, so that learnable context vectors go through it like words.

Axes: C prompts, T tokens in a prompt, W text width, E joint embedding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mlrpl_cli.core.backbones.openai.transformer import HEAD_WIDTH, SelfAttention, Transformer, fold_activation


class TextEncoder(nn.Module):
    """A causal transformer, read out at each prompt's end-of-text token."""

    def __init__(self, width: int, layers: int, embed_dim: int, context_length: int, vocabulary: int) -> None:
        super().__init__()
        self.width, self.context_length = width, context_length
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.randn(context_length, width) * 0.01)
        self.transformer = Transformer(width, layers, width // HEAD_WIDTH)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, embed_dim) * width**-0.5)

    def forward(self, embeddings: Tensor, end: Tensor) -> Tensor:
        """Token embeddings (C, T, W) with T ≤ 77, and the index of each end-of-text token (C,) → (C, E) float32.

        Every prompt starts with the same start-of-text token. Attention is causal, so that token is computed once for
        all of them, what stands behind an end token is not computed at all, and the last block is computed for the end
        tokens alone. An `end` on the CPU keeps a GPU from waiting.
        """
        x = (embeddings + self.positional_embedding[: embeddings.shape[1]]).to(self.text_projection.dtype)
        shapes, members, ends_at, given = _packing(tuple(end.tolist()), x.device)
        groups = [x[which, 1:length].flatten(0, 1) for which, (_, length) in zip(members, shapes, strict=True)]
        rows = torch.cat([x[0, :1], *groups])  # (R, W)
        *blocks, last = self.transformer.blocks()
        for block in blocks:
            rows = rows + block.attn.out_proj(_attend(block.attn, block.ln_1(rows), shapes))
            rows = rows + block.mlp(block.ln_2(rows))
        ends = rows[ends_at]  # (C, W), in the order of the groups
        ends = ends + last.attn.out_proj(_attend_from_ends(last.attn, last.ln_1(rows), last.ln_1(ends), shapes))
        ends = ends + last.mlp(last.ln_2(ends))
        return (self.ln_final(ends) @ self.text_projection)[given].float()

    def fold(self) -> None:
        """Spare the activations two passes, for good; for a frozen encoder through which gradients flow often."""
        for block in self.transformer.blocks():
            fold_activation(block)

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids of any shape and on any device → their embeddings (…, W)."""
        return self.token_embedding(ids.to(self.token_embedding.weight.device))

    def encode_tokens(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Token ids of each text, from start-of-text to end-of-text and not padded → (C, E)."""
        ids, end = pad_tokens(tokens)
        return self(self.embed(ids), end)


def pad_tokens(tokens: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ragged token ids → ids (C, T) padded with 0 to the longest, and the index of each last token (C,)."""
    longest = max(len(row) for row in tokens)
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in tokens])
    return ids, torch.tensor([len(row) - 1 for row in tokens])


# The rows of a packed batch: the start token that all prompts share, then prompt after prompt the others, grouped by
# length so that a group is a view of shape (its prompts, T-1, W). Linear layers see no padding and attention no mask.

Shapes = list[tuple[int, int]]
"""Of each group: how many prompts, and T, their tokens with start and end."""


class Packing(NamedTuple):
    """Whose the rows are, which depends on the lengths of the prompts alone."""

    shapes: Shapes
    members: tuple[Tensor, ...]
    """Which prompts a group holds, in their order."""
    ends_at: Tensor
    """(C,) rows of the end tokens, in the order of the groups."""
    given: Tensor
    """(C,) where each prompt stands in that order."""


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _packing(ends: tuple[int, ...], device: torch.device) -> Packing:
    """Computed once for the same prompts, off the device: reading lengths from a GPU would stop it at every step."""
    shapes = [(count, end + 1) for end, count in sorted(Counter(ends).items())]
    order = torch.tensor(sorted(range(len(ends)), key=ends.__getitem__))
    ends_at = torch.tensor(ends)[order].cumsum(0)
    members = order.to(device).split([count for count, _ in shapes])
    return Packing(shapes, members, ends_at.to(device), order.argsort().to(device))


def _attend(attention: SelfAttention, rows: Tensor, shapes: Shapes) -> Tensor:
    """Causal attention within each prompt: (R, W) → (R, W), before the output projection."""
    packed = _computable(attention.pack(rows))
    mixed = [attention.mix(prompts, causal=True) for prompts in _with_start(packed, shapes)]
    behind = [prompts[:, 1:].flatten(0, 1) for prompts in mixed]
    return torch.cat([mixed[0][0, :1], *behind]).to(rows.dtype)


def _attend_from_ends(attention: SelfAttention, rows: Tensor, ends: Tensor, shapes: Shapes) -> Tensor:
    """Attention of each prompt's end token over the whole prompt: (R, W) and (C, W) → (C, W)."""
    query = _computable(attention.pack(ends, slice(0, 1))).split([count for count, _ in shapes])
    prompts = _with_start(_computable(attention.pack(rows, slice(1, 3))), shapes)
    mixed = [attention.mix_from(q, kv) for q, kv in zip(query, prompts, strict=True)]
    return torch.cat(mixed).to(rows.dtype)


def _with_start(rows: Tensor, shapes: Shapes) -> list[Tensor]:
    """(R, X) → of each group (count, T, X), the shared first row in front of every prompt."""
    groups = rows[1:].split([count * (length - 1) for count, length in shapes])
    return [
        torch.cat([rows[:1].expand(count, 1, -1), group.unflatten(0, (count, length - 1))], dim=1)
        for group, (count, length) in zip(groups, shapes, strict=True)
    ]


def _computable(tensor: Tensor) -> Tensor:
    """float32 on a CPU, where the backward pass of bfloat16 attention takes several times as long."""
    return tensor.float() if tensor.device.type == "cpu" else tensor
