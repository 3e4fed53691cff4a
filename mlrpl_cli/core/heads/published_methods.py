"""The methods that come with mlrpl, each made of its parts (method.md): a visual head, a text head, a recognizer."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from mlrpl_cli.core.config import CheckedOptions
from mlrpl_cli.core.heads.category_prompts import (
    context_from_template,
    context_per_class,
    pair_per_class,
    shared_context,
)
from mlrpl_cli.core.heads.class_semantics import guiding_vectors, template_features
from mlrpl_cli.core.heads.fitted.anchored import AnchoredClassifier
from mlrpl_cli.core.heads.methods import ATTENTION, FROM_TEMPLATE, PROMPTS, Method, NoOptions, groups_from_words
from mlrpl_cli.core.heads.recognizers import (
    CosineRecognizer,
    EnsembleRecognizer,
    PairedRecognizer,
    Recognizer,
    RegionRecognizer,
)
from mlrpl_cli.core.heads.text_heads import no_text, template
from mlrpl_cli.core.heads.text_inputs import TextInputs
from mlrpl_cli.core.heads.visual_heads import (
    SEMANTIC_TEMPERATURE,
    DecoupledHead,
    PooledHead,
    SemanticHead,
    State,
)

VOTES = (1.0, 2.0)
"""Of `sarl-warm` and `anchored`: docs/trials.md has what other ones do."""


@dataclass(frozen=True)
class FusionOptions(CheckedOptions):
    """The options of `sa`."""

    attention_temperature: Annotated[float, Field(ge=0.001, le=100)] = SEMANTIC_TEMPERATURE
    """τ, what the cosines are divided by before the softmax over positions: lower looks at fewer of them."""


def pooled(inputs: TextInputs, channels: int, embed_dim: int) -> Recognizer:
    """CLIP's pooled vector against the text."""
    return rebuild_pooled(len(inputs.classes), {}, inputs.options)


def rebuild_pooled(classes: int, state: State, options: NoOptions) -> Recognizer:
    return CosineRecognizer(classes, PooledHead(classes))


def decoupled(inputs: TextInputs, channels: int, embed_dim: int, even: bool = False) -> CosineRecognizer:
    """Each class's own learned attention, which may start `even`, and what it pools against the text."""
    head = DecoupledHead(guiding_vectors(inputs), channels, inputs.config.attention_width or 0, even)
    return CosineRecognizer(len(inputs.classes), head)


def rebuild_decoupled(classes: int, state: State, options: NoOptions, prefix: str = "") -> Recognizer:
    """Of the tensors that `state` has below `prefix`."""
    return CosineRecognizer(classes, DecoupledHead.like(state, f"{prefix}visual_head."))


def fused(inputs: TextInputs, channels: int, embed_dim: int) -> Recognizer:
    """Attention by the frozen text features, and what it pools against the text."""
    head = SemanticHead(template_features(inputs), inputs.options.attention_temperature)
    return CosineRecognizer(len(inputs.classes), head)


def rebuild_fused(classes: int, state: State, options: FusionOptions) -> Recognizer:
    return CosineRecognizer(classes, SemanticHead(state["visual_head.semantics"], options.attention_temperature))


def paired(inputs: TextInputs, channels: int, embed_dim: int) -> Recognizer:
    """Regions against a pair of texts a class."""
    return PairedRecognizer()


def rebuild_paired(classes: int, state: State, options: NoOptions) -> Recognizer:
    return PairedRecognizer()


def regions(inputs: TextInputs, channels: int, embed_dim: int) -> RegionRecognizer:
    """A linear classifier on the regions."""
    return RegionRecognizer(len(inputs.classes), embed_dim)


def rebuild_regions(classes: int, state: State, options: NoOptions) -> Recognizer:
    return RegionRecognizer(classes, state["region_weight"].shape[1])


def ensemble(inputs: TextInputs, channels: int, embed_dim: int) -> Recognizer:
    """`decoupled` and `regions` together."""
    return EnsembleRecognizer(decoupled(inputs, channels, embed_dim), regions(inputs, channels, embed_dim))


def anchored(inputs: TextInputs, channels: int, embed_dim: int) -> Recognizer:
    """Zero-shot scores and a linear correction, fitted at once."""
    return AnchoredClassifier(template_features(inputs), channels)


def rebuild_anchored(classes: int, state: State, options: NoOptions) -> Recognizer:
    return AnchoredClassifier.like(state)


def anchored_ensemble(inputs: TextInputs, channels: int, embed_dim: int) -> Recognizer:
    """`decoupled`, starting even, and `anchored` together."""
    members = decoupled(inputs, channels, embed_dim, even=True), anchored(inputs, channels, embed_dim)
    return EnsembleRecognizer(*members, weights=VOTES)


def rebuild_anchored_ensemble(classes: int, state: State, options: NoOptions) -> Recognizer:
    decoupled_again = rebuild_decoupled(classes, state, options, "members.0.")
    return EnsembleRecognizer(decoupled_again, AnchoredClassifier.like(state, "members.1."), weights=VOTES)


def rebuild_ensemble(classes: int, state: State, options: NoOptions) -> Recognizer:
    decoupled_again = rebuild_decoupled(classes, state, options, "members.0.")
    return EnsembleRecognizer(decoupled_again, RegionRecognizer(classes, state["members.1.region_weight"].shape[1]))


ZERO_SHOT = Method(pooled, template, rebuild_pooled, "CLIP as it is; only scale and bias are fitted")
BASELINE = Method(
    pooled, shared_context, rebuild_pooled, "CLIP's pooled vector, one learned context for all classes (CoOp)", PROMPTS
)
SD = Method(
    decoupled,
    shared_context,
    rebuild_decoupled,
    "semantic decoupling, one learned context for all classes",
    (*PROMPTS, *ATTENTION),
)
CSPO = Method(pooled, context_per_class, rebuild_pooled, "CLIP's pooled vector, a learned context per class", PROMPTS)
SARL = Method(
    decoupled,
    context_per_class,
    rebuild_decoupled,
    "semantic decoupling and a learned context per class",
    (*PROMPTS, *ATTENTION),
)
SARL_PLUS = Method(
    ensemble,
    context_per_class,
    rebuild_ensemble,
    "an ensemble of sarl and linear: their mean logit",
    (*PROMPTS, *ATTENTION),
)
SARL_WARM = Method(
    partial(decoupled, even=True),
    context_from_template,
    rebuild_decoupled,
    "sarl that starts as zero-shot: contexts as a template, attention everywhere alike",
    (*FROM_TEMPLATE, *ATTENTION),
    groups=groups_from_words,
)
ANCHORED = Method(
    anchored,
    no_text,
    rebuild_anchored,
    "zero-shot scores of image and regions, and a linear correction, fitted at once",
    steps=False,
)
SARL_ANCHORED = Method(
    anchored_ensemble,
    context_from_template,
    rebuild_anchored_ensemble,
    "an ensemble of sarl-warm and anchored, which counts twice: their mean logit",
    (*FROM_TEMPLATE, *ATTENTION),
    groups=groups_from_words,
)
SA = Method(
    fused,
    context_per_class,
    rebuild_fused,
    "attention by the frozen text features, a learned context per class",
    PROMPTS,
    FusionOptions,
)
DUALCOOP = Method(
    paired,
    pair_per_class,
    rebuild_paired,
    "regions against a positive and a negative prompt per class (DualCoOp)",
    PROMPTS,
)
LINEAR = Method(regions, no_text, rebuild_regions, "a linear classifier on the regions, no text")
