"""From frozen features and text features to logits: an image side, a cosine, a calibration (method.md, parts 2 and 5).

Axes: B images, C classes, P grid positions, E joint embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlrpl_cli.core.models.decoupling import SemanticDecoupling, pool
from mlrpl_cli.core.models.image_features import ImageFeatures
from mlrpl_cli.core.models.prompts import PromptLearner
from mlrpl_cli.core.models.text import TextEncoder

INITIAL_SCALE = 20.0


@dataclass(frozen=True)
class Recognition:
    """What a recognizer says of B images."""

    logits: Tensor
    """(B, C) independent per class; sigmoid gives the probability that the class is present."""
    class_features: Tensor
    """(B, C, E) each class's own visual feature, in the joint space."""
    attention: Tensor
    """(B, C, P) where each class's feature was taken from; what a map draws."""


class ImageSide(nn.Module):
    """Gives each class its visual feature (B, C, E) and says where it looked (B, C, P)."""

    def forward(self, features: ImageFeatures, classes: int) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def calibrate(self, features: ImageFeatures) -> None:
        """Fit scales to a sample of training features, before training starts."""


class PooledSide(ImageSide):
    """CLIP's own pooled vector for every class, with CLIP's own attention."""

    def forward(self, features: ImageFeatures, classes: int) -> tuple[Tensor, Tensor]:
        batch = len(features.pooled)
        shared = features.pooled[:, None].expand(batch, classes, -1)
        return shared, features.attention[:, None].expand(batch, classes, -1)


class DecoupledSide(ImageSide):
    """Semantic decoupling: each class pools the joint-space grid with its own attention."""

    semantics: Tensor

    def __init__(self, decoupling: SemanticDecoupling, semantics: Tensor) -> None:
        super().__init__()
        self.decoupling = decoupling
        self.register_buffer("semantics", semantics)

    def forward(self, features: ImageFeatures, classes: int) -> tuple[Tensor, Tensor]:
        attention = self.decoupling(features.grid, self.semantics)
        return pool(attention, features.joint), attention

    def calibrate(self, features: ImageFeatures) -> None:
        self.decoupling.calibrate(features.grid)


class Recognizer(nn.Module):
    """s_bc = cos(f_bc, t_c), logit_bc = α s_bc + β_c, with α > 0 and β learned."""

    def __init__(self, image_side: ImageSide, classes: int) -> None:
        super().__init__()
        self.image_side = image_side
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, features: ImageFeatures, text: Tensor) -> Recognition:
        """Frozen features of B images and text features (C, E) → logits, class features and attention maps."""
        class_features, attention = self.image_side(features, len(text))
        similarity = torch.einsum(
            "bce,ce->bc", F.normalize(class_features.float(), dim=-1), F.normalize(text.float(), dim=-1)
        )
        return Recognition(self.log_scale.exp() * similarity + self.bias, class_features, attention)

    @torch.no_grad()
    def calibrate(self, features: ImageFeatures, text: Tensor, prior: Tensor) -> None:
        """Set the scales from a sample of training features: each class then starts at its `prior` (C,) in (0, 1)."""
        self.image_side.calibrate(features)
        logits = self(features, text).logits
        self.bias.add_(torch.logit(prior.to(logits)) - logits.mean(dim=0))


class TextSide(nn.Module):
    """Gives the text features (C, E)."""

    def forward(self) -> Tensor:
        raise NotImplementedError


class PromptedText(TextSide):
    """Text features (C, E) of learnable prompts through the frozen text encoder."""

    def __init__(self, prompts: PromptLearner, text_encoder: TextEncoder) -> None:
        super().__init__()
        self.prompts = prompts
        self.text_encoder = text_encoder

    def forward(self) -> Tensor:
        return self.text_encoder(self.prompts(), self.prompts.end)


class FixedText(TextSide):
    """Text features (C, E) that nothing changes."""

    features: Tensor

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.register_buffer("features", features)

    def forward(self) -> Tensor:
        return self.features


class TrainableRecognizer(nn.Module):
    """Text side and recognizer together: one module, so that data-parallel training wraps one thing."""

    def __init__(self, recognizer: Recognizer, text_side: TextSide) -> None:
        super().__init__()
        self.recognizer = recognizer
        self.text_side = text_side

    def forward(self, features: ImageFeatures) -> Recognition:
        return self.recognizer(features, self.text_side())

    def contexts(self) -> nn.Parameter | None:
        """The learnable contexts (C or 1, M, W), or None for a text side that learns nothing."""
        return self.text_side.prompts.context if isinstance(self.text_side, PromptedText) else None

    def learned(self) -> dict[str, nn.Parameter]:
        """The parameters that training changes, by name: a few megabytes, and all that a checkpoint must hold."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}
