"""A linear classifier that starts as CLIP's own scores and leaves them as far as known labels say.

    logit_bc = Σ_m (α_m + δ_cm) ŝ_bcm + w_c · φ̂_b + β + ε_c

s_bcm are two zero-shot scores of an image: of its pooled vector, and of its regions. φ_b says what is somewhere in it.
Both are set to zero mean and unit size over the training images. What is fitted is the one minimum of a convex loss,
without a learning rate (`map_estimate`); it needs all training images at once, in their plain view.
Axes: B images, N training images, C classes, P grid positions, D channels, E joint embedding, M = 2 zero-shot scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.heads.fitted.map_estimate import FITS, Estimate, Evidence, chosen_precision, fit
from mlrpl_cli.core.heads.losses import Cells
from mlrpl_cli.core.heads.recognizers import FittedRecognizer, Recognition
from mlrpl_cli.core.heads.visual_heads import State, region_cosines

REGION_TEMPERATURE = 0.1
SCORES = 2
SMALLEST_SPREAD = 1e-6
"""Of a score or feature over the training images: what is as good as constant is not blown up."""


class AnchoredClassifier(FittedRecognizer):
    """Zero-shot scores with a trust of each, and a linear correction of each class."""

    fits = FITS
    texts: Tensor
    """(C, E) frozen text features that the zero-shot scores are of."""
    precision: Tensor
    """λ, which the fit has chosen; 0 before it."""

    def __init__(self, texts: Tensor, channels: int) -> None:
        super().__init__()
        classes = len(texts)
        self.register_buffer("texts", texts)
        shapes = {"score": (classes, SCORES), "content": (channels,)}
        for of, shape in shapes.items():
            self.register_buffer(f"{of}_mean", torch.zeros(shape))
        self.register_buffer("score_spread", torch.ones(shapes["score"]))
        self.register_buffer("content_spread", torch.ones(()))
        self.register_buffer("trust", torch.zeros(shapes["score"]))
        self.register_buffer("weight", torch.zeros(channels, classes))
        self.register_buffer("offset", torch.zeros(classes))
        self.register_buffer("precision", torch.zeros(()))

    @classmethod
    def like(cls, state: State, prefix: str = "") -> AnchoredClassifier:
        """One of the sizes of the tensors that `state` has below `prefix`. Raises KeyError for a state without them."""
        return cls(state[f"{prefix}texts"], len(state[f"{prefix}weight"]))

    def describe(self, features: ImageFeatures) -> tuple[Tensor, ...]:
        """(B, C, M) zero-shot scores in [-1, 1] and (B, D) content of unit length, in float32."""
        return self._scores(features)[0], content(features.grid)

    @torch.no_grad()
    def fit(
        self,
        described: Sequence[Tensor],
        cells: Cells,
        generator: torch.Generator,
        done: Callable[[], object] = lambda: None,
        precision: float | None = None,
    ) -> None:
        """λ by cross-validation unless it is given, then all cells. `described` is of N training images."""
        scores, contents = described
        self.score_mean, self.score_spread = scores.mean(dim=0), _spread(scores.std(dim=0, correction=0))
        self.content_mean = contents.mean(dim=0)
        self.content_spread = _spread((contents - self.content_mean).square().sum(dim=1).mean().sqrt())
        evidence = Evidence(*self._standardised(scores, contents), cells)
        if precision is None:
            precision = chosen_precision(evidence, generator, done)
        found = fit(evidence, precision)
        done()
        self.trust, self.weight, self.offset = found.trust, found.weight, found.offset
        self.precision = torch.tensor(precision, device=scores.device)

    @property
    def fitted(self) -> dict[str, Tensor]:
        return {"trust": self.trust, "weight": self.weight, "offset": self.offset}

    def forward(self, features: ImageFeatures, text: Tensor) -> Recognition:
        """The texts that others learn are not looked at; the attention is that of the regions' zero-shot score."""
        scores, attention = self._scores(features)
        return Recognition(self.logits(scores, content(features.grid)), attention)

    def logits(self, scores: Tensor, contents: Tensor) -> Tensor:
        """(B, C) of what `describe` says."""
        return Estimate(self.trust, self.weight, self.offset).logits(*self._standardised(scores, contents))

    def _scores(self, features: ImageFeatures) -> tuple[Tensor, Tensor]:
        """(B, C, M), and (B, C, P) the attention of the second one: softmax_p(cos(g_bp, t_c) / τ)."""
        regions = region_cosines(features, self.texts)
        attention = (regions / REGION_TEMPERATURE).softmax(dim=-1)
        pooled = F.normalize(features.pooled.float(), dim=-1) @ F.normalize(self.texts.float(), dim=-1).T
        return torch.stack([pooled, (attention * regions).sum(dim=-1)], dim=-1), attention

    def _standardised(self, scores: Tensor, contents: Tensor) -> tuple[Tensor, Tensor]:
        return (scores - self.score_mean) / self.score_spread, (contents - self.content_mean) / self.content_spread


def content(grid: Tensor) -> Tensor:
    """(B, P, D) → (B, D) of unit length, float32: what is somewhere in an image.

    The maximum m of each channel over positions, as sign(m) √|m|, which keeps a few large channels from outweighing the
    others (Perronnin et al., ECCV 2010).
    """
    strongest = grid.float().amax(dim=1)
    return F.normalize(strongest.sign() * strongest.abs().sqrt(), dim=-1)


def _spread(found: Tensor) -> Tensor:
    """What to divide by: 1 where something is as good as constant over the training images."""
    return found.where(found > SMALLEST_SPREAD, 1.0)
