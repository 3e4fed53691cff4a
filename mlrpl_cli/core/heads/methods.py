"""The registry of methods, and the one place that knows sizes and puts the parts together.

A method is a composition: a visual head and a text head over the same frozen features, and what compares the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

import torch
from torch import Tensor

from mlrpl_cli.core.heads.recognizers import Recognizer, TrainableRecognizer
from mlrpl_cli.core.heads.semantic_decoupling import SemanticDecoupling
from mlrpl_cli.core.heads.text_inputs import TextInputs, check_class_names
from mlrpl_cli.core.heads.visual_heads import Blueprint
from mlrpl_cli.core.io.errors import ConfigError

ROOM = "mlrpl_cli.core.heads"
POOLED, SEMANTIC = f"{ROOM}.visual_heads:PooledHead", f"{ROOM}.visual_heads:SemanticHead"
DECOUPLED = f"{ROOM}.visual_heads:DecoupledHead"
NO_TEXT, TEMPLATE = f"{ROOM}.text_heads:no_text", f"{ROOM}.text_heads:template"
PER_CLASS, SHARED = f"{ROOM}.category_prompts:context_per_class", f"{ROOM}.category_prompts:shared_context"
PAIRS = f"{ROOM}.category_prompts:pair_per_class"
COSINE, PAIRED = f"{ROOM}.recognizers:CosineRecognizer", f"{ROOM}.recognizers:PairedRecognizer"
REGIONS, ENSEMBLE = f"{ROOM}.recognizers:RegionRecognizer", f"{ROOM}.recognizers:EnsembleRecognizer"


@dataclass(frozen=True)
class Method:
    """Which parts a method is made of, each "module:name"."""

    visual_head: str | None
    """A class of `VisualHead`, made from a `Blueprint`; None where the recognizer looks at the regions itself."""
    text_head: str
    """A function from `TextInputs` to a `TextHead`."""
    recognizer: str
    """A class of `Recognizer`, made from a `Blueprint`."""
    summary: str
    """One line for help and tables."""


METHODS: dict[str, Method] = {
    "zero-shot": Method(POOLED, TEMPLATE, COSINE, "CLIP as it is; only scale and bias are fitted"),
    "baseline": Method(POOLED, SHARED, COSINE, "CLIP's pooled vector, one learned context for all classes (CoOp)"),
    "sd": Method(DECOUPLED, SHARED, COSINE, "semantic decoupling, one learned context for all classes"),
    "cspo": Method(POOLED, PER_CLASS, COSINE, "CLIP's pooled vector, a learned context per class"),
    "sarl": Method(DECOUPLED, PER_CLASS, COSINE, "semantic decoupling and a learned context per class"),
    "sarl+": Method(DECOUPLED, PER_CLASS, ENSEMBLE, "an ensemble of sarl and linear: their mean logit"),
    "sa": Method(SEMANTIC, PER_CLASS, COSINE, "attention by the frozen text features, a learned context per class"),
    "dualcoop": Method(None, PAIRS, PAIRED, "regions against a positive and a negative prompt per class (DualCoOp)"),
    "linear": Method(None, NO_TEXT, REGIONS, "a linear classifier on the regions, no text"),
}


def build_trainable(inputs: TextInputs, channels: int, embed_dim: int) -> TrainableRecognizer:
    """A recognizer ready to train on feature maps of D `channels`, every learned tensor drawn from `inputs.generator`.

    Raises ConfigError for class names that no prompt can hold, and for a method with a part that is not there.
    """
    check_class_names(inputs.classes)
    method, width = METHODS[inputs.config.method], inputs.config.attention_width or 0
    head = _part(method, "visual_head")
    semantics = head.guidance(inputs) if hasattr(head, "guidance") else torch.empty(0, 0)
    blueprint = Blueprint(len(inputs.classes), channels, embed_dim, width, semantics, head)
    recognizer = _part(method, "recognizer")(blueprint)
    # The attention first and the contexts after it: a seed means its draws in this order.
    for module in recognizer.modules():
        if isinstance(module, SemanticDecoupling):
            module.initialize(inputs.generator)
    return TrainableRecognizer(recognizer, _part(method, "text_head")(inputs))


def rebuild_recognizer(method: str, classes: int, state: Mapping[str, Tensor]) -> Recognizer:
    """The trained recognizer whose state dict is `state`, which says its sizes, in evaluation mode."""

    def ending(name: str) -> Tensor:
        # Where a needed one is missing, loading says so; PyTorch warns of layers without numbers, hence not (0, 0).
        return next((tensor for key, tensor in state.items() if key.endswith(name)), torch.zeros(1, 1))

    width, channels = ending("visual_head.decoupling.image_projection.weight").shape
    _, embed_dim = ending("region_weight").shape
    head, kind = (_part(METHODS[method], part) for part in ("visual_head", "recognizer"))
    recognizer = kind(Blueprint(classes, channels, embed_dim, width, ending("visual_head.semantics"), head))
    recognizer.load_state_dict(state)
    return recognizer.eval().requires_grad_(False)


def _part(method: Method, kind: str) -> Any:
    """The part that `method` names. Raises ConfigError with those that the methods have when it is not there."""
    reference = getattr(method, kind)
    try:
        return reference and resolve_name(reference)
    except (ModuleNotFoundError, AttributeError, ValueError) as error:
        if isinstance(error, ModuleNotFoundError) and not reference.startswith(str(error.name)):
            raise  # the part is there, and something that it needs is not
        known = ", ".join(sorted({getattr(other, kind) for other in METHODS.values()} - {reference, None}))
        raise ConfigError(f"no {kind.replace('_', ' ')} is called '{reference}'; methods have {known}") from error
