"""Methods whose training is mlcpl's own code: its losses, and its category-wise fine-tuning (CFT) after one of them.

All are one linear classifier of the image vector, z_bc = w_c · x_b + β_c. x_b is the backbone's pooled vector at unit
length, each of its numbers set to zero mean and unit variance over the training images. The loop is ours, as mlcpl has
none: AdamW with the run's learning rate, epochs, batch size and schedule, on the plain view of the images.
Axes: N training images, B images, C classes, P grid positions, E joint embedding.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal

import pydantic.dataclasses
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.backbones.open_clip.library import torchvision_operators
from mlrpl_cli.core.config import CheckedOptions, TrainConfig
from mlrpl_cli.core.heads.losses import Cells, takes_unknown
from mlrpl_cli.core.heads.methods import Method, NoOptions
from mlrpl_cli.core.heads.recognizers import FittedRecognizer, Recognition
from mlrpl_cli.core.heads.text_heads import no_text
from mlrpl_cli.core.heads.text_inputs import TextInputs
from mlrpl_cli.core.heads.visual_heads import State
from mlrpl_cli.core.io.errors import ConfigError, one_line
from mlrpl_cli.core.training.loop import class_priors, schedule

LARGEST_LOGIT = 30.0
"""mlcpl's losses take the log of a sigmoid that float64 rounds to 1 from 37: infinite, and NaN as the gradient."""
SMALLEST_SPREAD = 1e-6

Gamma = Annotated[float, Field(ge=0, le=10)]


@pydantic.dataclasses.dataclass(frozen=True)
class AslOptions(CheckedOptions):
    """The options of `mlcpl-asl`, with mlcpl's own defaults."""

    gamma_negative: Gamma = 1.0
    """Focusing exponent on absent cells."""
    gamma_positive: Gamma = 0.0
    """Focusing exponent on present cells."""
    clip: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability below which an absent cell is forgiven."""


PUBLISHED_ASL = AslOptions(gamma_negative=4, gamma_positive=0, clip=0.05)
"""That of the script that its authors published with CFT."""


@pydantic.dataclasses.dataclass(frozen=True)
class CftOptions(CheckedOptions):
    """The options of `mlcpl-cft`, with the values of its authors' script, but for `held_out`."""

    start: Literal["bce", "asl", "an"] = "an"
    """Loss of the classifier that is fine-tuned."""
    by: Literal["bp", "ga"] = "bp"
    """What fine-tunes: "bp" is Adam on their asymmetric loss, "ga" their genetic algorithm on average precision."""
    lr: Annotated[float, Field(gt=0, le=1)] = 1e-4
    """Learning rate of "bp"."""
    steps: Annotated[int, Field(ge=1, le=100_000)] = 5000
    """Most steps, or generations, of a class."""
    patience: Annotated[int, Field(ge=1, le=100_000)] = 300
    """Steps without a better validation AP after which a class is done."""
    held_out: Annotated[float, Field(ge=0.05, le=0.5)] = 0.25
    """Share of the training images that only choose: by their known cells each class's best step is taken."""


def library() -> Any:
    """The package `mlcpl`. Raises ConfigError where it cannot be imported."""
    torchvision_operators()  # it imports torchvision, whose compiled part may belong to another torch
    try:
        return importlib.import_module("mlcpl")
    except ImportError as error:
        raise ConfigError(f"mlcpl cannot be imported ({one_line(error)}); run pip install mlcpl") from error


def make_loss(name: str, asl: AslOptions) -> nn.Module:
    """A loss of mlcpl's: logits, and labels of 1, 0 or NaN, (B, C) → the mean over the cells that it takes."""
    losses = library().losses
    if name == "asl":
        return losses.PartialAsymmetricWithLogitLoss(asl.clip, asl.gamma_positive, asl.gamma_negative)
    return losses.PartialBCEWithLogitLoss() if name == "bce" else losses.PartialNegativeBCEWithLogitLoss()


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained."""

    config: TrainConfig
    start: str
    """Which loss, as in `make_loss`."""
    asl: AslOptions = field(default_factory=AslOptions)
    cft: CftOptions | None = None


class ClampedLinear(nn.Linear):
    """A linear layer whose outputs stay where mlcpl's losses have a gradient."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)


