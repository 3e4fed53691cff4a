"""The hot parts in their plain published form: slow, obvious, float32. OpenAI's modules themselves come from open_clip.

Axes: B images, P grid positions, D channels, C classes, K attention width, E joint embedding, T tokens.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlrpl_cli.core.backbones.features import resize_positions
from mlrpl_cli.core.backbones.open_clip.library import open_clip
from mlrpl_cli.core.backbones.openai.architectures import Architecture, StateDict
from mlrpl_cli.core.heads.semantic_decoupling import SemanticDecoupling

POSITIONS = "visual.attnpool.positional_embedding"


def openai_model(architecture: Architecture, state: StateDict, image_size: int) -> Any:
    """OpenAI's CLIP as open_clip writes it, on the same weights, its positions resized to `image_size`."""
    image, text = architecture.image, architecture.text
    side = image_size // image.stride
    words = {"context_length": text.context_length, "vocab_size": text.vocabulary, "width": text.width}
    model = open_clip().CLIP(
        image.embed_dim,
        {"image_size": image_size, "layers": list(image.layers), "width": image.width, "head_width": 64},
        {**words, "heads": text.width // 64, "layers": text.layers},
        quick_gelu=True,
    )
    resized = {**state, POSITIONS: resize_positions(state[POSITIONS], (side, side))}
    model.load_state_dict(resized, strict=False)
    return model.eval().requires_grad_(False)


def feature_map(visual: Any, images: Tensor) -> Tensor:
    """(B, 3, H, W) → (B, D, H/32, W/32) through OpenAI's stem and stages."""
    x = visual.stem(images)
    return visual.layer4(visual.layer3(visual.layer2(visual.layer1(x))))


def joint_and_attention(pool: Any, feature_map: Tensor) -> tuple[Tensor, Tensor]:
    """Projected positions (B, P, E), and the mean token's attention on them (B, P), averaged over heads."""
    grid = feature_map.flatten(2).transpose(1, 2)
    tokens = torch.cat([grid.mean(dim=1, keepdim=True), grid], dim=1) + pool.positional_embedding
    heads = (pool.num_heads, -1)
    query = pool.q_proj(tokens[:, :1]).unflatten(2, heads).transpose(1, 2)
    key = pool.k_proj(tokens).unflatten(2, heads).transpose(1, 2)
    weights = (query @ key.transpose(2, 3) * query.shape[-1] ** -0.5).softmax(dim=-1)  # (B, N, 1, 1+P)
    return pool.c_proj(pool.v_proj(tokens[:, 1:])), weights[:, :, 0, 1:].mean(dim=1)


def encode_prompts(clip: Any, embeddings: Tensor, end: Tensor) -> Tensor:
    """Token embeddings (C, 77, W), all of them encoded → (C, E)."""
    x = embeddings + clip.positional_embedding
    x = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask))
    return x[torch.arange(len(x)), end] @ clip.text_projection


class MaterialisedDecoupling(nn.Module):
    """SSGRL's semantic decoupling (Chen et al., ICCV 2019, eq. 1-3) as its equations stand.

    f̃ = Pᵀ(tanh((Uᵀf) ⊙ (Vᵀx))) + b, ã = f_a(f̃), f_c = Σ_p softmax_p(ã) f, every product held whole.
    """

    def __init__(self, channels: int, semantic_size: int, width: int) -> None:
        super().__init__()
        self.image_projection = nn.Linear(channels, width, bias=False)
        self.semantic_projection = nn.Linear(semantic_size, width, bias=False)
        self.output = nn.Linear(width, width)
        self.score = nn.Linear(width, 1)

    @torch.no_grad()
    def share_weights(self, ours: SemanticDecoupling) -> None:
        """Make both compute the same: U and V are theirs, and their v becomes P w (method.md, part 2)."""
        self.image_projection.weight.copy_(ours.image_projection.weight)
        self.semantic_projection.weight.copy_(ours.semantic_projection.weight)
        ours.score.copy_(self.output.weight.T @ self.score.weight[0])

    def forward(self, grid: Tensor, semantics: Tensor) -> Tensor:
        """(B, P, D) and (C, S) → (B, C, D)."""
        image, words = self.image_projection(grid), self.semantic_projection(semantics)
        joined = self.output(torch.tanh(image[:, :, None] * words))  # (B, P, C, K)
        attention = self.score(joined).squeeze(-1).softmax(dim=1)  # (B, P, C)
        return (attention[..., None] * grid[:, :, None]).sum(dim=1)  # (B, P, C, D) summed over P


class DualCoOp(nn.Module):
    """DualCoOp (Sun et al., NeurIPS 2022): images and both prompts of each class encoded anew in every step."""

    before: Tensor
    after: Tensor

    def __init__(self, clip: Any, prompts: Tensor, end: Tensor, context_tokens: int) -> None:
        """Embeddings of the prompts (C, 77, W) whose `context_tokens` tokens after the first are learned."""
        super().__init__()
        self.clip, self.end = clip, torch.cat([end, end])
        both = torch.cat([prompts, prompts])
        self.context = nn.Parameter(both[:, 1 : 1 + context_tokens].clone())
        self.register_buffer("before", both[:, :1].clone())
        self.register_buffer("after", both[:, 1 + context_tokens :].clone())

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) → logits (B, C) of present against absent."""
        pool = self.clip.visual.attnpool
        grid = feature_map(self.clip.visual, images).flatten(2).transpose(1, 2)
        regions = F.normalize(pool.c_proj(pool.v_proj(grid)), dim=-1)  # (B, P, E)
        tokens = torch.cat([self.before, self.context, self.after], dim=1)
        text = F.normalize(encode_prompts(self.clip, tokens, self.end), dim=-1)  # (2C, E)
        present, absent = (20 * regions @ text.T).chunk(2, dim=-1)  # (B, P, C)
        weights = present.softmax(dim=1)
        return 5 * (weights * (present - absent)).sum(dim=1)
