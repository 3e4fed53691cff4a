"""Learnable prompts through the frozen text encoder: [v_1 … v_M, the words of the name, "."] (method.md, part 4).

Axes: C classes, M context tokens, T tokens in a prompt, W text width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mlrpl_cli.core.backbones.openai.text import TextEncoder, pad_tokens
from mlrpl_cli.core.io.errors import ConfigError, first_few

Tokenize = Callable[[Sequence[str]], list[list[int]]]

CONTEXT_STD = 0.02
# What VOC writes as one word, CLIP's tokenizer and GloVe know as two.
JOINED = {"diningtable": "dining table", "pottedplant": "potted plant", "tvmonitor": "tv monitor"}


class PromptLearner(nn.Module):
    """Prompts whose M context vectors are learned: one context for every class, or one for all of them."""

    prefix: Tensor
    suffix: Tensor
    end: Tensor

    def __init__(self, prefix: Tensor, suffix: Tensor, end: Tensor, context: Tensor) -> None:
        """Frozen start token (1, W), frozen words (C, T-1-M, W), end indices (C,), initial contexts (C or 1, M, W)."""
        super().__init__()
        self.register_buffer("prefix", prefix, persistent=False)
        self.register_buffer("suffix", suffix, persistent=False)
        self.register_buffer("end", end, persistent=False)
        self.context = nn.Parameter(context)

    def forward(self) -> Tensor:
        """Prompt embeddings (C, T, W), T the length of the longest prompt; `end` (C,) says where each one stops."""
        classes = len(self.suffix)
        prefix = self.prefix.expand(classes, 1, -1)
        return torch.cat([prefix, self.context.expand(classes, -1, -1), self.suffix], dim=1)


def build_prompts(
    classes: Sequence[str],
    text_encoder: TextEncoder,
    tokenize: Tokenize,
    *,
    per_class: bool,
    context_tokens: int,
    template: str | None,
    generator: torch.Generator,
) -> PromptLearner:
    """Prompts for `classes`, contexts drawn from N(0, 0.02) or, with a `template`, starting as its words.

    Raises ConfigError naming every class whose name is empty, given twice, or too long for the text encoder.
    """
    check_class_names(classes)
    rows = tokenize([f"{readable(name)}." for name in classes])
    context = _initial_context(text_encoder, tokenize, context_tokens, template, generator)
    _check_lengths(classes, rows, len(context), text_encoder.context_length)
    ids, last = pad_tokens(rows)
    embedded = text_encoder.token_embedding(ids.to(text_encoder.token_embedding.weight.device))
    copies = len(classes) if per_class else 1
    if per_class and template is None:
        context = torch.stack([context, *(_random_context(context, generator) for _ in range(copies - 1))])
    else:
        context = context.expand(copies, -1, -1).clone()
    return PromptLearner(embedded[0, :1].clone(), embedded[:, 1:].clone(), last + context.shape[1], context)


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


def _initial_context(
    text_encoder: TextEncoder, tokenize: Tokenize, length: int, template: str | None, generator: torch.Generator
) -> Tensor:
    """(M, W): drawn, or the embeddings of the template's words, which then decide M."""
    if template is None:
        return _random_context(torch.empty(length, text_encoder.width), generator)
    words = tokenize([template])[0][1:-1]
    weight = text_encoder.token_embedding.weight
    return text_encoder.token_embedding(torch.tensor(words, dtype=torch.long, device=weight.device)).clone()


def _random_context(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.empty(like.shape).normal_(std=CONTEXT_STD, generator=generator).to(like)


def _check_lengths(classes: Sequence[str], rows: list[list[int]], context_tokens: int, limit: int) -> None:
    long = [name for name, row in zip(classes, rows, strict=True) if len(row) + context_tokens > limit]
    if long:
        raise ConfigError(
            f"prompts must fit {limit} tokens, {context_tokens} of them context; too long: {first_few(long)}; "
            "shorten the names or lower context_tokens"
        )
