"""open_clip's image towers with a grid beside their vector: one run of the trunk, whatever its form.

Axes: B images, H·W = P grid positions, T tokens, D channels, E joint embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mlrpl_cli.core.backbones.backbone import Dense, ImageTower
from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.backbones.filling import fold_batch_norms
from mlrpl_cli.core.backbones.open_clip.attention import last_attention
from mlrpl_cli.core.backbones.open_clip.library import kind_of
from mlrpl_cli.core.backbones.open_clip.pools import MeanPool, Pool, mix, pool_over
from mlrpl_cli.core.io.errors import WeightsError

Shape = tuple[int, int]
Trunk = Callable[[Tensor], tuple[Tensor, Shape]]
"""Images (B, 3, S, S) → tokens (B, T, D), the last H·W of them the grid, and (H, W)."""


class PooledTower(ImageTower):
    """A trunk and a pool over its tokens: attention pools, map pools and means."""

    def __init__(self, visual: Any, trunk: Trunk, pool: Pool) -> None:
        super().__init__()
        self.visual, self.trunk, self.pool = visual, trunk, pool

    def forward(self, images: Tensor) -> ImageFeatures:
        tokens, shape = self.trunk(images)
        weights, values = self.pool.attend(tokens, shape)
        grid = shape[0] * shape[1]
        pooled, joint = self.pool.finish(mix(weights, values)), self.pool.finish(values[:, -grid:])
        return ImageFeatures(tokens[:, -grid:], joint, pooled, weights[:, :, -grid:].mean(dim=1))

    def fold(self) -> None:
        fold_convolutions(self.visual)


class ClassTokenTower(ImageTower):
    """A transformer that is read out at its class token; `blocks` are its own, the last of which is taken apart."""

    def __init__(self, visual: Any, blocks: Any, prefix: int, tokens: Trunk, end: Callable[[Tensor], Tensor]) -> None:
        """`tokens` runs all of `blocks`, and the final norm, on images; `end` takes its tokens (…, D) to (…, E)."""
        super().__init__()
        self.visual, self.tokens, self.end, self.prefix = visual, tokens, end, prefix
        self.last = blocks[-1].attn

    def forward(self, images: Tensor) -> ImageFeatures:
        tokens, _ = self.tokens(images)
        joint, attention = self.end(tokens), self.last.taken_row()
        patches = slice(self.prefix, None)
        return ImageFeatures(tokens[:, patches], joint[:, patches], joint[:, 0], attention[:, patches])

    def fold(self) -> None:
        fold_convolutions(self.visual)


def image_tower(visual: Any, dense: Dense) -> ImageTower:
    """The tower over an image module of open_clip, whose tensors may still be on the meta device.

    Raises WeightsError for a form that is not known here, or that gives no vector.
    """
    tower = FORMS[kind_of(visual)](visual, dense) if kind_of(visual) in FORMS else None
    if tower is None:
        raise WeightsError(f"its image tower, {kind_of(visual)}, is none of {', '.join(FORMS)}")
    return tower


def _resnet(visual: Any, dense: Dense) -> ImageTower:
    def trunk(images: Tensor) -> tuple[Tensor, Shape]:
        x = visual.stem(images)
        return _flat(visual.layer4(visual.layer3(visual.layer2(visual.layer1(x)))))

    _only_values(dense)
    return PooledTower(visual, trunk, pool_over(visual.attnpool, nn.Identity()))


def _vit(visual: Any, dense: Dense) -> ImageTower:
    """`open_clip.transformer.VisionTransformer`, read out at its class token, by a mean or by CoCa's pool."""

    def tokens(images: Tensor) -> tuple[Tensor, Shape]:
        x = visual.transformer(visual._embeds(images))
        return x, _square(x.shape[1] - 1)

    def normed(images: Tensor) -> tuple[Tensor, Shape]:
        x, shape = tokens(images)
        return visual.ln_post(x), shape

    def projected(x: Tensor) -> Tensor:
        return x @ visual.proj.to(x.dtype)

    def end(x: Tensor) -> Tensor:
        return projected(visual.ln_post(x))

    if visual.attn_pool is not None and (visual.attn_pool_contrastive is not None or visual.pool_type != "tok"):
        raise WeightsError("its attentional pool is cascaded, or reads several queries, which is not known here")
    if visual.pool_type not in ("tok", "avg"):
        raise WeightsError(
            f"its pool_type is '{visual.pool_type}', which gives no image vector; choose another backbone"
        )
    if visual.attn_pool is not None:
        _only_values(dense)
        return PooledTower(visual, tokens, pool_over(visual.attn_pool, end))
    if visual.pool_type == "avg":
        trunk, head = (tokens, end) if visual.final_ln_after_pool else (normed, projected)
        return PooledTower(visual, trunk, MeanPool(None, head))
    return _with_class_token(visual, visual.transformer.resblocks, 1, normed, projected, dense)


