"""A backbone of our own towers, out of a state dict in OpenAI's format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mlrpl_cli.core.backbones.backbone import (
    Backbone,
    BackboneOptions,
    Defaults,
    Dense,
    InputRule,
    fingerprint_of,
    logits_of,
    rule_as_decided,
    without_text,
)
from mlrpl_cli.core.backbones.openai.architectures import (
    VISUAL,
    StateDict,
    build_image_encoder,
    build_text_encoder,
    image_architecture,
)
from mlrpl_cli.core.backbones.openai.tokenizer import ClipTokenizer
from mlrpl_cli.core.backbones.openai.transformer import OPENAI_FORM, Form
from mlrpl_cli.core.io.errors import ConfigError

DEFAULTS = Defaults(image_size=448)
"""As the literature has it."""


def assemble(
    options: BackboneOptions,
    state: StateDict,
    text: bool = True,
    form: Form = OPENAI_FORM,
    text_form: Form = OPENAI_FORM,
    input_rule: Mapping[str, Any] | None = None,
    **told: Any,
) -> Backbone:
    """The backbone whose tensors are `state`, its sizes read off their shapes.

    `form` and `text_form` are of the two transformers, and `input_rule` says what of the `InputRule` is not as
    OpenAI's. What is `told` goes into the record. Raises WeightsError when the tensors are not a CLIP's, ConfigError
    for a `dense` that its image tower has not.
    """
    image = image_architecture(state, form)
    rule = InputRule(image.image_size, image.stride, **(input_rule or {}))
    decides, record = rule_as_decided(rule), {"rule": asdict(rule), **logits_of(state), **told}
    dense: Dense = "values"
    if image.is_vit:
        dense = options.wanted_dense or _older_dense(options)
        record["dense"] = dense
        decides |= {name: value for name, value in asdict(form).items() if value != getattr(OPENAI_FORM, name)}
        decides |= {"dense": dense} if dense != "tokens" else {}
    elif options.dense == "tokens":
        raise ConfigError("dense: a CLIP ResNet has only 'values', the value path of its attention pool; leave it out")
    weights = {name: tensor for name, tensor in state.items() if name.startswith(VISUAL)}
    return Backbone(
        options.name,
        rule,
        image.channels,
        image.embed_dim,
        fingerprint_of(weights, decides),
        lambda image_size: build_image_encoder(state, form, dense),
        (lambda: build_text_encoder(state, text_form)) if text else without_text,
        ClipTokenizer(),
        record,
        weights=weights,
    )


def _older_dense(options: BackboneOptions) -> Dense:
    """Of a run that does not say, which is older than the choice, the tokens."""
    return "values" if options.recorded is None else "tokens"
