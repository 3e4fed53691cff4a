"""The registry of methods, and the one place that knows sizes and puts the parts together.

A method is a composition: an image side and a text side over the same frozen features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.models.decoupling import SemanticDecoupling
from mlrpl_cli.core.models.encoders import ImageArchitecture
from mlrpl_cli.core.models.prompts import Tokenize, build_prompts, check_class_names
from mlrpl_cli.core.models.recognizer import (
    DecoupledSide,
    FixedText,
    ImageSide,
    PooledSide,
    PromptedText,
    Recognizer,
    TextSide,
    TrainableRecognizer,
)
from mlrpl_cli.core.models.semantics import glove_features, template_features
from mlrpl_cli.core.models.text import TextEncoder

POOLED, DECOUPLED = "pooled", "decoupled"
TEMPLATE, SHARED, PER_CLASS = "template", "shared context", "context per class"


@dataclass(frozen=True)
class Method:
    """Which parts a method is made of."""

    image_side: str
    """POOLED (CLIP's own vector) or DECOUPLED (semantic decoupling)."""
    text_side: str
    """TEMPLATE (frozen "a photo of a NAME"), SHARED or PER_CLASS (learnable contexts)."""
    summary: str
    """One line for help and tables."""


METHODS: dict[str, Method] = {
    "zero-shot": Method(POOLED, TEMPLATE, "CLIP as it is; only the calibration is fitted"),
    "baseline": Method(POOLED, SHARED, "CLIP's pooled vector, one learned context for all classes (CoOp)"),
    "sd": Method(DECOUPLED, SHARED, "semantic decoupling, one learned context for all classes"),
    "cspo": Method(POOLED, PER_CLASS, "CLIP's pooled vector, a learned context per class"),
    "sarl": Method(DECOUPLED, PER_CLASS, "semantic decoupling and a learned context per class"),
}


def build_trainable(
    config: TrainConfig,
    classes: Sequence[str],
    image: ImageArchitecture,
    text_encoder: TextEncoder,
    tokenize: Tokenize,
    generator: torch.Generator,
) -> TrainableRecognizer:
    """A recognizer ready to train, with every learned tensor drawn from `generator`.

    Raises ConfigError for class names that no prompt can hold.
    """
    check_class_names(classes)
    method = METHODS[config.method]
    semantics = _semantics(config, method, classes, text_encoder, tokenize)
    width = config.attention_width or 0
    recognizer = build_recognizer(config.method, len(classes), image.channels, width, semantics)
    if isinstance(recognizer.image_side, DecoupledSide):
        recognizer.image_side.decoupling.initialize(generator)
    return TrainableRecognizer(recognizer, _text_side(config, method, classes, text_encoder, tokenize, generator))


def build_recognizer(
    method: str, classes: int, channels: int, attention_width: int, semantics: Tensor | None
) -> Recognizer:
    """The part that prediction needs, with untrained parameters; `semantics` (C, S) for the decoupled image side."""
    side: ImageSide = PooledSide()
    if METHODS[method].image_side == DECOUPLED:
        assert semantics is not None
        side = DecoupledSide(SemanticDecoupling(channels, semantics.shape[1], attention_width), semantics)
    return Recognizer(side, classes)


def _semantics(
    config: TrainConfig, method: Method, classes: Sequence[str], text_encoder: TextEncoder, tokenize: Tokenize
) -> Tensor | None:
    if method.image_side == POOLED:
        return None
    if config.semantics == "glove":
        return glove_features(classes, Path(config.glove or ""))
    return template_features(classes, text_encoder, tokenize)


def _text_side(
    config: TrainConfig,
    method: Method,
    classes: Sequence[str],
    text_encoder: TextEncoder,
    tokenize: Tokenize,
    generator: torch.Generator,
) -> TextSide:
    if method.text_side == TEMPLATE:
        return FixedText(template_features(classes, text_encoder, tokenize))
    prompts = build_prompts(
        classes,
        text_encoder,
        tokenize,
        per_class=method.text_side == PER_CLASS,
        context_tokens=config.context_tokens,
        template=config.context_template,
        generator=generator,
    )
    return PromptedText(prompts, text_encoder)
