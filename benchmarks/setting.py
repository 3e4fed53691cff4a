"""What the parts have in common: the backbone, the classes, inputs of the promised sizes, and a step of training.

Axes: B images, P grid positions, D channels, C classes, K attention width, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import textbook
from mlrpl_cli.core.backbones.backbone import BackboneOptions
from mlrpl_cli.core.backbones.frozen import FrozenEncoder, make_encoder
from mlrpl_cli.core.backbones.openai.architectures import (
    ARCHITECTURES,
    Architecture,
    StateDict,
    build_text_encoder,
    random_state,
)
from mlrpl_cli.core.backbones.openai.assembly import assemble
from mlrpl_cli.core.backbones.openai.text import TextEncoder
from mlrpl_cli.core.backbones.openai.tokenizer import ClipTokenizer
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.heads.category_prompts import PromptLearner
from mlrpl_cli.core.heads.losses import count_known, partial_asl
from mlrpl_cli.core.heads.recognizers import TrainableRecognizer
from mlrpl_cli.core.heads.semantic_decoupling import SemanticDecoupling
from mlrpl_cli.core.heads.text_inputs import TextInputs
from mlrpl_cli.core.io.devices import choose_precision
from mlrpl_cli.core.labels.formats.coco.release import NAMES as COCO_NAMES
from mlrpl_cli.core.training.loop import make_trainable

BACKBONE, SIZE, WIDTH = "random:RN101", 448, 1024
BATCH, POSITIONS = 8, (SIZE // 32) ** 2
CONTEXT_TOKENS = 16
METHOD = TrainConfig().method
CLASSES = COCO_NAMES


def backbone() -> tuple[StateDict, Architecture]:
    """RN101's form with random weights, which take the same time as trained ones."""
    return random_state(ARCHITECTURES["RN101"], seed=0), ARCHITECTURES["RN101"]


def make_frozen_encoder(state: StateDict, device: torch.device) -> FrozenEncoder:
    """Ours, in the precision that it would choose."""
    return make_encoder(assemble(BackboneOptions(BACKBONE), state), SIZE, device, choose_precision(device))


def make_pixels(images: int) -> Tensor:
    """Smooth random images, which are closer to photos than noise is."""
    coarse = torch.rand(images, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return (nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic").clamp(0, 1) * 255).to(torch.uint8)


def make_labels(images: int, device: torch.device) -> Tensor:
    """(B, C): a third of the cells each absent, unknown and present."""
    return torch.randint(-1, 2, (images, len(CLASSES)), generator=torch.Generator().manual_seed(1)).to(device)


def make_default_method(state: StateDict, device: torch.device) -> TrainableRecognizer:
    """The default method, untrained."""
    config = TrainConfig(backbone=BACKBONE, attention_width=WIDTH, context_tokens=CONTEXT_TOKENS)
    precision: Any = choose_precision(device)
    backbone = assemble(BackboneOptions(BACKBONE), state)
    return make_trainable(backbone, replace(config, precision=precision), CLASSES).to(device)


def class_prompts(state: StateDict) -> tuple[TextEncoder, PromptLearner]:
    """The frozen text encoder in float32, and a prompt of learnable contexts for each class."""
    encoder = build_text_encoder(state)
    config = TrainConfig(context_tokens=CONTEXT_TOKENS)
    inputs = TextInputs(config, CLASSES, encoder, ClipTokenizer(), torch.Generator().manual_seed(0))
    return encoder, PromptLearner(inputs, per_class=True)


def padded(embeddings: Tensor) -> Tensor:
    """(C, T, W) → (C, 77, W)."""
    return nn.functional.pad(embeddings, (0, 0, 0, 77 - embeddings.shape[1]))


def decoupling_step(module: nn.Module, compute: Callable[[], Tensor], upstream: Tensor) -> list[Tensor]:
    """Class features (B, C, D) and the gradients of U and V."""
    module.zero_grad()
    features = compute()
    features.backward(upstream)
    projections = (module.get_parameter(f"{side}_projection.weight") for side in ("image", "semantic"))
    return [features.detach(), *(weight.grad for weight in projections if weight.grad is not None)]


Decouplings = tuple[SemanticDecoupling, textbook.MaterialisedDecoupling]


def make_decouplings(device: torch.device) -> tuple[Decouplings, Tensor, Tensor]:
    """Both forms with the same weights (v = Pᵀ w), and an input."""
    generator = torch.Generator().manual_seed(0)
    ours = SemanticDecoupling(2048, 512, WIDTH)
    ours.initialize(generator)
    plain = textbook.MaterialisedDecoupling(2048, 512, WIDTH)
    plain.share_weights(ours)
    grid = torch.randn(BATCH, POSITIONS, 2048, generator=generator)
    semantics = nn.functional.normalize(torch.randn(len(CLASSES), 512, generator=generator), dim=-1)
    return (ours.to(device), plain.to(device)), grid.to(device), semantics.to(device)


def learn(member_logits: Sequence[Tensor], labels: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One step on the sum of the losses of each of the logits (B, C)."""
    known = count_known(labels)
    loss = torch.stack([partial_asl(logits, labels, known) for logits in member_logits]).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def largest_error(got: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    """The largest relative error of any tensor."""
    pairs = [(left.float(), right.float()) for left, right in zip(got, expected, strict=True)]
    return max(float((left - right).norm() / right.norm()) for left, right in pairs)
