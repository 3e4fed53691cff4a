"""The pre-norm transformer, of which the text encoder is made too, and CLIP's image encoder of the ViT form.

Under OpenAI's parameter names. Axes: B images or texts, T tokens, P patches, W = D width, N heads, E joint embedding.
"""

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlrpl_cli.core.backbones.features import ImageFeatures, resize_positions

HEAD_WIDTH, QUICK = 64, 1.702


class QuickGELU(nn.Module):
    """x · sigmoid(1.702 x), the activation of every OpenAI checkpoint."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(QUICK * x) / QUICK  # silu(z) = z · sigmoid(z), one pass forward and one back


class SelfAttention(nn.Module):
    """Multi-head self-attention with the packed projections of `nn.MultiheadAttention`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width).mul_(width**-0.5))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, W) → (B, T, W): every position sees every other."""
        return self.out_proj(self.mix(self.pack(x), causal=False))

    def pack(self, x: Tensor, parts: slice = slice(0, 3)) -> Tensor:
        """(…, W) → (…, 3W): queries, keys and values side by side; `parts` says which of the three alone."""
        rows = slice(parts.start * x.shape[-1], parts.stop * x.shape[-1])
        return F.linear(x, self.in_proj_weight[rows], self.in_proj_bias[rows])

    def mix(self, packed: Tensor, causal: bool) -> Tensor:
        """Packed (B, T, 3W) → (B, T, W): values mixed by attention, before the output projection.

        With `causal` a position sees itself and what is before it.
        """
        query, key, value = self._heads(packed, 3)
        return F.scaled_dot_product_attention(query, key, value, is_causal=causal).transpose(1, 2).flatten(2)

    def mix_from(self, queries: Tensor, packed: Tensor) -> Tensor:
        """One query of each sequence (B, W) over its keys and values (B, T, 2W) → (B, W)."""
        key, value = self._heads(packed, 2)
        query = queries.unflatten(1, (self.heads, 1, -1))  # (B, N, 1, W/N)
        return F.scaled_dot_product_attention(query, key, value).flatten(1)

    def first_token_attention(self, x: Tensor) -> Tensor:
        """(B, T, W) → (B, T): the first token's weights over all tokens, averaged over heads, summing to 1."""
        query, key, _ = self._heads(self.pack(x), 3)
        scores = (query[:, :, :1] * query.shape[-1] ** -0.5) @ key.transpose(2, 3)  # (B, N, 1, T)
        return scores.softmax(dim=-1).mean(dim=1).squeeze(1)

    def _heads(self, packed: Tensor, parts: int) -> Tensor:
        """(B, T, parts·W) → (parts, B, N, T, W/N)."""
        return packed.unflatten(2, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4)


class ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = SelfAttention(width)
        self.ln_1 = nn.LayerNorm(width)
        layers = OrderedDict(c_fc=nn.Linear(width, 4 * width), gelu=QuickGELU(), c_proj=nn.Linear(4 * width, width))
        self.mlp = nn.Sequential(layers)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, W) → (B, T, W), every position seeing every other."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """`layers` residual blocks; each encoder goes through them in its own way."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.resblocks: Any = nn.ModuleList(ResidualBlock(width) for _ in range(layers))


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