class LinearClassifier(FittedRecognizer):
    """One linear classifier of the pooled vector, fitted by mlcpl's code; rebuilt, it needs no mlcpl."""

    def __init__(self, classes: int, embed_dim: int, recipe: Recipe | None = None) -> None:
        """Without a `recipe` it cannot be fitted, only filled with a trained one's state."""
        super().__init__()
        self.recipe = recipe
        self.register_buffer("weight", torch.zeros(classes, embed_dim))
        self.register_buffer("offset", torch.zeros(classes))
        self.register_buffer("mean", torch.zeros(embed_dim))
        self.register_buffer("spread", torch.ones(embed_dim))

    def describe(self, features: ImageFeatures) -> tuple[Tensor, ...]:
        """(B, E) the pooled vector at unit length, float32."""
        return (F.normalize(features.pooled.float(), dim=-1),)

    def fit(
        self,
        described: Sequence[Tensor],
        cells: Cells,
        generator: torch.Generator,
        done: Callable[[], object] = lambda: None,
    ) -> None:
        """The classifier, and where the recipe has it CFT of each class. In float64, and no longer in the graph."""
        assert self.recipe is not None
        (vectors,) = described
        spread = vectors.std(dim=0, correction=0)
        self.mean, self.spread = vectors.mean(dim=0), spread.where(spread > SMALLEST_SPREAD, 1.0)
        inputs, labels = self._standardised(vectors).double(), to_mlcpl(cells)
        with torch.enable_grad():
            if self.recipe.cft is None:
                layer = trained(self.recipe, inputs, labels, generator)
            else:
                layer = fine_tuned(self.recipe, inputs, labels, generator)
        self.weight, self.offset = layer.weight.detach().float(), layer.bias.detach().float()
        done()

    @property
    def fitted(self) -> dict[str, Tensor]:
        return {"weight": self.weight, "offset": self.offset}

    def forward(self, features: ImageFeatures, text: Tensor) -> Recognition:
        """`text` is not looked at; the attention is the backbone's own, the same for every class."""
        logits = F.linear(self._standardised(*self.describe(features)), self.weight, self.offset)
        return Recognition(logits, features.attention[:, None].expand(-1, len(self.offset), -1))

    def _standardised(self, vectors: Tensor) -> Tensor:
        return (vectors - self.mean) / self.spread


def to_mlcpl(cells: Cells) -> Tensor:
    """(N, C) float64 labels as mlcpl has them: 1 present, 0 absent, NaN for a cell that says nothing."""
    present = (cells.targets > 0).double()
    return present.where(cells.weights > 0, torch.nan)


