"""The registry of methods, and the one place that knows sizes and puts the parts together.

A method is a composition: a visual head and a text head over the same frozen features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mlrpl_cli.core.backbones.openai.architectures import ImageArchitecture
from mlrpl_cli.core.backbones.openai.text import TextEncoder
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.heads.attention import SemanticDecoupling
from mlrpl_cli.core.heads.prompts import PromptLearner, Tokenize, build_prompts, check_class_names
from mlrpl_cli.core.heads.recognizers import (
    CosineRecognizer,
    PairedRecognizer,
    Recognizer,
    RegionRecognizer,
    TrainableRecognizer,
    VotingRecognizer,
)
from mlrpl_cli.core.heads.semantics import centred, glove_features, template_features
from mlrpl_cli.core.heads.text import FixedText, PairedText, PromptedText, TextHead
from mlrpl_cli.core.heads.visual import DecoupledHead, PooledHead, SemanticHead, VisualHead

# How the names of the tensors end that say a recognizer's sizes.
SEMANTICS = "visual_head.semantics"
IMAGE_PROJECTION = "visual_head.decoupling.image_projection.weight"
REGION_WEIGHT = "region_weight"

# Visual heads
POOLED, DECOUPLED, SEMANTIC, PAIRED, REGIONS = "pooled", "decoupled", "semantic attention", "paired regions", "regions"
# Text heads
TEMPLATE, SHARED, PER_CLASS, PAIRS, NONE = "template", "shared context", "context per class", "two per class", "none"


@dataclass(frozen=True)
class Method:
    """Which parts a method is made of."""

    visual_head: str
    """POOLED (CLIP's own vector), DECOUPLED (semantic decoupling), SEMANTIC (attention by the frozen text features),
    PAIRED (DualCoOp's regions) or REGIONS (a linear classifier on them)."""
    text_head: str
    """TEMPLATE (frozen "a photo of a NAME"), SHARED, PER_CLASS or PAIRS (learnable contexts), or NONE."""
    summary: str
    """One line for help and tables."""
    regions_vote: bool = False
    """Whether a linear classifier on the regions votes beside the cosine with the text features."""


METHODS: dict[str, Method] = {
    "zero-shot": Method(POOLED, TEMPLATE, "CLIP as it is; only the calibration is fitted"),
    "baseline": Method(POOLED, SHARED, "CLIP's pooled vector, one learned context for all classes (CoOp)"),
    "sd": Method(DECOUPLED, SHARED, "semantic decoupling, one learned context for all classes"),
    "cspo": Method(POOLED, PER_CLASS, "CLIP's pooled vector, a learned context per class"),
    "sarl": Method(DECOUPLED, PER_CLASS, "semantic decoupling and a learned context per class"),
    "sarl+": Method(DECOUPLED, PER_CLASS, "sarl and linear, which vote", regions_vote=True),
    "sa": Method(SEMANTIC, PER_CLASS, "attention by the frozen text features, a learned context per class"),
    "dualcoop": Method(PAIRED, PAIRS, "regions against a positive and a negative prompt per class (DualCoOp)"),
    "linear": Method(REGIONS, NONE, "a linear classifier on the regions, no text"),
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
    recognizer = _recognizer(method, len(classes), image.channels, image.embed_dim, width, semantics)
    for module in recognizer.modules():
        if isinstance(module, SemanticDecoupling):
            module.initialize(generator)
    return TrainableRecognizer(recognizer, _text_head(config, method, classes, text_encoder, tokenize, generator))


def rebuild_recognizer(method: str, classes: int, state: Mapping[str, Tensor]) -> Recognizer:
    """The trained recognizer whose state dict is `state`, which says its sizes, in evaluation mode."""
    projection, semantics = _ending(state, IMAGE_PROJECTION), _ending(state, SEMANTICS)
    weight = _ending(state, REGION_WEIGHT)
    width, channels = projection.shape if projection is not None else (0, 0)
    embed_dim = weight.shape[1] if weight is not None else 0
    recognizer = _recognizer(METHODS[method], classes, channels, embed_dim, width, semantics)
    recognizer.load_state_dict(state)
    return recognizer.eval().requires_grad_(False)


def _recognizer(
    method: Method, classes: int, channels: int, embed_dim: int, width: int, semantics: Tensor | None
) -> Recognizer:
    if method.visual_head == PAIRED:
        return PairedRecognizer()
    if method.visual_head == REGIONS:
        return RegionRecognizer(classes, embed_dim)
    side: VisualHead = PooledHead()
    if semantics is not None:
        decoupled = method.visual_head == DECOUPLED
        side = (
            DecoupledHead(SemanticDecoupling(channels, semantics.shape[1], width), semantics)
            if decoupled
            else SemanticHead(semantics)
        )
    recognizer = CosineRecognizer(side, classes)
    return VotingRecognizer([recognizer, RegionRecognizer(classes, embed_dim)]) if method.regions_vote else recognizer


def _ending(state: Mapping[str, Tensor], name: str) -> Tensor | None:
    return next((tensor for key, tensor in state.items() if key.endswith(name)), None)


def _semantics(
    config: TrainConfig, method: Method, classes: Sequence[str], text_encoder: TextEncoder, tokenize: Tokenize
) -> Tensor | None:
    """What guides the attention (C, S); None for visual heads without guidance."""
    if method.visual_head not in (DECOUPLED, SEMANTIC):
        return None
    # Semantic attention compares with the grid itself, so its vectors have to live in the joint space.
    if method.visual_head == SEMANTIC:
        return template_features(classes, text_encoder, tokenize)
    if config.semantics == "glove":
        return centred(glove_features(classes, Path(config.glove or "")))
    return centred(template_features(classes, text_encoder, tokenize))


def _text_head(
    config: TrainConfig,
    method: Method,
    classes: Sequence[str],
    text_encoder: TextEncoder,
    tokenize: Tokenize,
    generator: torch.Generator,
) -> TextHead:
    if method.text_head == NONE:
        return FixedText(torch.empty(len(classes), 0))
    if method.text_head == TEMPLATE:
        return FixedText(template_features(classes, text_encoder, tokenize))

    def prompts() -> PromptLearner:
        return build_prompts(
            classes,
            text_encoder,
            tokenize,
            per_class=method.text_head != SHARED,
            context_tokens=config.context_tokens,
            template=config.context_template,
            generator=generator,
        )

    return (
        PairedText(prompts(), prompts(), text_encoder)
        if method.text_head == PAIRS
        else PromptedText(prompts(), text_encoder)
    )
