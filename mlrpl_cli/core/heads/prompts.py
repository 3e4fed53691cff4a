"""Learnable prompts through the frozen text encoder: [v_1 … v_M, the words of the name, "."] (method.md, part 4).

Axes: C classes, M context tokens, T tokens in a prompt, W text width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mlrpl_cli.core.backbones.openai.text import TextEncoder, pad_tokens
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.io.errors import ConfigError, first_few

Tokenize = Callable[[Sequence[str]], list[list[int]]]

CONTEXT_STD = 0.02
# What VOC writes as one word, CLIP's tokenizer and GloVe know as two.
JOINED = {"diningtable": "dining table", "pottedplant": "potted plant", "tvmonitor": "tv monitor"}


@dataclass(frozen=True)
class TextInputs:
    """What a method's text head and semantic vectors are made from."""

    config: TrainConfig
    classes: Sequence[str]
    text_encoder: TextEncoder
    tokenize: Tokenize
    generator: torch.Generator
    """What is learned is drawn from it."""


class PromptLearner(nn.Module):
    """Prompts whose M context vectors are learned: one context for every class, or one for all of them."""

    prefix: Tensor
    suffix: Tensor

    def __init__(self, prefix: Tensor, suffix: Tensor, end: Tensor, context: Tensor) -> None:
        """Frozen start token (1, W), frozen words (C, T-1-M, W), end indices (C,), initial contexts (C or 1, M, W)."""
        super().__init__()
        self.register_buffer("prefix", prefix, persistent=False)
        self.register_buffer("suffix", suffix, persistent=False)
        self.end = end  # not a buffer: the text encoder reads it, and reading from a GPU would stop it
        self.context = nn.Parameter(context)

    def forward(self) -> Tensor:
        """Prompt embeddings (C, T, W), T the length of the longest prompt; `end` (C,) says where each one stops."""
        classes = len(self.suffix)
        prefix = self.prefix.expand(classes, 1, -1)
        return torch.cat([prefix, self.context.expand(classes, -1, -1), self.suffix], dim=1)


def build_prompts(inputs: TextInputs, per_class: bool) -> PromptLearner:
    """Prompts for the classes, contexts drawn from N(0, 0.02) or starting as the words of `config.context_template`.

    Raises ConfigError naming every class whose name is too long for the text encoder.
    """
    context = _initial_context(inputs, len(inputs.classes) if per_class else 1)
    tokens, limit = context.shape[1], inputs.text_encoder.context_length
    rows = inputs.tokenize([f"{readable(name)}." for name in inputs.classes])
    if long := [name for name, row in zip(inputs.classes, rows, strict=True) if len(row) + tokens > limit]:
        raise ConfigError(
            f"prompts must fit {limit} tokens, {tokens} of them context; too long: {first_few(long)}; "
            "shorten the names or lower context_tokens"
        )
    ids, last = pad_tokens(rows)
    embedded = inputs.text_encoder.embed(ids)
    return PromptLearner(embedded[0, :1].clone(), embedded[:, 1:].clone(), last + tokens, context)


def check_class_names(classes: Sequence[str]) -> None:
    """Raise ConfigError when there is no class, or a name is empty or given twice."""
    repeated = [name for name, count in Counter(readable(name).lower() for name in classes).items() if count > 1]
    empty = [position for position, name in enumerate(classes) if not readable(name)]
    if not classes:
        raise ConfigError("no class to recognise; give at least one")
    if empty:
        raise ConfigError(f"class names must not be empty; number {first_few(empty)} (counting from 0) is")
    if repeated:
        raise ConfigError(f"class names must differ; given more than once: {first_few(repeated)}")


def readable(name: str) -> str:
    """The words of a class name: underscores read as spaces, runs of white space as one, VOC's joined words apart."""
    words = " ".join(name.replace("_", " ").split())
    return JOINED.get(words, words)


def _initial_context(inputs: TextInputs, copies: int) -> Tensor:
    """(copies, M, W): drawn, or the embeddings of the template's words, which then decide M."""
    config, encoder = inputs.config, inputs.text_encoder
    if config.context_template is None:
        drawn = torch.empty(copies, config.context_tokens, encoder.width)
        return drawn.normal_(std=CONTEXT_STD, generator=inputs.generator)
    words = inputs.tokenize([config.context_template])[0][1:-1]
    return encoder.embed(torch.tensor(words, dtype=torch.long)).repeat(copies, 1, 1)
