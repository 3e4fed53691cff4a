"""How a grid becomes one vector: each pool as weights per head, values and what is done with their sum.

pooled = finish(Σ_t a_t v_t), head by head, and the joint grid is finish(v_t) of each position t alone: the value path.
Where `finish` is affine, the joint grid pooled with the tower's own attention is its own vector.

Axes: B images, P grid positions, T tokens (P and what stands before them), D channels, N heads, V value channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlrpl_cli.core.backbones.open_clip.library import kind_of
from mlrpl_cli.core.io.errors import WeightsError

Finish = Callable[[Tensor], Tensor]
Attended = tuple[Tensor, Tensor]
"""Weights (B, N, T) that sum to 1 over T, and values (B, T, V) whose channels belong to the heads in order."""


class Pool(nn.Module):
    """A kind of pooling over a module of a library."""

    def __init__(self, module: Any, end: Finish) -> None:
        """`end` is what the tower does after `module`: (…, its width) → (…, E)."""
        super().__init__()
        self.module, self.end = module, end

    def attend(self, tokens: Tensor, shape: tuple[int, int]) -> Attended:
        """Tokens (B, T', D), the last H·W of them the grid of `shape` (H, W); others may be put before them."""
        raise NotImplementedError

    def finish(self, values: Tensor) -> Tensor:
        """(…, V) → (…, E)."""
        raise NotImplementedError


class MeanPool(Pool):
    """The mean of the positions; `module` is not used, `end` is the head."""

    def attend(self, tokens: Tensor, shape: tuple[int, int]) -> Attended:
        grid = tokens[:, tokens.shape[1] - shape[0] * shape[1] :]
        return grid.new_full((grid.shape[0], 1, grid.shape[1]), 1 / grid.shape[1]), grid

    def finish(self, values: Tensor) -> Tensor:
        return self.end(values)


class ResNetPool(Pool):
    """CLIP's attention pool: the query is the mean of the grid; `open_clip.modified_resnet.AttentionPool2d`."""

    def attend(self, tokens: Tensor, shape: tuple[int, int]) -> Attended:
        pool = self.module
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)
        tokens = tokens + pool.positional_embedding.to(tokens.dtype)
        weights = attention_of(pool.q_proj(tokens[:, :1]), pool.k_proj(tokens), pool.num_heads)
        return weights, pool.v_proj(tokens)

    def finish(self, values: Tensor) -> Tensor:
        return self.end(self.module.c_proj(values))


class QueryPool(Pool):
    """CoCa's pool, `open_clip.transformer.AttentionalPooler`: of many learned queries, the first gives the image."""

    def attend(self, tokens: Tensor, shape: tuple[int, int]) -> Attended:
        pool, mha = self.module, self.module.attn
        tokens = pool.ln_k(tokens)
        queries = pool.ln_q(pool.query)[:1]
        (query_weight, key_weight, value_weight), (query_bias, key_bias, value_bias) = _projections(mha)
        query = F.linear(queries, query_weight, query_bias).expand(tokens.shape[0], -1, -1)
        weights = attention_of(query, F.linear(tokens, key_weight, key_bias), mha.num_heads)
        return weights, F.linear(tokens, value_weight, value_bias)

    def finish(self, values: Tensor) -> Tensor:
        return self.end(self.module.attn.out_proj(values))


class MapPool(Pool):
    """SigLIP's pool of one learned query and an MLP behind it, `timm.layers.AttentionPoolLatent`."""

    def __init__(self, module: Any, end: Finish) -> None:
        super().__init__(module, end)
        if module.latent_len != 1 or module.pool not in ("token", "avg") or module.pos_embed is not None:
            raise WeightsError("its map pool has several queries or positions of its own, which is not known here")

    def attend(self, tokens: Tensor, shape: tuple[int, int]) -> Attended:
        pool = self.module
        query = pool.q(pool.latent).unflatten(2, (pool.num_heads, -1)).transpose(1, 2)  # (1, N, 1, V/N)
        key, value = pool.kv(tokens).chunk(2, dim=-1)
        key = key.unflatten(2, (pool.num_heads, -1)).transpose(1, 2)
        scores = (pool.q_norm(query) * pool.scale) @ pool.k_norm(key).transpose(2, 3)
        return scores.softmax(dim=-1).squeeze(2), value

    def finish(self, values: Tensor) -> Tensor:
        pool = self.module
        x = pool.proj(values)
        return self.end(x if pool.mlp is None else x + pool.mlp(pool.norm(x)))


