"""The last self-attention of a tower with a class token, in which each patch sees itself alone.

Under an identity attention mask a position's output is its own value, projected: the value path of MaskCLIP (Zhou et
al., ECCV 2022). The class token still sees everything, so the tower's own vector is unchanged, and the block around the
attention (residual, MLP, scales, norms) is the library's own.

Axes: B images, T tokens (the class token, other special ones, the patches), N heads, V channels of all heads.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlrpl_cli.core.backbones.open_clip.library import kind_of
from mlrpl_cli.core.io.errors import WeightsError


class LastAttention(nn.Module):
    """Stands in for the attention of a last block and keeps the class token's weights of the last call."""

    def __init__(self, inner: Any, prefix: int, values: bool) -> None:
        """`prefix` tokens stand before the patches; without `values` the patches see everything, as in the library."""
        super().__init__()
        self.inner, self.prefix, self.values = inner, prefix, values
        self.row: Tensor | None = None

    def forward(self, x: Tensor, *given: Any, rope: Tensor | None = None, **ignored: Any) -> Any:
        """(B, T, D) → (B, T, D), as the module that it stands for returns it; no mask."""
        query, key, value = self.project(x, rope)  # (B, N, T, V/N)
        scores = (query[:, :, :1] * query.shape[-1] ** -0.5) @ key.transpose(2, 3)
        self.row = scores.softmax(dim=-1).mean(dim=1).squeeze(1)
        if self.values:
            mixed = F.scaled_dot_product_attention(query[:, :, : self.prefix], key, value)
            mixed = torch.cat([mixed, value[:, :, self.prefix :]], dim=2)
        else:
            mixed = F.scaled_dot_product_attention(query, key, value)
        return self.finish(mixed, x)

    def taken_row(self) -> Tensor:
        """(B, T) the class token's weights, averaged over heads, of the last call; given once."""
        row, self.row = self.row, None
        assert row is not None, "the tower did not run its last block"
        return row

    def project(self, x: Tensor, rope: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, D) → queries, keys and values (B, N, T, V/N), as the dot product takes them."""
        raise NotImplementedError

    def finish(self, mixed: Tensor, x: Tensor) -> Any:
        """(B, N, T, V/N) → the attention's output."""
        raise NotImplementedError

    def split(self, packed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, 3V) → queries, keys and values (B, N, T, V/N)."""
        query, key, value = packed.unflatten(2, (3, self.inner.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return query, key, value


class TorchAttention(LastAttention):
    """Over `torch.nn.MultiheadAttention`, which returns a pair."""

    def project(self, x: Tensor, rope: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        return self.split(F.linear(x, self.inner.in_proj_weight, self.inner.in_proj_bias))

    def finish(self, mixed: Tensor, x: Tensor) -> tuple[Tensor, None]:
        return self.inner.out_proj(mixed.transpose(1, 2).flatten(2)), None


class CustomAttention(LastAttention):
    """Over `open_clip.transformer.Attention`: norms of queries and keys, scaled heads, a norm inside."""

    def __init__(self, inner: Any, prefix: int, values: bool) -> None:
        super().__init__(inner, prefix, values)
        if inner.logit_scale is not None:
            raise WeightsError("its attention is a scaled cosine, which is not known here; choose another backbone")

    def project(self, x: Tensor, rope: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = self.split(F.linear(x, self.inner.in_proj_weight, self.inner.in_proj_bias))
        return self.inner.ln_q(query), self.inner.ln_k(key), value

    def finish(self, mixed: Tensor, x: Tensor) -> Tensor:
        mixed = mixed if self.inner.head_scale is None else mixed * self.inner.head_scale
        return self.inner.out_proj(self.inner.ln_inner(mixed.transpose(1, 2).flatten(2)))


class TimmAttention(LastAttention):
    """Over timm's `Attention`, `AttentionRope` and `EvaAttention`: one packed projection or three, rotary positions."""

    def project(self, x: Tensor, rope: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        inner = self.inner
        if inner.qkv is None:
            parts = (inner.q_proj(x), inner.k_proj(x), inner.v_proj(x))
            query, key, value = (part.unflatten(2, (-1, inner.head_dim)).transpose(1, 2) for part in parts)
        else:
            query, key, value = self.split(self.packed(x))
        query, key = inner.q_norm(query), inner.k_norm(key)
        if rope is not None:
            query, key = (self.turned(part, rope).type_as(value) for part in (query, key))
        groups = query.shape[1] // key.shape[1]  # keys and values that several heads share
        key, value = (part.repeat_interleave(groups, dim=1) if groups > 1 else part for part in (key, value))
        return query, key, value

    def packed(self, x: Tensor) -> Tensor:
        inner = self.inner
        if getattr(inner, "q_bias", None) is None:
            return inner.qkv(x)
        return F.linear(x, inner.qkv.weight, torch.cat([inner.q_bias, inner.k_bias, inner.v_bias]))

    def turned(self, x: Tensor, rope: Tensor) -> Tensor:
        from timm.layers import apply_rot_embed_cat

        first = self.inner.num_prefix_tokens
        half = getattr(self.inner, "rotate_half", False)
        return torch.cat([x[:, :, :first], apply_rot_embed_cat(x[:, :, first:], rope, half=half)], dim=2)

    def finish(self, mixed: Tensor, x: Tensor) -> Tensor:
        inner = self.inner
        y = inner.norm(mixed.transpose(1, 2).flatten(2))
        if getattr(inner, "gate", None) is not None:
            y = y * inner.gate(x).sigmoid()
        return inner.proj(y)


ATTENTIONS: dict[str, type[LastAttention]] = {
    "torch.MultiheadAttention": TorchAttention,
    "open_clip.Attention": CustomAttention,
    "timm.Attention": TimmAttention,
    "timm.AttentionRope": TimmAttention,
    "timm.EvaAttention": TimmAttention,
}
"""The class of a library's attention → how it is taken apart."""


def last_attention(inner: nn.Module, prefix: int, values: bool) -> LastAttention:
    """What stands in for `inner`. Raises WeightsError for a kind that is not known here."""
    if (kind := kind_of(inner)) not in ATTENTIONS:
        raise WeightsError(f"its attention, {kind}, is none of {', '.join(ATTENTIONS)}; choose another backbone")
    return ATTENTIONS[kind](inner, prefix, values)
