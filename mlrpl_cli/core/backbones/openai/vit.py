"""CLIP's image encoder of the Vision Transformer form, with OpenAI's parameter names.

Axes: B images, P patches, D = width, E joint embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlrpl_cli.core.backbones.features import ImageFeatures, resize_positions
from mlrpl_cli.core.backbones.openai.transformer import HEAD_WIDTH, Transformer


class VisionTransformer(nn.Module):
    """Patches and a class token through a transformer; the grid is the patch tokens after `ln_post`."""

    def __init__(self, patch: int, width: int, layers: int, embed_dim: int, image_size: int) -> None:
        super().__init__()
        self.stride, self.channels, self.embed_dim, self.image_size = patch, width, embed_dim, image_size
        scale = width**-0.5
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width).mul_(scale))
        self.positional_embedding = nn.Parameter(torch.randn((image_size // patch) ** 2 + 1, width).mul_(scale))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, layers, width // HEAD_WIDTH)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.randn(width, embed_dim).mul_(scale))

    def tokens(self, images: Tensor) -> Tensor:
        """(B, 3, h, w) → (B, 1+P, D): the class token and the patches, positions added, normalised."""
        patches = self.conv1(images)  # (B, D, H, W)
        class_token = self.class_embedding.to(patches.dtype).expand(len(images), 1, -1)
        tokens = torch.cat([class_token, patches.flatten(2).transpose(1, 2)], dim=1)
        positions = resize_positions(self.positional_embedding, patches.shape[2:])
        return self.ln_pre(tokens + positions.to(tokens.dtype))

    def forward(self, images: Tensor) -> ImageFeatures:
        x = self.tokens(images)
        *blocks, last = self.transformer.blocks()
        for block in blocks:
            x = block(x)
        attention = last.attn.first_token_attention(last.ln_1(x))
        x = self.ln_post(last(x))
        joint = x @ self.proj.to(x.dtype)
        return ImageFeatures(grid=x[:, 1:], joint=joint[:, 1:], pooled=joint[:, 0], attention=attention[:, 1:])
