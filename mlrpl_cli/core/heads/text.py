"""The text heads of a recognizer: where the text features that an image is compared with come from.

Learnable prompts [v_1 … v_M, the words of the name, "."] go through the frozen text encoder (method.md, part 4).
Axes: C classes, M context tokens, T tokens in a prompt, W text width, E joint embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlrpl_cli.core.backbones.openai.text import TextEncoder, pad_tokens
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.io.errors import ConfigError, first_few
from mlrpl_cli.core.labels.classes import readable, same_prompts

Tokenize = Callable[[Sequence[str]], list[list[int]]]

CONTEXT_STD = 0.02
TEMPLATE = "a photo of a {}"


@dataclass(frozen=True)
class TextInputs:
    """What a method's text head and semantic vectors are made from."""

    config: TrainConfig
    classes: Sequence[str]
    text_encoder: TextEncoder
    tokenize: Tokenize
    generator: torch.Generator
    """What is learned is drawn from it."""


class TextHead(nn.Module):
    """Gives the text features (C, E), or (2C, E) for a pair a class."""

    def contexts(self) -> dict[str, nn.Parameter]:
        """What is learned of the text head, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}


class PromptedText(TextHead):
    """Text features of learnable prompts through the frozen text encoder, those of the first learner first."""

    def __init__(self, inputs: TextInputs, learners: Sequence[str] = ("prompts",), per_class: bool = True) -> None:
        super().__init__()
        for name in learners:
            self.add_module(name, PromptLearner(inputs, per_class))
        self.text_encoder = inputs.text_encoder

    def forward(self) -> Tensor:
        learners = [module for module in self.children() if isinstance(module, PromptLearner)]
        return self.text_encoder(torch.cat([one() for one in learners]), torch.cat([one.end for one in learners]))


class FixedText(TextHead):
    """Text features (C, E) that nothing changes; (C, 0) for a method without text."""

    features: Tensor

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.register_buffer("features", features)

    def forward(self) -> Tensor:
        return self.features


def no_text(inputs: TextInputs) -> FixedText:
    """For a recognizer that compares with no text."""
    return FixedText(torch.empty(len(inputs.classes), 0))


def template(inputs: TextInputs) -> FixedText:
    """The frozen text features of "a photo of a NAME"."""
    return FixedText(template_features(inputs))


context_per_class = PromptedText
"""A learned context for each class."""
shared_context = partial(PromptedText, per_class=False)
"""One learned context for all classes."""
pair_per_class = partial(PromptedText, learners=("positive", "negative"))
"""A positive and a negative learned context for each class → (2C, E), the positive ones first."""


class PromptLearner(nn.Module):
    """Prompts whose M context vectors (C or 1, M, W) are learned: one context for every class, or one for all of them.

    They are drawn from N(0, 0.02) or start as the words of `config.context_template`.
    """

    prefix: Tensor
    """(C, 1, W) the start token, frozen."""
    suffix: Tensor
    """(C, T-1-M, W) the words, the full stop and the end token, frozen."""

    def __init__(self, inputs: TextInputs, per_class: bool) -> None:
        """Raises ConfigError naming every class whose name is too long for the text encoder."""
        super().__init__()
        self.context = nn.Parameter(_initial_context(inputs, len(inputs.classes) if per_class else 1))
        tokens, limit = self.context.shape[1], inputs.text_encoder.context_length
        rows = inputs.tokenize([f"{readable(name)}." for name in inputs.classes])
        if long := [name for name, row in zip(inputs.classes, rows, strict=True) if len(row) + tokens > limit]:
            raise ConfigError(
                f"prompts must fit {limit} tokens, {tokens} of them context; too long: {first_few(long)}; "
                "shorten the names or lower context_tokens"
            )
        ids, last = pad_tokens(rows)
        self.end = last + tokens  # not a buffer: the text encoder reads it, and reading from a GPU would stop it
        embedded = inputs.text_encoder.embed(ids)
        self.register_buffer("prefix", embedded[:, :1], persistent=False)
        self.register_buffer("suffix", embedded[:, 1:], persistent=False)

    def forward(self) -> Tensor:
        """Prompt embeddings (C, T, W), T the length of the longest prompt; `end` (C,) says where each one stops."""
        return torch.cat([self.prefix, self.context.expand(len(self.suffix), -1, -1), self.suffix], dim=1)


def _initial_context(inputs: TextInputs, copies: int) -> Tensor:
    """(copies, M, W): drawn, or the embeddings of the template's words, which then decide M."""
    config, encoder = inputs.config, inputs.text_encoder
    if config.context_template is None:
        drawn = torch.empty(copies, config.context_tokens, encoder.width)
        return drawn.normal_(std=CONTEXT_STD, generator=inputs.generator)
    words = inputs.tokenize([config.context_template])[0][1:-1]
    return encoder.embed(torch.tensor(words, dtype=torch.long)).repeat(copies, 1, 1)


@torch.no_grad()
def template_features(inputs: TextInputs) -> Tensor:
    """Frozen text embeddings of "a photo of a {name}" → (C, E), each of unit length."""
    tokens = inputs.tokenize([TEMPLATE.format(readable(name)) for name in inputs.classes])
    return F.normalize(inputs.text_encoder.encode_tokens(tokens), dim=-1)


def check_class_names(classes: Sequence[str]) -> None:
    """Raise ConfigError when there is no class, or a name is empty or given twice."""
    empty = [position for position, name in enumerate(classes) if not readable(name)]
    if not classes:
        raise ConfigError("no class to recognise; give at least one")
    if empty:
        raise ConfigError(f"class names must not be empty; number {first_few(empty)} (counting from 0) is")
    if repeated := [name for _, name in same_prompts(classes)]:
        raise ConfigError(f"class names must differ; given more than once: {first_few(repeated)}")