def _timm(visual: Any, dense: Dense) -> ImageTower:
    """`open_clip.timm_model.TimmModel`: any trunk of timm, pooled by itself or by a pool in open_clip's head."""
    trunk, head = visual.trunk, visual.head
    if hasattr(head, "pool"):
        _only_values(dense)
        behind = nn.Sequential(*(layer for name, layer in head.named_children() if name != "pool"))
        return PooledTower(visual, lambda images: _flat(trunk(images)), pool_over(head.pool, behind))

    def end(x: Tensor) -> Tensor:
        return head(trunk.head(trunk.fc_norm(x)))

    def tokens(images: Tensor) -> tuple[Tensor, Shape]:
        x = trunk.forward_features(images)
        return x, _square(x.shape[1] - trunk.num_prefix_tokens)

    def patches(images: Tensor) -> tuple[Tensor, Shape]:
        x, shape = tokens(images)
        return x[:, trunk.num_prefix_tokens :], shape

    blocks, pool = getattr(trunk, "blocks", None), getattr(trunk, "global_pool", "avg")
    if blocks is None or not hasattr(trunk, "fc_norm"):
        return _timm_map(visual)
    if getattr(trunk, "attn_pool", None) is not None:
        _only_values(dense)
        # Whether a class token is pooled too: timm's ViTs say, its Evas always do.
        pooled = tokens if getattr(trunk, "pool_include_prefix", True) else patches
        return PooledTower(visual, pooled, pool_over(trunk.attn_pool, end))
    if pool == "avg" and not getattr(trunk, "pool_include_prefix", False):
        return PooledTower(visual, tokens, MeanPool(None, end))
    if pool == "token":
        return _with_class_token(visual, blocks, trunk.num_prefix_tokens, tokens, end, dense)
    raise WeightsError(f"its pooling is '{pool}', none of token, avg and map; choose another backbone")


def _timm_map(visual: Any) -> ImageTower:
    """A trunk of timm that ends in a feature map and takes its mean, such as ConvNeXt, FastViT or Swin."""
    trunk = visual.trunk
    pool = getattr(getattr(trunk, "head", trunk), "global_pool", None)
    if (kind := getattr(pool, "pool_type", pool)) not in ("avg", "fast"):
        raise WeightsError(f"its pooling is '{kind}', not the mean of a feature map; choose another backbone")
    last = getattr(trunk, "output_fmt", "NCHW") == "NHWC"

    def features(images: Tensor) -> tuple[Tensor, Shape]:
        x = trunk.forward_features(images)
        return _flat(x.permute(0, 3, 1, 2) if last else x)

    def end(x: Tensor) -> Tensor:
        """Each position as a map of its own, through the library's own head."""
        alone = x.reshape(-1, 1, 1, x.shape[-1]) if last else x.reshape(-1, x.shape[-1], 1, 1)
        return visual.head(trunk.forward_head(alone)).unflatten(0, x.shape[:-1])

    return PooledTower(visual, features, MeanPool(None, end))


FORMS: dict[str, Callable[[Any, Dense], ImageTower]] = {
    "open_clip.ModifiedResNet": _resnet,
    "open_clip.VisionTransformer": _vit,
    "open_clip.TimmModel": _timm,
}


def _with_class_token(
    visual: Any, blocks: Any, prefix: int, tokens: Trunk, end: Callable[[Tensor], Tensor], dense: Dense
) -> ClassTokenTower:
    blocks[-1].attn = last_attention(blocks[-1].attn, prefix, values=dense == "values")
    return ClassTokenTower(visual, blocks, prefix, tokens, end)


def _only_values(dense: Dense) -> None:
    if dense != "values":
        raise WeightsError(
            f"dense: expected 'values' of a backbone with an attention pool, got '{dense}', which is for a class token"
        )


def _flat(feature_map: Tensor) -> tuple[Tensor, Shape]:
    """(B, D, H, W) → (B, P, D) and (H, W)."""
    return feature_map.flatten(2).transpose(1, 2), (feature_map.shape[2], feature_map.shape[3])


def _square(positions: int) -> Shape:
    side = int(positions**0.5)
    return side, side


def fold_convolutions(module: nn.Module) -> None:
    """Batch norms that follow a convolution at once go into it, and timm's branches of one convolution become it."""
    if any(hasattr(part, "reparameterize") or hasattr(part, "fuse") for part in module.modules()):
        from timm.utils.model import reparameterize_model

        reparameterize_model(module, inplace=True)
        module.requires_grad_(False)
    fold_batch_norms(module)


def input_of(visual: Any) -> tuple[int, int, bool]:
    """D, pixels per grid position, and whether the tower takes other sizes, of an image module of open_clip."""
    if (kind := kind_of(visual)) == "open_clip.ModifiedResNet":
        return visual.attnpool.q_proj.in_features, 32, True
    if kind == "open_clip.VisionTransformer":
        patch = visual.patch_size
        if patch[0] != patch[1]:
            raise WeightsError(f"its patches are {patch[0]} x {patch[1]} pixels, not squares; choose another backbone")
        return visual.class_embedding.shape[0], patch[0], True
    trunk = visual.trunk
    stride = trunk.feature_info[-1]["reduction"]
    # What has to be told its size resizes its positions; Swin's and the relative ones' windows would change with it.
    free = not hasattr(trunk, "set_input_size") or kind_of(trunk) in ("timm.VisionTransformer", "timm.Eva")
    return trunk.num_features, int(stride[0] if isinstance(stride, tuple | list) else stride), free


@torch.no_grad()
def set_size(visual: Any, image_size: int) -> None:
    """Make a filled tower take images of that size, where timm does not do so by itself."""
    trunk: Any = getattr(visual, "trunk", None)
    if hasattr(trunk, "set_input_size") and tuple(trunk.patch_embed.img_size) != (image_size, image_size):
        visual.set_input_size(image_size)
        visual.requires_grad_(False)
