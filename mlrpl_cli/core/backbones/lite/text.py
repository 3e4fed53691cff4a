"""MiniLM, a BERT of 6 layers (Devlin et al. 2019, arXiv:1810.04805) that embeds sentences, as a text tower.

Axes: C texts, T tokens in a text, R tokens of all texts, W width, N heads, E joint embedding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlrpl_cli.core.backbones.backbone import TextTower
from mlrpl_cli.core.backbones.lite.joint import TEMPERATURE, JointSpace
from mlrpl_cli.core.backbones.lite.packages import ADVICE
from mlrpl_cli.core.backbones.tokens import check_lengths
from mlrpl_cli.core.io.errors import WeightsError

LAYERS, WIDTH, HEADS, INNER, EPSILON = 6, 384, 12, 1536, 1e-12
VOCABULARY, POSITIONS = 30522, 512
CONTEXT_LENGTH = 128
"""Tokens of a text that its makers trained it on."""

Shapes = list[tuple[int, int]]
"""Of each group of texts of one length: how many they are, and T."""


class Layer(nn.Module):
    """Self-attention and two linear layers, a layer norm behind each sum."""

    def __init__(self) -> None:
        super().__init__()
        self.packed = nn.Linear(WIDTH, 3 * WIDTH)
        self.mixed = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, EPSILON)
        self.inner = nn.Linear(WIDTH, INNER)
        self.outer = nn.Linear(INNER, WIDTH)
        self.last_norm = nn.LayerNorm(WIDTH, EPSILON)

    def forward(self, rows: Tensor, shapes: Shapes) -> Tensor:
        """(R, W) → (R, W): every token of a text sees all of that text."""
        parts = self.packed(rows).split([texts * length for texts, length in shapes])
        attended = torch.cat([_attend(part, shape) for part, shape in zip(parts, shapes, strict=True)])
        rows = self.norm(rows + self.mixed(attended))
        return self.last_norm(rows + self.outer(F.gelu(self.inner(rows))))


class SentenceEncoder(nn.Module):
    """Word embeddings → the mean over a text's tokens, of unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(POSITIONS, WIDTH)
        self.types = nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, EPSILON)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, embeddings: Tensor, end: Tensor) -> Tensor:
        """Word embeddings (C, T, W), and the index (C,) of each text's last token → (C, W).

        Texts of one length are computed together, so that no layer sees padding and attention needs no mask.
        """
        members, shapes, given = _packing(tuple(end.tolist()), embeddings.device)
        x = self.norm(embeddings + self.positions.weight[: embeddings.shape[1]] + self.types.weight[0])
        rows = torch.cat([x[which, :length].flatten(0, 1) for which, (_, length) in zip(members, shapes, strict=True)])
        for layer in self.layers:
            rows = layer(rows, shapes)
        parts = rows.split([texts * length for texts, length in shapes])
        means = [part.unflatten(0, shape).mean(dim=1) for part, shape in zip(parts, shapes, strict=True)]
        return F.normalize(torch.cat(means), dim=-1)[given]


class MiniLM(TextTower):
    """The sentence encoder, and what its embedding says of ImageNet's labels: q = softmax(cos(t - m, k) / τ) → Uᵀ q.

    The L keys k are embeddings of the labels, less their mean m; see `joint.py`.
    """

    width, context_length = WIDTH, CONTEXT_LENGTH
    mean: Tensor
    keys: Tensor
    basis: Tensor

    def __init__(self, space: JointSpace) -> None:
        super().__init__()
        self.encoder = SentenceEncoder()
        for name, tensor in vars(space).items():
            self.register_buffer(name, tensor)

    def forward(self, embeddings: Tensor, end: Tensor) -> Tensor:
        text = self.encoder(embeddings.to(self.keys.dtype), end) - self.mean
        similarity = F.normalize(text, dim=-1) @ self.keys.T  # (C, L)
        exact = torch.promote_types(similarity.dtype, torch.float32)
        return ((similarity.to(exact) / TEMPERATURE).softmax(dim=-1) @ self.basis.to(exact)).float()

    def embed(self, ids: Tensor) -> Tensor:
        return self.encoder.words(ids.to(self.encoder.words.weight.device))


class WordPieces:
    """BERT's lower-case word pieces between [CLS] and [SEP], by the `tokenizers` library."""

    leading = trailing = 1

    def __init__(self, definition: str) -> None:
        """`definition` is the text of a `tokenizer.json`. Raises WeightsError without the `tokenizers` library."""
        try:
            from tokenizers import Tokenizer  # here: other backbones do without it
        except ImportError as error:
            raise WeightsError(f"the backbone lite needs tokenizers, which is not installed; {ADVICE}") from error

        self.pieces = Tokenizer.from_str(definition)
        self.pieces.no_truncation()  # what is too long is refused instead
        self.pieces.no_padding()

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        rows = [encoding.ids for encoding in self.pieces.encode_batch(list(texts))]
        check_lengths(texts, rows, CONTEXT_LENGTH, "lite")
        return rows


def renamed(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """BERT's published names → those of `SentenceEncoder`; the pooler's are left out."""
    for name in ("word", "position", "token_type"):
        yield f"{name.rpartition('_')[2]}s.weight", state[f"embeddings.{name}_embeddings.weight"]
    for value in ("weight", "bias"):
        yield f"norm.{value}", state[f"embeddings.LayerNorm.{value}"]
        for layer in range(LAYERS):
            old, new = f"encoder.layer.{layer}.", f"layers.{layer}."
            projections = (state[f"{old}attention.self.{part}.{value}"] for part in ("query", "key", "value"))
            yield f"{new}packed.{value}", torch.cat(list(projections))
            for ours, theirs in _IN_LAYER.items():
                yield f"{new}{ours}.{value}", state[f"{old}{theirs}.{value}"]


_IN_LAYER = {
    "mixed": "attention.output.dense",
    "norm": "attention.output.LayerNorm",
    "inner": "intermediate.dense",
    "outer": "output.dense",
    "last_norm": "output.LayerNorm",
}


def _attend(packed: Tensor, shape: tuple[int, int]) -> Tensor:
    """Queries, keys and values (texts·T, 3W) of texts of one length → (texts·T, W)."""
    query, key, value = packed.view(*shape, 3, HEADS, -1).permute(2, 0, 3, 1, 4)  # (texts, N, T, W/N) each
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(-1, WIDTH)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _packing(ends: tuple[int, ...], device: torch.device) -> tuple[list[Tensor], Shapes, Tensor]:
    """Which texts each group holds, the groups' shapes, and where (C,) each text stands in their order.

    Computed once for the same texts, off the device: reading lengths from a GPU would stop it at every step.
    """
    counts = sorted(Counter(ends).items())
    order = torch.tensor(sorted(range(len(ends)), key=ends.__getitem__))
    members = order.to(device).split([count for _, count in counts])
    return list(members), [(count, end + 1) for end, count in counts], order.argsort().to(device)
