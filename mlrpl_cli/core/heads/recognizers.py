"""From frozen features and text features to logits (method.md, parts 2 and 5, and the published rivals).

A recognizer compares each class's visual feature, or the regions themselves, with the text features.
Axes: B images, C classes, P grid positions, E joint embedding.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.heads.losses import Cells
from mlrpl_cli.core.heads.semantic_decoupling import SemanticDecoupling
from mlrpl_cli.core.heads.text_heads import TextHead
from mlrpl_cli.core.heads.visual_heads import VisualHead, region_cosines

INITIAL_SCALE = 20.0
# DualCoOp's own constants: the sharpness of its regions, and what it multiplies the pooled logits with.
REGION_SCALE, PAIR_SCALE = 20.0, 5.0


@dataclass(frozen=True)
class Recognition:
    """What a recognizer says of B images."""

    logits: Tensor
    """(B, C) independent per class; sigmoid gives the probability that the class is present."""
    attention: Tensor
    """(B, C, P) where each class's visual feature was taken from; what a map draws."""
    member_logits: tuple[Tensor, ...] = ()
    """(B, C) of each member of an ensemble that is trained, each by a loss of its own; else empty."""


class Recognizer(nn.Module):
    """Frozen features of B images and text features → Recognition."""

    @torch.no_grad()
    def initialize_from_prior(self, features: ImageFeatures, text: Tensor, prior: Tensor) -> None:
        """Fit the scale of what attends to a sample of training features, then start each class at its `prior` (C,)."""
        for module in self.modules():
            if isinstance(module, SemanticDecoupling):
                module.fit_scale(features.grid)
        for module in self.modules():
            if isinstance(module, AffineRecognizer):
                logits = module(features, text).logits
                module.bias.add_(torch.logit(prior.to(logits)) - logits.mean(dim=0))


class FittedRecognizer(Recognizer):
    """Is not trained in steps, but fitted to what it reads of all training images before they begin."""

    fits = 1
    """How often `fit` says that it is further."""

    def describe(self, features: ImageFeatures) -> tuple[Tensor, ...]:
        """What it reads of B images: tensors of B rows each."""
        raise NotImplementedError

    def fit(
        self, described: Sequence[Tensor], cells: Cells, generator: torch.Generator, done: Callable[[], object]
    ) -> None:
        """Fit to what `describe` says of N training images in their plain view, and to their cells.

        `done` is called `fits` times on the way.
        """
        raise NotImplementedError

    @property
    def fitted(self) -> dict[str, Tensor]:
        """What `fit` learns of the labels, by name."""
        raise NotImplementedError


class AffineRecognizer(Recognizer):
    """Has a learned scale α > 0 and a learned bias β_c of each class, which starts it at its prior."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))
        self.bias = nn.Parameter(torch.zeros(classes))


class CosineRecognizer(AffineRecognizer):
    """s_bc = cos(f_bc, t_c), logit_bc = α s_bc + β_c, with the class features f_bc of a visual head."""

    def __init__(self, classes: int, visual_head: VisualHead) -> None:
        super().__init__(classes)
        self.visual_head = visual_head

    def forward(self, features: ImageFeatures, text: Tensor) -> Recognition:
        """Text features (C, E)."""
        class_features, attention = self.visual_head(features)
        visual, textual = (F.normalize(vectors.float(), dim=-1) for vectors in (class_features, text))
        similarity = torch.einsum("bce,ce->bc", visual, textual)
        return Recognition(self.log_scale.exp() * similarity + self.bias, attention)


class PairedRecognizer(Recognizer):
    """DualCoOp (NeurIPS 2022): regions against a positive and a negative prompt of each class.

    a_bcp = softmax_p(20 s⁺_bcp), logit^±_bc = 5 Σ_p a_bcp 20 s^±_bcp with s^± = cos(g_bp, t^±_c); the softmax over the
    pair is the sigmoid of the difference. Nothing is learned here: there is neither scale nor bias.
    """

    def forward(self, features: ImageFeatures, text: Tensor) -> Recognition:
        """Text features (2C, E), the positive prompts first."""
        positive, negative = region_cosines(features, text).chunk(2, dim=1)  # (B, C, P) each
        attention = (REGION_SCALE * positive).softmax(dim=-1)
        return Recognition(PAIR_SCALE * REGION_SCALE * (attention * (positive - negative)).sum(dim=-1), attention)


class RegionRecognizer(AffineRecognizer):
    """A linear classifier on every region and no text: z_bcp = α w_c · ĝ_bp + β_c, logit_bc = Σ_p softmax_p(z) z."""

    def __init__(self, classes: int, embed_dim: int) -> None:
        super().__init__(classes)
        self.region_weight = nn.Parameter(torch.zeros(classes, embed_dim))

    def forward(self, features: ImageFeatures, text: Tensor) -> Recognition:
        """`text` is not looked at; the weights start at zero, so every class starts at its prior everywhere."""
        regions = F.normalize(features.joint.float(), dim=-1)
        scores = self.log_scale.exp() * torch.einsum("bpe,ce->bcp", regions, self.region_weight) + self.bias[:, None]
        attention = scores.softmax(dim=-1)
        return Recognition((attention * scores).sum(dim=-1), attention)


class EnsembleRecognizer(Recognizer):
    """Recognizers whose mean logit decides, by `weights` where they are given. The attention is the first one's.

    Each is trained by its own loss, and their mean logit decides: one loss on the mean could let the member that
    learns fastest explain the labels away from the other.
    """

    def __init__(self, *members: Recognizer, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        given = weights or [1.0] * len(members)
        self.weights = [weight / sum(given) for weight in given]

    def forward(self, features: ImageFeatures, text: Tensor) -> Recognition:
        found = [member(features, text) for member in self.members]
        weighted = [weight * each.logits for weight, each in zip(self.weights, found, strict=True)]
        logits = torch.stack(weighted).sum(dim=0)
        trained = [
            each.logits
            for each, member in zip(found, self.members, strict=True)
            if not isinstance(member, FittedRecognizer)
        ]
        return Recognition(logits, found[0].attention, tuple(trained))


class TrainableRecognizer(nn.Module):
    """Text head and recognizer together: one module, so that data-parallel training wraps one thing."""

    def __init__(self, recognizer: Recognizer, text_head: TextHead) -> None:
        super().__init__()
        self.recognizer, self.text_head = recognizer, text_head

    def forward(self, features: ImageFeatures) -> Recognition:
        return self.recognizer(features, self.text_head())

    def learned(self) -> dict[str, nn.Parameter]:
        """The parameters that training changes in steps, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    @property
    def learned_count(self) -> int:
        """How many numbers are learned, in steps or fitted at once."""
        fitted = [
            tensor for one in self.modules() if isinstance(one, FittedRecognizer) for tensor in one.fitted.values()
        ]
        return sum(tensor.numel() for tensor in (*self.learned().values(), *fitted))