class TokenPool2d(Pool):
    """timm's `AttentionPool2d`: CLIP's attention pool with the positions of any grid, or with a class token."""

    def attend(self, tokens: Tensor, shape: tuple[int, int]) -> Attended:
        from timm.layers import resample_abs_pos_embed

        pool = self.module
        tokens = self.with_first(tokens)
        table = pool.pos_embed.unsqueeze(0)
        positions = resample_abs_pos_embed(table, list(shape), old_size=list(pool.feat_size), num_prefix_tokens=1)
        query, key, value = self.projected(tokens + positions.to(tokens.dtype))
        return attention_of(query[:, :1], key, pool.num_heads), value

    def with_first(self, tokens: Tensor) -> Tensor:
        pool = self.module
        given = pool.cls_token is not None
        first = pool.cls_token.expand(tokens.shape[0], -1, -1) if given else tokens.mean(dim=1, keepdim=True)
        return torch.cat([first, tokens], dim=1)

    def projected(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pool = self.module
        if pool.qkv is None:
            return pool.q(tokens), pool.k(tokens), pool.v(tokens)
        query, key, value = pool.qkv(tokens).chunk(3, dim=-1)
        return query, key, value

    def finish(self, values: Tensor) -> Tensor:
        return self.end(self.module.proj(values))


class RotaryPool2d(TokenPool2d):
    """timm's `RotAttentionPool2d`: the positions turn queries and keys; the first token has none."""

    def attend(self, tokens: Tensor, shape: tuple[int, int]) -> Attended:
        from timm.layers import apply_rot_embed_cat

        pool = self.module
        query, key, value = self.projected(self.with_first(tokens))
        rope = pool.pos_embed.get_embed(shape)
        rope = torch.cat(rope, dim=-1) if isinstance(rope, tuple) else rope
        key = key.unflatten(2, (pool.num_heads, -1)).transpose(1, 2)
        turned = apply_rot_embed_cat(key[:, :, 1:], rope, half=getattr(pool, "rotate_half", False))
        key = torch.cat([key[:, :, :1], turned.type_as(key)], dim=2).transpose(1, 2).flatten(2)
        return attention_of(query[:, :1], key, pool.num_heads), value


POOLS: dict[str, type[Pool]] = {
    "open_clip.AttentionPool2d": ResNetPool,
    "open_clip.AttentionalPooler": QueryPool,
    "timm.AttentionPoolLatent": MapPool,
    "timm.AttentionPool2d": TokenPool2d,
    "timm.RotAttentionPool2d": RotaryPool2d,
}
"""The class of a library's pool → how it is taken apart."""


def pool_over(module: nn.Module, end: Finish) -> Pool:
    """The pool of a library's `module`. Raises WeightsError for a kind that is not known here."""
    if (kind := kind_of(module)) not in POOLS:
        raise WeightsError(f"its pooling, {kind}, is none of {', '.join(POOLS)}; choose another backbone")
    return POOLS[kind](module, end)


def attention_of(query: Tensor, key: Tensor, heads: int) -> Tensor:
    """One query each (B, 1, V) on keys (B, T, V) → (B, N, T), each head's weights."""
    query, key = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (query, key))
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)  # (B, N, 1, T)
    return scores.softmax(dim=-1).squeeze(2)


def mix(weights: Tensor, values: Tensor) -> Tensor:
    """Weights (B, N, T) over values (B, T, V), whose channels belong to the heads in order → (B, V)."""
    heads = values.unflatten(2, (weights.shape[1], -1)).transpose(1, 2)  # (B, N, T, V/N)
    return (weights.unsqueeze(2) @ heads).flatten(1)


def _projections(attention: Any) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Weights and biases of queries, keys and values of an `nn.MultiheadAttention`."""
    if attention.in_proj_weight is not None:
        weights = tuple(attention.in_proj_weight.chunk(3))
    else:
        weights = (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
    return weights, tuple(attention.in_proj_bias.chunk(3))
