"""A small random model of every family of open_clip's backbones, built by open_clip and timm themselves."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any

import torch
from torch import Tensor

from mlrpl_cli.core.backbones.backbone import Backbone, BackboneOptions, Dense
from mlrpl_cli.core.backbones.open_clip.assembly import Architecture, assemble
from mlrpl_cli.core.backbones.open_clip.building import random_state
from mlrpl_cli.core.backbones.open_clip.library import open_clip

VIT = {"image_size": 64, "patch_size": 16, "width": 64, "layers": 3, "head_width": 32}
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
EMBED_DIM = 32

NARROW = {"embed_dim": 64, "depth": 2, "num_heads": 4}
TRUNKS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "small_siglip": ("vit_base_patch16_siglip_224", {**NARROW, "img_size": 64}),
    "small_siglip_gap": ("vit_medium_patch16_gap_256", {**NARROW, "img_size": 64}),
    "small_pe_core": ("vit_pe_core_base_patch16_224", {**NARROW, "img_size": 64}),
    "small_pe_core_big": ("vit_pe_core_gigantic_patch14_448", {**NARROW, "img_size": 56}),
    "small_eva01": ("eva_giant_patch14_224", {**NARROW, "img_size": 56}),
    "small_eva02": ("eva02_base_patch16_clip_224", {**NARROW, "img_size": 64}),
    "small_eva02_e": ("eva02_enormous_patch14_clip_224", {**NARROW, "img_size": 56}),
    "small_mobileclip_b": ("vit_base_mci_224", {"depth": 2, "img_size": 64}),
    "small_mobileclip2_l": ("vit_large_patch14_clip_224", {**NARROW, "img_size": 56}),
    "small_registers": (
        "vit_base_patch16_siglip_224",
        {**NARROW, "img_size": 64, "reg_tokens": 3, "class_token": True},
    ),
    "small_convnext": ("convnext_tiny", {"depths": (1, 1, 2, 1), "dims": (16, 24, 32, 64)}),
    "small_fastvit": ("fastvit_mci0", {"layers": (1, 1, 1, 1), "embed_dims": (16, 32, 64, 128)}),
    "small_fastvit_5": ("fastvit_mci3", {"layers": (1, 1, 1, 1, 1), "embed_dims": (16, 32, 32, 64, 64)}),
    "small_vitamin": ("vitamin_small_224", {"depth": 2, "img_size": 64}),
    "small_resnet": ("resnet18", {"layers": (1, 1, 1, 1)}),
    "small_swin": ("swin_tiny_patch4_window7_224", {"embed_dim": 8, "depths": (1, 1, 2, 1), "num_heads": (1, 1, 2, 2)}),
}
"""Names for timm → a trunk of its own and what of it is made smaller."""


def _timm(trunk: str, pool: str, projection: str | None, image_size: int) -> dict[str, Any]:
    return {"timm_model_name": trunk, "timm_pool": pool, "timm_proj": projection, "image_size": image_size}


MODELS: Mapping[str, dict[str, Any]] = {
    "CLIP ResNet": {**RESNET, "head_width": 64},
    "CLIP ResNet, other heads": RESNET,
    "CLIP ViT, QuickGELU": {**VIT, "quick_gelu": True},
    "CLIP ViT, GELU": VIT,
    "ViT, layer scale, no pre-norm": {**VIT, "ls_init_value": 0.5, "no_ln_pre": True},
    "ViT, custom blocks": {**VIT, "qk_norm": True, "scale_heads": True, "scale_attn_inner": True, "scale_fc": True},
    "ViT, norm after pooling": {**VIT, "final_ln_after_pool": True},
    "ViT, mean": {**VIT, "pool_type": "avg"},
    "CLIPA ViT": {**VIT, "pool_type": "avg", "final_ln_after_pool": True, "no_ln_pre": True},
    "CoCa ViT": {
        **VIT,
        "attentional_pool": True,
        "attn_pooler_queries": 5,
        "attn_pooler_heads": 4,
        "output_tokens": True,
    },
    "SigLIP, SigLIP 2": _timm("small_siglip", "map", "none", 64),
    "PE-Core": _timm("small_pe_core", "map", None, 64),
    "PE-Core bigG": _timm("small_pe_core_big", "map", None, 56),
    "EVA01": _timm("small_eva01", "token", None, 56),
    "EVA02 B, L": _timm("small_eva02", "token", None, 64),
    "EVA02 E": _timm("small_eva02_e", "token", None, 56),
    "MobileCLIP B": _timm("small_mobileclip_b", "token", None, 64),
    "MobileCLIP 2 L": _timm("small_mobileclip2_l", "token", None, 56),
    "timm ViT, registers": _timm("small_registers", "map", "linear", 64),
    "timm ViT, mean": _timm("small_siglip_gap", "", "linear", 64),
    "MobileCLIP S (FastViT)": _timm("small_fastvit", "avg", None, 128),
    "MobileCLIP 2 S3, S4 (FastViT)": _timm("small_fastvit_5", "avg", None, 128),
    "ConvNeXt": _timm("small_convnext", "", "linear", 64),
    "ConvNeXt, MLP head": _timm("small_convnext", "", "mlp", 64),
    "ViTamin": _timm("small_vitamin", "", "linear", 64),
    "Swin": _timm("small_swin", "", "linear", 224),
    "timm ResNet, mean": _timm("small_resnet", "avg", "linear", 64),
    "timm ResNet, abs_attn": _timm("small_resnet", "abs_attn", "", 224),
    "timm ResNet, rot_attn": _timm("small_resnet", "rot_attn", "", 224),
}
"""Family → vision_cfg, with quick_gelu beside where it is so."""

TEXTS: Mapping[str, dict[str, Any]] = {
    "CLIP": TEXT,
    "MobileCLIP, not causal": {**TEXT, "no_causal_mask": True},
    "SigLIP": {**TEXT, "context_length": 64, "no_causal_mask": True, "pool_type": "last", "proj_bias": True,
               "norm_kwargs": {"eps": 1e-6}, "act_kwargs": {"approximate": "tanh"}},
    "SigLIP i18n, no projection": {**TEXT, "width": EMBED_DIM, "no_causal_mask": True, "pool_type": "last",
                                   "proj_type": "none"},
    "CoCa": {**TEXT, "context_length": 76, "embed_cls": True, "output_tokens": True},
    "MetaCLIP 2, end by its id": {**TEXT, "pool_type": "eos", "eos_id": 49407},
}  # fmt: skip
"""Family → text_cfg."""


@cache
def register_trunks() -> None:
    """Let timm build the small trunks by their names."""
    import timm
    from timm.models import register_model

    for name, (real, smaller) in TRUNKS.items():

        def build(real: str = real, smaller: dict[str, Any] = smaller, **given: Any) -> Any:
            return timm.create_model(real, **{**smaller, **given})

        build.__name__ = build.__qualname__ = name
        register_model(build)


def model_cfg(vision: str, text: str = "CLIP") -> dict[str, Any]:
    """A whole small model_cfg of open_clip: a family of MODELS and one of TEXTS."""
    open_clip()
    register_trunks()
    tower = deepcopy(MODELS[vision])
    quick = tower.pop("quick_gelu", False)
    # Without a projection the joint space is the trunk's own, whose width is the text's too.
    embed_dim = NARROW["embed_dim"] if tower.get("timm_proj") == "none" else EMBED_DIM
    return {"embed_dim": embed_dim, "vision_cfg": tower, "text_cfg": deepcopy(TEXTS[text]), "quick_gelu": quick}


def lively_state(model: Mapping[str, Any]) -> dict[str, Tensor]:
    """Random weights, none of which is as good as zero, one or a constant, as libraries initialise many."""
    state, generator = random_state(model, seed=0), torch.Generator().manual_seed(1)
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            continue
        drawn = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith("weight"):
            wide = tensor.ndim > 1
            tensor.copy_(1.4 * drawn / tensor[0].numel() ** 0.5 if wide else 1 + 0.1 * drawn)
        else:
            tensor.add_(drawn, alpha=0.1)
    return state


def library_model(model: Mapping[str, Any], state: Mapping[str, Tensor]) -> Any:
    """The same by open_clip itself, which finds its tensors by its own names."""
    made = open_clip().CustomTextCLIP(**deepcopy(dict(model)))
    missing = made.load_state_dict(state, strict=False)
    assert set(missing.missing_keys) <= {"logit_scale"}, missing
    assert not missing.unexpected_keys, missing
    return made.eval().requires_grad_(False)


def backbone_of(model: Mapping[str, Any], state: Mapping[str, Tensor], dense: Dense | None = None) -> Backbone:
    """The backbone of a model."""
    return assemble(BackboneOptions("small", dense=dense), "open_clip", Architecture(model), state, text=True)
