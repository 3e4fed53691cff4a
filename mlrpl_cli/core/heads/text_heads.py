"""Text heads give the text features that images are compared with: here those in which nothing is learned.

Axes: C classes, E joint embedding.
"""

import torch
from torch import Tensor, nn

from mlrpl_cli.core.heads.class_semantics import template_features
from mlrpl_cli.core.heads.text_inputs import TextInputs


class TextHead(nn.Module):
    """Gives the text features: (C, E), (2C, E) for a pair a class, (C, 0) without text; those given, never changed."""

    def __init__(self, features: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("features", features)

    def contexts(self) -> dict[str, nn.Parameter]:
        """What is learned of the text head, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def forward(self) -> Tensor:
        return self.get_buffer("features")


def no_text(inputs: TextInputs) -> TextHead:
    """For a recognizer that compares with no text."""
    return TextHead(torch.empty(len(inputs.classes), 0))


def template(inputs: TextInputs) -> TextHead:
    """The frozen text features of "a photo of a NAME"."""
    return TextHead(template_features(inputs))
