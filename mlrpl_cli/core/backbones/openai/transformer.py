"""The pre-norm transformer of both of CLIP's encoders, under OpenAI's parameter names.

Axes: B images or texts, T tokens, W width, N heads.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

QUICK = 1.702


@dataclass(frozen=True)
class Form:
    """What the shapes of a transformer's tensors do not say, or not by themselves; the defaults are OpenAI's."""

    head_width: int = 64
    quick_gelu: bool = True
    """Whether the activation is x · sigmoid(1.702 x), or the exact GELU."""


OPENAI_FORM = Form()


class QuickGELU(nn.Module):
    """x · sigmoid(1.702 x), the activation of every OpenAI checkpoint."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(QUICK * x) / QUICK  # silu(z) = z · sigmoid(z), one pass forward and one back


class SelfAttention(nn.Module):
    """Multi-head self-attention with the packed projections of `nn.MultiheadAttention`."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.heads = width // head_width
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
    def __init__(self, width: int, hidden: int, form: Form) -> None:
        super().__init__()
        self.attn = SelfAttention(width, form.head_width)
        self.ln_1 = nn.LayerNorm(width)
        gelu = QuickGELU() if form.quick_gelu else nn.GELU()
        layers = OrderedDict[str, nn.Module](c_fc=nn.Linear(width, hidden), gelu=gelu)
        layers["c_proj"] = nn.Linear(hidden, width)
        self.mlp = nn.Sequential(layers)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, W) → (B, T, W), every position seeing every other."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))

    def values(self, x: Tensor) -> Tensor:
        """(B, T, W) → (B, T, W), every position seeing itself alone: then attention gives its own value."""
        x = x + self.attn.out_proj(self.attn.pack(self.ln_1(x), slice(2, 3)))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """`layers` residual blocks, their MLPs `hidden` wide; each encoder goes through them in its own way."""

    def __init__(self, width: int, layers: int, hidden: int, form: Form) -> None:
        super().__init__()
        self.resblocks: Any = nn.ModuleList(ResidualBlock(width, hidden, form) for _ in range(layers))
