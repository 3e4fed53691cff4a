"""Image towers of every family beside open_clip's own, on the same small random weights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from mlrpl_cli.core.backbones.backbone import Backbone
from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.backbones.open_clip.building import empty_visual, fill, resized_state, visual_state
from mlrpl_cli.core.backbones.open_clip.towers import ClassTokenTower, PooledTower, set_size
from mlrpl_cli.core.io.errors import WeightsError
from scripts.backbone_identities import (
    difference,
    encode,
    images_of,
    library_tokens,
    mean_of_joint,
    one_position,
    pooled_projections,
    pooled_values,
    values_under_mask,
)
from scripts.small_backbones import MODELS, backbone_of, library_model, lively_state, model_cfg

CLASS_TOKEN = [
    "ViT, layer scale, no pre-norm",
    "ViT, custom blocks",
    "ViT, norm after pooling",
    "EVA01",
    "EVA02 B, L",
    "EVA02 E",
    "MobileCLIP 2 L",
]
LINEAR = ["CLIP ResNet, other heads", "timm ResNet, abs_attn", "timm ResNet, rot_attn"]
MEANS = ["ViT, mean", "timm ViT, mean", "MobileCLIP S (FastViT)", "Swin"]
RESIZED = [
    "ViT, mean",
    "EVA02 B, L",
    "PE-Core",
    "SigLIP, SigLIP 2",
    "MobileCLIP 2 L",
    "ConvNeXt",
    "CLIP ResNet, other heads",
]

pytestmark = pytest.mark.usefixtures("one_thread", "no_grad")


@pytest.fixture
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


@cache
def small(family: str) -> tuple[dict[str, Any], dict[str, Tensor], Backbone]:
    model = model_cfg(family)
    state = lively_state(model)
    return model, state, backbone_of(model, state)


@pytest.mark.parametrize("family", MODELS)
def test_the_vector_is_open_clips_and_the_grid_has_its_sizes(family: str) -> None:
    model, state, backbone = small(family)
    size = backbone.rule.size
    images = images_of(size)
    features = backbone.image_tower(size)(images)
    assert difference(features.pooled, encode(model, state, images)) < 1e-4
    assert difference(features.pooled[:1], features.pooled[1:]) > 1e-3  # or nothing would be compared
    positions = (size // backbone.rule.stride) ** 2
    assert features.grid.shape == (2, positions, backbone.channels)
    assert features.joint.shape == (2, positions, backbone.embed_dim)
    assert features.attention.shape == (2, positions)
    assert ((features.attention.sum(dim=1) > 0) & (features.attention.sum(dim=1) < 1 + 1e-5)).all()


@pytest.mark.parametrize("family", MODELS)
def test_folding_changes_no_feature_and_no_given_weight(family: str) -> None:
    _, state, backbone = small(family)
    kept = {name: tensor.clone() for name, tensor in state.items()}
    plain, folded = backbone.image_tower(backbone.rule.size), backbone.image_tower(backbone.rule.size)
    folded.fold()
    images = images_of(backbone.rule.size, 1)
    for name, expected in vars(plain(images)).items():
        assert difference(vars(folded(images))[name], expected) < 1e-4, name
    assert all(torch.equal(state[name], tensor) for name, tensor in kept.items())
    assert not any(parameter.requires_grad for parameter in folded.parameters())


@pytest.mark.parametrize("family", RESIZED)
def test_other_sizes_are_what_open_clip_gives_at_them(family: str) -> None:
    """Its modules told the size, with its own resizing of positions; for ResNets it has none."""
    model, state, backbone = small(family)
    size = backbone.rule.size + 2 * backbone.rule.stride
    images, features = images_of(size, 1), backbone.image_tower(size)(images_of(size, 1))
    assert features.grid.shape[1] == (size // backbone.rule.stride) ** 2
    visual = empty_visual(model, size)
    own = visual_state(state)
    fill(visual, own if model["vision_cfg"].get("timm_model_name") else resized_state(own, visual), "image tower")
    set_size(visual, size)
    assert difference(features.pooled, visual(images)) < 1e-4


def test_a_tower_with_windows_takes_its_own_size_alone() -> None:
    rule = small("Swin")[2].rule
    assert "the one size" in (rule.problem(448) or "")
    assert rule.problem(224) is None


@pytest.mark.parametrize("family", LINEAR)
def test_the_value_path_pooled_by_the_towers_attention_is_its_vector(family: str) -> None:
    backbone = small(family)[2]
    tower = backbone.image_tower(backbone.rule.size)
    assert isinstance(tower, PooledTower)
    assert pooled_values(tower, images_of(backbone.rule.size)) < 1e-4


@pytest.mark.parametrize("family", ["CoCa ViT", "SigLIP, SigLIP 2", "PE-Core", "timm ViT, registers"])
def test_the_value_path_pooled_is_the_vector_before_what_follows_the_attention(family: str) -> None:
    backbone = small(family)[2]
    tower = backbone.image_tower(backbone.rule.size)
    assert isinstance(tower, PooledTower)
    assert pooled_projections(tower, images_of(backbone.rule.size)) < 1e-4


@pytest.mark.parametrize("family", ["SigLIP, SigLIP 2", "PE-Core bigG", "ConvNeXt", "ConvNeXt, MLP head", "ViT, mean"])
def test_of_an_image_of_one_position_the_joint_grid_is_the_vector(family: str) -> None:
    """Holds for what follows the attention too."""
    assert one_position(small(family)[2]) < 1e-4


@pytest.mark.parametrize("family", MEANS)
def test_the_mean_of_the_joint_grid_is_the_vector_where_the_head_is_linear(family: str) -> None:
    backbone = small(family)[2]
    images = images_of(backbone.rule.size)
    assert mean_of_joint(backbone, images) < 1e-4
    attention = backbone.image_tower(backbone.rule.size)(images).attention
    assert attention.allclose(torch.tensor(1 / attention.shape[1]))


@pytest.mark.parametrize("family", CLASS_TOKEN)
def test_values_are_the_last_block_under_an_identity_mask(family: str) -> None:
    model, state, backbone = small(family)
    assert isinstance(backbone.image_tower(backbone.rule.size), ClassTokenTower)
    assert values_under_mask(model, state, backbone, images_of(backbone.rule.size)) < 1e-4


@pytest.mark.parametrize("family", CLASS_TOKEN)
def test_tokens_are_the_patches_as_the_library_leaves_them(family: str) -> None:
    model, state, other = small(family)
    backbone = backbone_of(model, state, dense="tokens")
    images = images_of(backbone.rule.size)
    features = backbone.image_tower(backbone.rule.size)(images)
    assert difference(features.joint, library_tokens(model, state, images)[:, 1:]) < 1e-4
    assert difference(features.joint, other.image_tower(backbone.rule.size)(images).joint) > 1e-2
    assert backbone.fingerprint != other.fingerprint


def test_pixels_that_no_patch_covers_are_left_out_as_the_library_does() -> None:
    """SigLIP's towers of 384 pixels have patches of 14: the default is the 378 that they see."""
    model = model_cfg("ViT, mean")
    model["vision_cfg"]["image_size"] = 70
    state = lively_state(model)
    backbone, images = backbone_of(model, state), images_of(70)
    assert (backbone.rule.size, backbone.rule.problem(backbone.rule.size)) == (64, None)
    seen = backbone.image_tower(64)(images[:, :, :64, :64])
    assert difference(seen.pooled, encode(model, state, images)) < 1e-4


