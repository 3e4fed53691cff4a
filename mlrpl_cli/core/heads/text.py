"""The text heads of a recognizer: where the text features that an image is compared with come from.

Axes: C classes, E joint embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlrpl_cli.core.backbones.openai.text import TextEncoder
from mlrpl_cli.core.heads.prompts import PromptLearner


class TextHead(nn.Module):
    """Gives the text features (C, E), or (2C, E) for a pair a class."""

    def forward(self) -> Tensor:
        raise NotImplementedError

    def contexts(self) -> dict[str, nn.Parameter]:
        """What is learned of the text head, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}


class PromptedText(TextHead):
    """Text features (C, E) of learnable prompts through the frozen text encoder."""

    def __init__(self, prompts: PromptLearner, text_encoder: TextEncoder) -> None:
        super().__init__()
        self.prompts = prompts
        self.text_encoder = text_encoder

    def forward(self) -> Tensor:
        return self.text_encoder(self.prompts(), self.prompts.end)


class PairedText(TextHead):
    """Text features (2C, E) of a positive and a negative prompt a class, the positive ones first."""

    def __init__(self, positive: PromptLearner, negative: PromptLearner, text_encoder: TextEncoder) -> None:
        super().__init__()
        self.positive, self.negative = positive, negative
        self.text_encoder = text_encoder

    def forward(self) -> Tensor:
        prompts = torch.cat([self.positive(), self.negative()])
        return self.text_encoder(prompts, torch.cat([self.positive.end, self.negative.end]))


class FixedText(TextHead):
    """Text features (C, E) that nothing changes; (C, 0) for a method without text."""

    features: Tensor

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.register_buffer("features", features)

    def forward(self) -> Tensor:
        return self.features