def trained(recipe: Recipe, inputs: Tensor, labels: Tensor, generator: torch.Generator) -> ClampedLinear:
    """A classifier of `inputs` (N, E), trained from the class priors on labels (N, C) with mlcpl's loss."""
    config, loss = recipe.config, make_loss(recipe.start, recipe.asl)
    prior = torch.logit(class_priors((2 * labels - 1).nan_to_num(0)))
    layer = _filled(torch.zeros(labels.shape[1], inputs.shape[1]).to(inputs), prior.to(inputs))
    groups: list[dict[str, Any]] = [
        {"params": [layer.weight], "weight_decay": config.weight_decay},
        {"params": [layer.bias]},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.lr, weight_decay=0.0)
    batches = -(-len(inputs) // config.batch_size)
    for epoch in range(config.epochs):
        order = torch.randperm(len(inputs), generator=generator).to(inputs.device)
        for step, rows in enumerate(order.split(config.batch_size)):
            for group in optimizer.param_groups:
                group["lr"] = config.lr * schedule(epoch * batches + step, config.epochs * batches, config.warmup)
            if recipe.start != "an" and labels[rows].isnan().all():
                continue  # its mean over no cell is NaN
            optimizer.zero_grad()
            loss(layer(inputs[rows]), labels[rows]).backward()
            optimizer.step()
    return layer


def fine_tuned(recipe: Recipe, inputs: Tensor, labels: Tensor, generator: torch.Generator) -> ClampedLinear:
    """`trained`, and then each class by mlcpl's CFT; a class for which CFT lacks cells stays as it was trained."""
    cft, cut = recipe.cft, library().cft
    assert cft is not None
    order = torch.randperm(len(inputs), generator=generator).to(inputs.device)
    held, rest = order.tensor_split([max(1, round(cft.held_out * len(order)))])
    layer = trained(recipe, inputs[rest], labels[rest], generator)
    metric = library().metrics.PartialMultilabelAveragePrecision()
    seed = int(torch.randint(2**31, (1,), generator=generator))
    optimizer: Any
    if cft.by == "ga":
        optimizer = cut.GAForLinear(device=inputs.device, metric=metric)
    else:
        loss, adam = make_loss("asl", PUBLISHED_ASL), torch.optim.Adam
        optimizer = cut.BP(None, inputs.device, loss, optimizer_class=adam, optimizer_kwargs={"lr": cft.lr})
    # CFT prints every step, and draws from the global seed.
    with redirect_stdout(io.StringIO()), torch.random.fork_rng():
        torch.manual_seed(seed)
        heads, _ = cut.CFT(
            [_filled(weight[None], bias) for weight, bias in zip(layer.weight, layer.bias, strict=True)],
            training_data=(inputs[rest], labels[rest]),
            validation_data=(inputs[held], labels[held]),
            optimizer=optimizer,
            epochs=cft.steps,
            early_stopping=cft.patience,
            validation_metric=metric,
            device=inputs.device,
        )
    return _filled(torch.cat([head.weight for head in heads]), torch.cat([head.bias for head in heads]))


def _filled(weight: Tensor, bias: Tensor) -> ClampedLinear:
    """A layer that holds a copy of these, which draws nothing from the global seed."""
    layer = torch.nn.utils.skip_init(ClampedLinear, *weight.T.shape, dtype=weight.dtype, device=weight.device)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def classifier(inputs: TextInputs, channels: int, embed_dim: int, start: str | None = None) -> LinearClassifier:
    """An untrained one. Raises ConfigError without mlcpl, and for a loss of the run that takes unknown cells."""
    library()
    if takes_unknown(inputs.config):
        told = f"mlcpl's own losses say what unknown cells are taken for, got loss '{inputs.config.loss}'"
        raise ConfigError(f"{told}; choose --loss asl or bce, which are not used")
    options = inputs.options
    if isinstance(options, CftOptions):
        recipe = Recipe(inputs.config, options.start, cft=options)
    else:
        recipe = Recipe(inputs.config, start or "asl", options if isinstance(options, AslOptions) else AslOptions())
    return LinearClassifier(len(inputs.classes), embed_dim, recipe)


def rebuild(classes: int, state: State, options: CheckedOptions) -> LinearClassifier:
    return LinearClassifier(classes, state["weight"].shape[1])


def _method(summary: str, start: str | None = None, options: type[CheckedOptions] = NoOptions) -> Method:
    return Method(partial(classifier, start=start), no_text, rebuild, summary, options=options)


BCE = _method("a linear classifier of the pooled vector by mlcpl's BCE over known cells", "bce")
AN = _method("the same by mlcpl's BCE that takes unknown cells for absent", "an")
ASL = _method("the same by mlcpl's asymmetric loss over known cells", "asl", AslOptions)
CFT = _method("the same, each class then fine-tuned by mlcpl's CFT", options=CftOptions)
