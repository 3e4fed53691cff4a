"""What a joint grid has to do with its tower's own vector, computed on small random models of every family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mlrpl_cli.core.backbones.backbone import Backbone
from mlrpl_cli.core.backbones.open_clip.pools import mix
from mlrpl_cli.core.backbones.open_clip.towers import PooledTower
from scripts.small_backbones import library_model

State = Mapping[str, Tensor]


def difference(got: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest expected value."""
    got, expected = got.double(), expected.double()
    return float((got - expected).abs().max() / expected.abs().max())


def images_of(size: int, count: int = 2) -> Tensor:
    """(count, 3, size, size) normalised noise, the same each time."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(3))


def encode(model: Mapping[str, Any], state: State, images: Tensor) -> Tensor:
    """open_clip's own vectors (B, E)."""
    encoded = library_model(model, state).encode_image(images)
    return encoded[0] if isinstance(encoded, tuple) else encoded


def pooled_values(tower: PooledTower, images: Tensor) -> float:
    """Σ_n Σ_t a_nt (f(v_nt) - f(0)) + f(0) beside the vector; f is what follows the values, and is affine.

    a_nt are head n's weights and v_nt its channels of the values alone; the token that the pool adds is one of the t.
    """
    weights, values = tower.pool.attend(*tower.trunk(images))
    nothing = tower.pool.finish(torch.zeros_like(values[:1, 0]))
    alone = tower.pool.finish(per_head(values, weights.shape[1])) - nothing  # (B, N, T, E)
    features = tower(images)
    of_all = difference((weights[..., None] * alone).sum(dim=(1, 2)) + nothing, features.pooled)
    joint = alone.sum(dim=1)[:, -features.joint.shape[1] :] + nothing
    return max(of_all, difference(joint, features.joint))


def pooled_projections(tower: PooledTower, images: Tensor) -> float:
    """The same where a LayerNorm or an MLP follows the attention's own projection, beside what comes out of that."""
    weights, values = tower.pool.attend(*tower.trunk(images))
    module = tower.pool.module
    project = module.attn.out_proj if hasattr(module, "attn") else module.proj
    nothing = project(torch.zeros_like(values[:1, 0]))
    alone = project(per_head(values, weights.shape[1])) - nothing
    return difference((weights[..., None] * alone).sum(dim=(1, 2)) + nothing, project(mix(weights, values)))


def mean_of_joint(backbone: Backbone, images: Tensor) -> float:
    """The mean of the joint grid beside the vector, of a mean with a linear head."""
    features = backbone.image_tower(backbone.rule.size)(images)
    return difference(features.joint.mean(dim=1), features.pooled)


def one_position(backbone: Backbone) -> float:
    """The joint grid of an image of one position beside its vector: all there is to pool is that position."""
    features = backbone.image_tower(backbone.rule.stride)(images_of(backbone.rule.stride))
    return difference(features.joint[:, 0], features.pooled)


def values_under_mask(model: Mapping[str, Any], state: State, backbone: Backbone, images: Tensor) -> float:
    """The joint grid and the vector beside the library's tower whose last block has an identity mask.

    Each patch attends to itself alone and the class token to everything.
    """
    tokens = 1 + (backbone.rule.size // backbone.rule.stride) ** 2
    mask = torch.full((tokens, tokens), float("-inf")).fill_diagonal_(0)
    mask[0] = 0
    expected, features = library_tokens(model, state, images, mask), backbone.image_tower(backbone.rule.size)(images)
    return max(difference(features.joint, expected[:, 1:]), difference(features.pooled, expected[:, 0]))


def library_tokens(model: Mapping[str, Any], state: State, images: Tensor, mask: Tensor | None = None) -> Tensor:
    """(B, T, E): every token of the library's tower, normed and projected, its last block under `mask`."""
    visual = library_model(model, state).visual
    trunk = getattr(visual, "trunk", visual)
    blocks = visual.transformer.resblocks if trunk is visual else trunk.blocks
    block = blocks[-1].forward
    if mask is not None:
        blocks[-1].forward = lambda x, **given: block(x, **{**given, "attn_mask": mask})
    if trunk is visual:
        return visual.ln_post(visual.transformer(visual._embeds(images))) @ visual.proj
    return visual.head(trunk.head(trunk.fc_norm(trunk.forward_features(images))))


def per_head(values: Tensor, heads: int) -> Tensor:
    """(B, T, V) → (B, N, T, V), of each head its own channels and zeros for the others'."""
    owner = torch.arange(values.shape[2]) // (values.shape[2] // heads)
    return values[:, None] * (owner == torch.arange(heads)[:, None])[:, None]
