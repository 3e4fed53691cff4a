"""CLIP's image encoder of the ViT form, under OpenAI's parameter names.

Axes: B images, P patches, D width, E joint embedding.
"""

import torch
from torch import Tensor, nn

from mlrpl_cli.core.backbones.features import ImageFeatures, resize_positions
from mlrpl_cli.core.backbones.openai.transformer import Transformer


class VisionTransformer(nn.Module):
    """Patches and a class token through a transformer; the grid is the patch tokens after `ln_post`."""

    def __init__(self, patch: int, width: int, layers: int, embed_dim: int, image_size: int) -> None:
        super().__init__()
        self.stride, self.channels, self.embed_dim = patch, width, embed_dim
        scale = width**-0.5
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width).mul_(scale))
        self.positional_embedding = nn.Parameter(torch.randn((image_size // patch) ** 2 + 1, width).mul_(scale))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, layers)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.randn(width, embed_dim).mul_(scale))

    def forward(self, images: Tensor) -> ImageFeatures:
        patches = self.conv1(images)  # (B, D, H, W)
        class_token = self.class_embedding.to(patches.dtype).expand(len(images), 1, -1)
        tokens = torch.cat([class_token, patches.flatten(2).transpose(1, 2)], dim=1)  # (B, 1+P, D)
        positions = resize_positions(self.positional_embedding, patches.shape[2:])
        x = self.ln_pre(tokens + positions.to(tokens.dtype))
        *blocks, last = self.transformer.resblocks
        for block in blocks:
            x = block(x)
        attention = last.attn.first_token_attention(last.ln_1(x))
        x = self.ln_post(last(x))
        joint = x @ self.proj.to(x.dtype)
        return ImageFeatures(grid=x[:, 1:], joint=joint[:, 1:], pooled=joint[:, 0], attention=attention[:, 1:])
