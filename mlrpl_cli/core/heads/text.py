"""The text heads of a recognizer: where the text features that an image is compared with come from.

Axes: C classes, E joint embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from mlrpl_cli.core.heads.prompts import PromptLearner, TextInputs, build_prompts
from mlrpl_cli.core.heads.semantics import template_features


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
            self.add_module(name, build_prompts(inputs, per_class))
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
