"""CLIP's image encoder of the ViT form, under OpenAI's parameter names.

Axes: B images, P patches, D width, E joint embedding.
"""

import torch
from torch import Tensor, nn

from mlrpl_cli.core.backbones.backbone import Dense, ImageTower
from mlrpl_cli.core.backbones.features import ImageFeatures, resize_positions
from mlrpl_cli.core.backbones.openai.transformer import OPENAI_FORM, Form, Transformer


class VisionTransformer(ImageTower):
    """Patches and a class token through a transformer; the grid is the patch tokens after `ln_post`.

    The joint grid takes each patch through the last block seeing itself alone ("values", after MaskCLIP, Zhou et al.
    2022, arXiv 2112.01071): only the class token was trained to be compared with texts, and what it gathers are values.
    Or it is the projected patch tokens ("tokens").
    """

    def __init__(
        self,
        patch: int,
        width: int,
        layers: int,
        embed_dim: int,
        image_size: int,
        hidden: int | None = None,
        form: Form = OPENAI_FORM,
        dense: Dense = "values",
    ) -> None:
        """`hidden` is the width of the MLPs, 4 times `width` by default."""
        super().__init__()
        self.channels, self.embed_dim, self.dense = width, embed_dim, dense
        scale = width**-0.5
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width).mul_(scale))
        self.positional_embedding = nn.Parameter(torch.randn((image_size // patch) ** 2 + 1, width).mul_(scale))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, layers, hidden or 4 * width, form)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.randn(width, embed_dim).mul_(scale))

    def forward(self, images: Tensor) -> ImageFeatures:
        patches = self.conv1(images)  # (B, D, H, W)
        # Not len(images), which a graph that is traced takes for a constant.
        class_token = self.class_embedding.to(patches.dtype).expand(images.shape[0], 1, -1)
        tokens = torch.cat([class_token, patches.flatten(2).transpose(1, 2)], dim=1)  # (B, 1+P, D)
        positions = resize_positions(self.positional_embedding, patches.shape[2:])
        x = self.ln_pre(tokens + positions.to(tokens.dtype))
        *blocks, last = self.transformer.resblocks
        for block in blocks:
            x = block(x)
        attention = last.attn.first_token_attention(last.ln_1(x))
        grid, proj = self.ln_post(last(x)), self.proj.to(x.dtype)
        values = self.ln_post(last.values(x[:, 1:])) if self.dense == "values" else grid[:, 1:]
        return ImageFeatures(grid[:, 1:], joint=values @ proj, pooled=grid[:, 0] @ proj, attention=attention[:, 1:])
