"""CLIP's text encoder, which takes token embeddings: learnable contexts go through it like words.

Axes: C prompts, T tokens in a prompt, W text width, E joint embedding.
"""

from collections import Counter
from functools import lru_cache

import torch
from torch import Tensor, nn

from mlrpl_cli.core.backbones.backbone import TextTower
from mlrpl_cli.core.backbones.openai.transformer import (
    OPENAI_FORM,
    QUICK,
    Form,
    QuickGELU,
    SelfAttention,
    Transformer,
)


class TextEncoder(TextTower):
    """A causal transformer, read out at each prompt's end-of-text token."""

    def __init__(
        self,
        width: int,
        layers: int,
        embed_dim: int,
        context_length: int,
        vocabulary: int,
        hidden: int | None = None,
        form: Form = OPENAI_FORM,
    ) -> None:
        """`hidden` is the width of the MLPs, 4 times `width` by default."""
        super().__init__()
        self.width, self.context_length = width, context_length
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.randn(context_length, width) * 0.01)
        self.transformer = Transformer(width, layers, hidden or 4 * width, form)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, embed_dim) * width**-0.5)

    def forward(self, embeddings: Tensor, end: Tensor) -> Tensor:
        """Token embeddings (C, T, W) with T ≤ 77, and the index of each end-of-text token (C,) → (C, E) float32.

        Every prompt starts with the same start-of-text token. Attention is causal, so that token is computed once for
        all of them, what stands behind an end token is not computed at all, and the last block is computed for the end
        tokens alone. An `end` on the CPU keeps a GPU from waiting.
        """
        x = (embeddings + self.positional_embedding[: embeddings.shape[1]]).to(self.text_projection.dtype)
        groups, ends_at, given = _packing(tuple(end.tolist()), x.device)
        rows = torch.cat([x[0, :1], *(x[which, 1:length].flatten(0, 1) for which, length in groups)])  # (R, W)
        *blocks, last = self.transformer.resblocks
        for block in blocks:
            rows = rows + block.attn.out_proj(_attend(block.attn, block.ln_1(rows), groups))
            rows = rows + block.mlp(block.ln_2(rows))
        ends = rows[ends_at]  # (C, W), in the order of the groups
        ends = ends + last.attn.out_proj(_attend_from_ends(last.attn, last.ln_1(rows), last.ln_1(ends), groups))
        ends = ends + last.mlp(last.ln_2(ends))
        return (self.ln_final(ends) @ self.text_projection)[given].float()

    def fold(self) -> None:
        """Put QuickGELU's two factors into the frozen layers around it, for good: what is left is silu, one pass."""
        for block in self.transformer.resblocks:
            if not isinstance(block.mlp.gelu, QuickGELU):
                continue
            before, after = block.mlp.c_fc, block.mlp.c_proj
            scaled = ((before, "weight", QUICK), (before, "bias", QUICK), (after, "weight", 1 / QUICK))
            for layer, name, factor in scaled:
                # A new tensor: the old one may belong to a state dict that is used again.
                setattr(layer, name, nn.Parameter(layer.get_parameter(name) * factor, requires_grad=False))
            block.mlp.gelu = nn.SiLU()

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids of any shape and on any device → their embeddings (…, W)."""
        return self.token_embedding(ids.to(self.token_embedding.weight.device))


# The rows of a packed batch: the start token that all prompts share, then prompt after prompt the others, grouped by
# length so that a group is a view of shape (its prompts, T-1, W). Linear layers see no padding and attention no mask.

Groups = list[tuple[Tensor, int]]
"""Of each group: which prompts it holds, in their order, and T, their tokens with start and end."""


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _packing(ends: tuple[int, ...], device: torch.device) -> tuple[Groups, Tensor, Tensor]:
    """The groups, the rows (C,) of the end tokens in their order, and where (C,) each prompt stands in that order.

    Computed once for the same prompts, off the device: reading lengths from a GPU would stop it at every step.
    """
    counts = sorted(Counter(ends).items())
    order = torch.tensor(sorted(range(len(ends)), key=ends.__getitem__))
    ends_at = torch.tensor(ends)[order].cumsum(0)
    members = order.to(device).split([count for _, count in counts])
    groups = [(which, end + 1) for which, (end, _) in zip(members, counts, strict=True)]
    return groups, ends_at.to(device), order.argsort().to(device)


def _attend(attention: SelfAttention, rows: Tensor, groups: Groups) -> Tensor:
    """Causal attention within each prompt: (R, W) → (R, W), before the output projection."""
    packed = _computable(attention.pack(rows))
    mixed = [attention.mix(prompts, causal=True) for prompts in _with_start(packed, groups)]
    return torch.cat([mixed[0][0, :1], *(prompts[:, 1:].flatten(0, 1) for prompts in mixed)]).to(rows.dtype)


def _attend_from_ends(attention: SelfAttention, rows: Tensor, ends: Tensor, groups: Groups) -> Tensor:
    """Attention of each prompt's end token over the whole prompt: (R, W) and (C, W) → (C, W)."""
    queries = _computable(attention.pack(ends, slice(0, 1))).split([len(which) for which, _ in groups])
    prompts = _with_start(_computable(attention.pack(rows, slice(1, 3))), groups)
    mixed = [attention.mix_from(query, packed) for query, packed in zip(queries, prompts, strict=True)]
    return torch.cat(mixed).to(rows.dtype)


def _with_start(rows: Tensor, groups: Groups) -> list[Tensor]:
    """(R, X) → of each group (its prompts, T, X), the shared first row in front of every prompt."""
    shapes = [(len(which), length - 1) for which, length in groups]
    parts = rows[1:].split([count * others for count, others in shapes])
    return [
        torch.cat([rows[:1].expand(shape[0], 1, -1), part.unflatten(0, shape)], dim=1)
        for part, shape in zip(parts, shapes, strict=True)
    ]


def _computable(tensor: Tensor) -> Tensor:
    """float32 on a CPU, where the backward pass of bfloat16 attention takes several times as long."""
    return tensor.float() if tensor.device.type == "cpu" else tensor
