"""From frozen features and text features to logits (method.md, parts 2 and 5, and the published rivals).

Axes: B images, C classes, P grid positions, E joint embedding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.heads.attention import pool
from mlrpl_cli.core.heads.text import TextHead
from mlrpl_cli.core.heads.visual import Blueprint, VisualHead, region_cosines

INITIAL_SCALE = 20.0
# DualCoOp's own constants: the sharpness of its regions, and what it multiplies the pooled logits with.
REGION_SCALE, PAIR_SCALE = 20.0, 5.0


@dataclass(frozen=True)
class Recognition:
    """What a recognizer says of B images."""

    logits: Tensor
    """(B, C) independent per class; sigmoid gives the probability that the class is present."""
    class_features: Tensor
    """(B, C, E) each class's own visual feature, in the joint space."""
    attention: Tensor
    """(B, C, P) where each class's feature was taken from; what a map draws."""
    member_logits: tuple[Tensor, ...] = ()
    """(B, C) of each member of an ensemble, whose members are trained by a loss each; else empty."""


class Recognizer(nn.Module):
    """Frozen features of B images and text features → Recognition."""

    def forward(self, features: ImageFeatures, text: Tensor) -> Recognition:
        raise NotImplementedError

    def initialize_from_prior(self, features: ImageFeatures, text: Tensor, prior: Tensor) -> None:
        """Start each class at its `prior` (C,) in (0, 1), by the mean over a sample of training features."""


class AffineRecognizer(Recognizer):
    """Has a learned scale α > 0 and a learned bias β_c of each class, which starts it at its prior."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))
        self.bias = nn.Parameter(torch.zeros(classes))

    @torch.no_grad()
    def initialize_from_prior(self, features: ImageFeatures, text: Tensor, prior: Tensor) -> None:
        logits = self(features, text).logits
        self.bias.add_(torch.logit(prior.to(logits)) - logits.mean(dim=0))


class CosineRecognizer(AffineRecognizer):
    """s_bc = cos(f_bc, t_c), logit_bc = α s_bc + β_c, with the class features f_bc of a visual head."""

    def __init__(self, blueprint: Blueprint, visual_head: VisualHead) -> None:
        super().__init__(blueprint.classes)
        self.visual_head = visual_head

    def forward(self, features: ImageFeatures, text: Tensor) -> Recognition:
        """Text features (C, E)."""
        class_features, attention = self.visual_head(features, len(text))
        similarity = torch.einsum(
            "bce,ce->bc", F.normalize(class_features.float(), dim=-1), F.normalize(text.float(), dim=-1)
        )
        return Recognition(self.log_scale.exp() * similarity + self.bias, class_features, attention)

    @torch.no_grad()
    def initialize_from_prior(self, features: ImageFeatures, text: Tensor, prior: Tensor) -> None:
        self.visual_head.fit_scale(features)
        super().initialize_from_prior(features, text, prior)


class PairedRecognizer(Recognizer):
    """DualCoOp (NeurIPS 2022): regions against a positive and a negative prompt of each class.

    a_bcp = softmax_p(20 s⁺_bcp), logit^±_bc = 5 Σ_p a_bcp 20 s^±_bcp with s^± = cos(g_bp, t^±_c); the softmax over the
    pair is the sigmoid of the difference. Nothing is learned here: there is neither scale nor bias.
    """

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()

    def forward(self, features: ImageFeatures, text: Tensor) -> Recognition:
        """Text features (2C, E), the positive prompts first."""
        positive, negative = region_cosines(features, text).chunk(2, dim=1)  # (B, C, P) each
        attention = (REGION_SCALE * positive).softmax(dim=-1)
        logits = PAIR_SCALE * REGION_SCALE * (attention * (positive - negative)).sum(dim=-1)
        return Recognition(logits, pool(attention, features.joint), attention)


class RegionRecognizer(AffineRecognizer):
    """A linear classifier on every region and no text: z_bcp = α w_c · ĝ_bp + β_c, logit_bc = Σ_p softmax_p(z) z."""

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__(blueprint.classes)
        self.region_weight = nn.Parameter(torch.zeros(blueprint.classes, blueprint.embed_dim))

    def forward(self, features: ImageFeatures, text: Tensor) -> Recognition:
        """`text` is not looked at; the weights start at zero, so every class starts at its prior everywhere."""
        regions = F.normalize(features.joint.float(), dim=-1)
        scores = self.log_scale.exp() * torch.einsum("bpe,ce->bcp", regions, self.region_weight) + self.bias[:, None]
        attention = scores.softmax(dim=-1)
        return Recognition((attention * scores).sum(dim=-1), pool(attention, features.joint), attention)


class EnsembleRecognizer(Recognizer):
    """Several recognizers over the same features, each trained by its own loss; their mean logit decides.

    One loss on the mean could let the member that learns fastest explain the labels away from the others.
    """

    def __init__(self, members: Sequence[Recognizer]) -> None:
        """The first member says where the classes are."""
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, features: ImageFeatures, text: Tensor) -> Recognition:
        members = [member(features, text) for member in self.members]
        logits = tuple(member.logits for member in members)
        first = members[0]
        return Recognition(torch.stack(logits).mean(dim=0), first.class_features, first.attention, logits)

    def initialize_from_prior(self, features: ImageFeatures, text: Tensor, prior: Tensor) -> None:
        for member in self.members:
            assert isinstance(member, Recognizer)
            member.initialize_from_prior(features, text, prior)


def cosine_and_regions(blueprint: Blueprint, visual_head: VisualHead) -> EnsembleRecognizer:
    """The cosine with the text features, and a linear classifier on the regions."""
    return EnsembleRecognizer([CosineRecognizer(blueprint, visual_head), RegionRecognizer(blueprint)])


class TrainableRecognizer(nn.Module):
    """Text head and recognizer together: one module, so that data-parallel training wraps one thing."""

    def __init__(self, recognizer: Recognizer, text_head: TextHead) -> None:
        super().__init__()
        self.recognizer = recognizer
        self.text_head = text_head

    def forward(self, features: ImageFeatures) -> Recognition:
        return self.recognizer(features, self.text_head())

    def learned(self) -> dict[str, nn.Parameter]:
        """The parameters that training changes, by name: a few megabytes, and all that a checkpoint must hold."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}
