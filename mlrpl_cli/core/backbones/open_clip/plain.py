"""Which of open_clip's configurations compute what our own, faster towers compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlrpl_cli.core.backbones.files.sizes import differences, sizes_of_state
from mlrpl_cli.core.backbones.open_clip.building import OUTSIDE, TEXT
from mlrpl_cli.core.backbones.openai.architectures import VISUAL, StateDict
from mlrpl_cli.core.backbones.openai.resnet import STRIDE
from mlrpl_cli.core.backbones.openai.transformer import Form
from mlrpl_cli.core.io.errors import WeightsError, first_few

VISION = {"image_size": 224, "layers": 12, "width": 768, "head_width": 64, "mlp_ratio": 4.0, "patch_size": 16}
"""open_clip's own defaults of what our towers take; in a file's vision_cfg any of them may be missing."""
WORDS = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12, "mlp_ratio": 4.0}
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "patch_dropout": (),
    "output_tokens": (),
    "pool_type": ("tok", "argmax"),
    "pos_embed_type": ("learnable",),
    "proj_type": ("linear",),
    "block_type": (None, "default"),
    "eos_id": (),
    "pad_id": (),
    "tokenizer_kwargs": (None, {}),
}
"""Other fields and their values that change nothing; () stands for any, and what is not here has to be false."""


def form_of(model: Mapping[str, Any]) -> tuple[Form, Form] | None:
    """The forms of our image and text tower that a model_cfg is of, or None when it takes open_clip's modules.

    Plain are CLIP's ResNets, and ViTs read out at a class token, with a causal text tower read out at its end token.
    """
    vision, words = model["vision_cfg"], model["text_cfg"]
    if not _only(vision, VISION) or not _only(words, WORDS) or "multimodal_cfg" in model:
        return None
    v, w, quick = {**VISION, **vision}, {**WORDS, **words}, bool(model.get("quick_gelu", False))
    resnet = isinstance(v["layers"], list | tuple)
    head = 64 if resnet else v["head_width"]
    if (resnet and v["head_width"] != head) or not isinstance(v["image_size"], int) or w["context_length"] != 77:
        return None
    widths = ((v["width"] * 32 if resnet else v["width"], head), (w["width"], w["width"] // w["heads"]))
    if any(width % part for width, part in widths) or w["width"] % w["heads"]:
        return None
    return Form(head, quick), Form(w["width"] // w["heads"], quick)


def plain_state(state: StateDict) -> StateDict:
    """The tensors under OpenAI's names, where the text tower's may have a prefix."""
    renamed = {name.removeprefix(TEXT): tensor for name, tensor in state.items() if name.startswith(TEXT)}
    kept = {name: tensor for name, tensor in state.items() if name.startswith((VISUAL, "logit_scale"))}
    others = {name: tensor for name, tensor in state.items() if not name.startswith(OUTSIDE)}
    return {**kept, **others, **renamed}


def plain_sizes(model: Mapping[str, Any]) -> tuple[int, int]:
    """D and pixels per grid position of a plain model_cfg."""
    vision = {**VISION, **model["vision_cfg"]}
    resnet = isinstance(vision["layers"], list | tuple)
    return (vision["width"] * 32, STRIDE) if resnet else (vision["width"], vision["patch_size"])


def check_sizes(model: Mapping[str, Any], state: StateDict, text: bool) -> None:
    """Raise WeightsError where the tensors of a plain model are not of the sizes that its configuration says."""
    if wrong := differences(model, sizes_of_state(state, text)):
        raise WeightsError(f"its configuration is not of its tensors: {first_few(wrong)}; give the one they belong to")


def _only(given: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether a part of a configuration says nothing that changes what our towers compute."""
    for name, value in given.items():
        if name in known:
            continue
        neutral = NEUTRAL.get(name)
        if neutral != () and (value if neutral is None else value not in neutral):
            return False
    return True