def test_attention_is_the_class_tokens_row_of_the_last_block() -> None:
    """Beside the weights that `nn.MultiheadAttention` itself gives."""
    model, state, backbone = small("ViT, layer scale, no pre-norm")
    images, visual = images_of(64), library_model(model, state).visual
    x = visual._embeds(images)
    for block in visual.transformer.resblocks[:-1]:
        x = block(x)
    last = visual.transformer.resblocks[-1]
    normed = last.ln_1(x)
    weights = last.attn(normed, normed, normed, need_weights=True)[1]
    torch.testing.assert_close(backbone.image_tower(64)(images).attention, weights[:, 0, 1:], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", ["EVA02 B, L", "PE-Core", "SigLIP, SigLIP 2", "CoCa ViT", "ConvNeXt"])
def test_bf16_is_near_float32(family: str) -> None:
    backbone = small(family)[2]
    size = backbone.rule.size
    exact: ImageFeatures = backbone.image_tower(size)(images_of(size))
    rounded = backbone.image_tower(size).to(torch.bfloat16)(images_of(size).to(torch.bfloat16))
    for name, expected in vars(exact).items():
        assert vars(rounded)[name].dtype == torch.bfloat16
        assert float((vars(rounded)[name].float() - expected).norm() / expected.norm()) < 0.05, name


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"pool_type": "none"}, "gives no image vector"),
        ({"attentional_pool": "parallel"}, "cascaded, or reads several queries"),
        ({"attentional_pool": True, "pool_type": "avg"}, "cascaded, or reads several queries"),
        ({"scaled_cosine_attn": True}, "scaled cosine"),
        ({"image_size": [64, 32]}, "expected squares"),
        ({"colour": "red"}, "cannot be built from its configuration"),
    ],
)
def test_a_form_that_is_not_known_is_refused_in_one_line(changed: dict[str, Any], told: str) -> None:
    model = model_cfg("CLIP ViT, GELU")
    model["vision_cfg"] |= changed
    with pytest.raises(WeightsError, match=told) as refused:
        backbone_of(model, {})
    assert "\n" not in str(refused.value)


def test_tokens_of_an_attention_pool_are_refused() -> None:
    model, state, _ = small("SigLIP, SigLIP 2")
    with pytest.raises(WeightsError, match="expected 'values'"):
        backbone_of(model, state, dense="tokens")


def test_tensors_of_another_tower_are_named() -> None:
    model, state, _ = small("ConvNeXt")
    some = {name: tensor for name, tensor in state.items() if "stem" not in name}
    with pytest.raises(WeightsError, match=r"\d tensors missing \(trunk\.stem"):
        backbone_of(model, some)
    other = {**state, "visual.head.proj.weight": torch.zeros(3, 3)}
    with pytest.raises(WeightsError, match=r"head\.proj\.weight: expected shape \(32, 64\), got \(3, 3\)"):
        backbone_of(model, other)
