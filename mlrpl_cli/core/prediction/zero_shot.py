"""CLIP as it is: images compared with the names of classes, nothing learned. Axes: B images, C classes, P positions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlrpl_cli.core.backbones.backbone import Backbone
from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.heads.class_semantics import template_features
from mlrpl_cli.core.heads.recognizers import Recognition
from mlrpl_cli.core.heads.text_inputs import TextInputs, check_class_names
from mlrpl_cli.core.io.errors import ConfigError

CLIPS_SCALE = math.log(100)
"""The logarithm of what CLIP multiplies cosines by, of a backbone that does not say its own."""


class ZeroShotHead(nn.Module):
    """Cosines of the pooled image vector and the text "a photo of a NAME" of each class, in the backbone's own logits.

    A backbone that was trained with a bias (SigLIP) says of each class by itself how probable it is: σ(s cos + b). One
    without (CLIP) only compares: softmax over the classes of s cos, given here as the logits of those probabilities.
    """

    def __init__(self, backbone: Backbone, classes: Sequence[str]) -> None:
        """Raises ConfigError for names that are empty or repeated, and for a single one where CLIP only compares."""
        super().__init__()
        check_class_names(classes)
        self.scale, self.bias = math.exp(backbone.logit_scale or CLIPS_SCALE), backbone.logit_bias
        if self.compares and len(classes) < 2:
            raise ConfigError(
                f"{backbone.name} only says which of several classes fits best, got one; name others too, as in "
                f'--classes "{classes[0]}, something else"'
            )
        generator = torch.Generator()  # nothing is drawn from it
        inputs = TextInputs(TrainConfig(), classes, backbone.text_tower(), backbone.tokenizer, generator)
        self.register_buffer("text", template_features(inputs))

    @property
    def compares(self) -> bool:
        """Whether the probabilities of an image sum to 1 over the classes."""
        return self.bias is None

    @torch.no_grad()
    def forward(self, features: ImageFeatures) -> Recognition:
        """Features of B images → logits (B, C), and attention (B, C, P): where the joint grid is nearest the text."""
        text = self.get_buffer("text")
        logits = self.scale * _unit(features.pooled) @ text.T + (self.bias or 0)
        attention = (self.scale * _unit(features.joint) @ text.T).softmax(dim=1).transpose(1, 2)
        return Recognition(_logits_of_softmax(logits) if self.compares else logits, attention)


def _logits_of_softmax(scores: Tensor) -> Tensor:
    """(B, C) z with σ(z_c) = softmax(s)_c: z_c = s_c - log Σ_{j ≠ c} exp s_j."""
    others = scores[:, None, :].expand(-1, scores.shape[1], -1)
    itself = torch.eye(scores.shape[1], dtype=torch.bool, device=scores.device)
    return scores - others.masked_fill(itself, -torch.inf).logsumexp(dim=2)


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors.float(), dim=-1)
