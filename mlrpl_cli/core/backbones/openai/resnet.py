"""CLIP's image encoder of the ResNet form, with OpenAI's parameter names.

Axes: B images, H·W = P grid positions, D channels, E joint embedding, N heads.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlrpl_cli.core.backbones.backbone import ImageTower
from mlrpl_cli.core.backbones.features import ImageFeatures, resize_positions
from mlrpl_cli.core.backbones.filling import fold_batch_norms

EXPANSION, STRIDE, HEAD_WIDTH = 4, 32, 64


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 convolutions around an anti-aliasing average pool, plus the identity."""

    def __init__(self, channels: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        out = planes * EXPANSION
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(planes, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample: nn.Module | None = None
        if stride > 1 or channels != out:
            pool, convolution = nn.AvgPool2d(stride), nn.Conv2d(channels, out, 1, bias=False)
            self.downsample = nn.Sequential(OrderedDict({"-1": pool, "0": convolution, "1": nn.BatchNorm2d(out)}))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        x = self.bn3(self.conv3(self.avgpool(x)))
        return F.relu(x + identity, inplace=True)


class AttentionPool(nn.Module):
    """CLIP's attention pool: `c_proj(v_proj(Σ_t a_t x_t))` per head, a from the query of the mean token.

    The tokens are the mean of the grid and the grid itself, each with its positional embedding.
    """

    def __init__(self, grid_side: int, channels: int, embed_dim: int) -> None:
        super().__init__()
        self.heads = channels // HEAD_WIDTH
        self.positional_embedding = nn.Parameter(torch.randn(grid_side**2 + 1, channels).div_(channels**0.5))
        self.k_proj, self.q_proj, self.v_proj = (nn.Linear(channels, channels) for _ in range(3))
        self.c_proj = nn.Linear(channels, embed_dim)
        self.joint: nn.Linear | None = None

    def tokens(self, feature_map: Tensor) -> Tensor:
        """(B, D, H, W) → (B, 1+P, D): mean token first, positional embeddings added."""
        grid = feature_map.flatten(2).transpose(1, 2)  # (B, P, D)
        tokens = torch.cat([grid.mean(dim=1, keepdim=True), grid], dim=1)
        return tokens + resize_positions(self.positional_embedding, feature_map.shape[2:]).to(grid.dtype)

    def attention(self, tokens: Tensor) -> Tensor:
        """(B, 1+P, D) → (B, N, 1+P): each head's weights over the tokens, summing to 1.

        q_n · (W_n x_t + b_n) = (W_nᵀ q_n) · x_t + a constant, which the softmax does not see: the keys of all tokens
        need not be computed.
        """
        query = self.q_proj(tokens[:, 0]).unflatten(1, (self.heads, -1))  # (B, N, D/N)
        query = query * query.shape[-1] ** -0.5
        weight = self.k_proj.weight.unflatten(0, (self.heads, -1))  # (N, D/N, D)
        looked_for = torch.einsum("bnd,ndc->bnc", query, weight)
        return (looked_for @ tokens.transpose(1, 2)).softmax(dim=-1)

    def project(self, tokens: Tensor) -> Tensor:
        """(B, T, D) → (B, T, E): the value and output projections, which are affine and commute with pooling."""
        return self.c_proj(self.v_proj(tokens)) if self.joint is None else self.joint(tokens)

    def pool(self, tokens: Tensor, attention: Tensor) -> Tensor:
        """Weights (B, N, T) over tokens (B, T, D) → (B, E), CLIP's pooled vector for CLIP's own weights.

        The tokens are pooled before they are projected: N vectors go through v_proj instead of T.
        """
        pooled = attention @ tokens  # (B, N, D)
        weight = self.v_proj.weight.unflatten(0, (self.heads, -1))  # (N, D/N, D)
        share = attention.sum(dim=-1, keepdim=True)  # of the bias; 1 for CLIP's own weights
        value = torch.einsum("bnc,ndc->bnd", pooled, weight) + share * self.v_proj.bias.view(self.heads, -1)
        return self.c_proj(value.flatten(1))


class ResNetEncoder(ImageTower):
    """OpenAI's modified ResNet: a three-convolution stem, anti-aliased strides, an attention pool."""

    def __init__(self, layers: Sequence[int], width: int, embed_dim: int, image_size: int) -> None:
        super().__init__()
        self.channels, self.embed_dim = width * 32, embed_dim
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(2)
        self.layer1 = _stage(width, width, layers[0], stride=1)
        self.layer2 = _stage(width * 4, width * 2, layers[1], stride=2)
        self.layer3 = _stage(width * 8, width * 4, layers[2], stride=2)
        self.layer4 = _stage(width * 16, width * 8, layers[3], stride=2)
        self.attnpool = AttentionPool(image_size // STRIDE, self.channels, embed_dim)

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, 3, 32·H, 32·W) → (B, D, H, W)."""
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        x = self.avgpool(F.relu(self.bn3(self.conv3(x)), inplace=True))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, images: Tensor) -> ImageFeatures:
        feature_map = self.feature_map(images)
        tokens = self.attnpool.tokens(feature_map)
        attention = self.attnpool.attention(tokens)
        joint, pooled = self.attnpool.project(tokens[:, 1:]), self.attnpool.pool(tokens, attention)
        grid = feature_map.flatten(2).transpose(1, 2)
        return ImageFeatures(grid, joint, pooled, attention[:, :, 1:].mean(dim=1))

    def fold(self) -> None:
        """Fold the batch norms, and the attention pool's value and output projections, with nothing between, to D→E."""
        pool = self.attnpool
        weight, bias = pool.c_proj.weight, pool.c_proj.bias
        pool.joint = nn.Linear(pool.v_proj.in_features, len(weight), device="meta").requires_grad_(False)
        joint = {"weight": weight @ pool.v_proj.weight, "bias": torch.addmv(bias, weight, pool.v_proj.bias)}
        pool.joint.load_state_dict(joint, assign=True)
        fold_batch_norms(self)


def _stage(channels: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(channels, planes, stride)
    return nn.Sequential(first, *(Bottleneck(planes * EXPANSION, planes) for _ in range(blocks - 1)))
