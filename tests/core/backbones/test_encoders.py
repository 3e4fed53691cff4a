"""Parity with open_clip's modules on the same weights, for every architecture."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mlrpl_cli.core.backbones.backbone import BackboneOptions
from mlrpl_cli.core.backbones.features import resize_positions
from mlrpl_cli.core.backbones.frozen import make_encoder
from mlrpl_cli.core.backbones.open_clip.library import open_clip
from mlrpl_cli.core.backbones.openai.architectures import (
    ARCHITECTURES,
    Architecture,
    build_image_encoder,
    build_text_encoder,
    image_architecture,
    random_state,
)
from mlrpl_cli.core.backbones.openai.assembly import assemble
from mlrpl_cli.core.backbones.openai.tokenizer import tokenize
from mlrpl_cli.core.backbones.openai.transformer import Form
from mlrpl_cli.core.backbones.tokens import pad_tokens
from mlrpl_cli.core.io.errors import WeightsError
from tests import reference

TEXTS = ["a photo of a traffic light.", "dog"]


def small(architecture: Architecture) -> Architecture:
    """The same form, depth and input size with narrow layers."""
    image = replace(architecture.image, width=64 if architecture.image.layers[1:] == () else 8, embed_dim=32)
    return Architecture(image, replace(architecture.text, width=64, layers=2, embed_dim=32))


def state_of(architecture: Architecture) -> dict[str, torch.Tensor]:
    """Random weights, with batch-norm statistics that are not the identity."""
    state = random_state(architecture, seed=0)
    generator = torch.Generator().manual_seed(1)
    for name, tensor in state.items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(std=0.1, generator=generator)
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
    return state


def open_clip_model(architecture: Architecture, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    image, text = architecture.image, architecture.text
    vision = {"image_size": image.image_size, "width": image.width}
    if len(image.layers) == 1:
        vision |= {"layers": image.layers[0], "patch_size": image.stride, "head_width": image.form.head_width}
        vision |= {"mlp_ratio": image.hidden / image.width} if image.hidden else {}
    else:
        vision |= {"layers": list(image.layers), "head_width": 64}
    words = {
        "context_length": text.context_length,
        "vocab_size": text.vocabulary,
        "width": text.width,
        "heads": text.width // text.form.head_width,
        "layers": text.layers,
    }
    model = open_clip().CLIP(image.embed_dim, vision, words, quick_gelu=text.form.quick_gelu)
    model.load_state_dict(state)
    return model.eval()


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got.float() - expected).norm() / expected.norm())


@torch.no_grad()
def check_parity(architecture: Architecture) -> None:
    state = state_of(architecture)
    visual = build_image_encoder(state, architecture.image.form)
    text, theirs = build_text_encoder(state, architecture.text.form), open_clip_model(architecture, state)
    size = architecture.image.image_size
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(2))
    assert relative_error(visual(images).pooled, theirs.encode_image(images)) < 1e-4
    tokens = tokenize(TEXTS)
    padded = torch.tensor([row + [0] * (77 - len(row)) for row in tokens])
    assert relative_error(text.encode_tokens(tokens), theirs.encode_text(padded)) < 1e-4


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_equals_open_clip_at_small_width(name):
    check_parity(small(ARCHITECTURES[name]))


@pytest.mark.parametrize(
    ("head_width", "quick_gelu", "hidden"), [(80, True, None), (64, False, None), (40, False, 300)]
)
def test_other_heads_activations_and_mlps_equal_open_clip(head_width, quick_gelu, hidden):
    """ViT-H has heads of 80, LAION's checkpoints GELU, ViT-g MLPs of another width."""
    architecture = small(ARCHITECTURES["ViT-B/32"])
    image = replace(architecture.image, width=320, hidden=hidden, form=Form(head_width, quick_gelu))
    check_parity(Architecture(image, replace(architecture.text, form=Form(64, quick_gelu))))


@torch.no_grad()
def test_a_vits_joint_grid_is_its_last_block_with_every_patch_seeing_itself_alone():
    architecture = small(ARCHITECTURES["ViT-B/16"])
    architecture = replace(architecture, image=replace(architecture.image, image_size=64))
    state = state_of(architecture)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    values, tokens = (build_image_encoder(state, dense=dense)(images) for dense in ("values", "tokens"))
    theirs = open_clip_model(architecture, state).visual
    expected = theirs.forward_intermediates(images, indices=2, normalize_intermediates=False)["image_intermediates"][0]
    before = expected.flatten(2).transpose(1, 2)  # (B, P, D) into the last block
    alone = torch.full((16, 16), -torch.inf).fill_diagonal_(0)
    after = theirs.transformer.resblocks[-1](before, attn_mask=alone)
    torch.testing.assert_close(values.joint, theirs.ln_post(after) @ theirs.proj, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tokens.joint, tokens.grid @ theirs.proj, rtol=1e-4, atol=1e-5)
    for field in ("grid", "pooled", "attention"):
        assert torch.equal(vars(values)[field], vars(tokens)[field])


@pytest.mark.parametrize("name", ["RN50", "ViT-B/32"])
def test_full_size_equals_open_clip(name):
    check_parity(ARCHITECTURES[name])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_sizes_are_read_off_the_tensors(name):
    architecture = small(ARCHITECTURES[name])
    state = random_state(architecture, seed=0)
    assert image_architecture(state) == architecture.image
    assert build_text_encoder(state).width == architecture.text.width


@torch.no_grad()
@pytest.mark.parametrize("size", [(224, 224), (256, 192)])
def test_clips_own_attention_over_our_grid_and_projection_gives_the_pooled_vector(size):
    """c_proj(v_proj(Σ_t a_t x_t)), per head, the mean token's share spread over the grid it is the mean of."""
    encoder = build_image_encoder(state_of(small(ARCHITECTURES["RN50"])))
    features = encoder(torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(2)))
    side = (size[0] // 32, size[1] // 32)
    tokens = encoder.attnpool.tokens(features.grid.transpose(1, 2).unflatten(2, side))
    attention = encoder.attnpool.attention(tokens)  # (B, N, 1+P)
    projected = encoder.attnpool.project((attention[..., None] * tokens[:, None]).sum(2))  # (B, N, E), head n's pool
    heads = attention.shape[1]
    # Each head owns its slice of the value channels: take it from the pool that this head's weights made.
    values = encoder.attnpool.v_proj((attention[..., None] * tokens[:, None]).sum(2))  # (B, N, D)
    own = values.unflatten(2, (heads, -1))[:, range(heads), range(heads)].flatten(1)
    torch.testing.assert_close(encoder.attnpool.c_proj(own), features.pooled, rtol=1e-4, atol=1e-5)
    assert projected.shape == (2, heads, encoder.embed_dim)


@torch.no_grad()
def test_the_attention_pool_equals_the_numpy_reference():
    encoder = build_image_encoder(state_of(small(ARCHITECTURES["RN50"])))
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    weights = {name: tensor.double().numpy() for name, tensor in encoder.attnpool.state_dict().items()}
    expected = reference.attention_pool(encoder.feature_map(images)[0].double().numpy(), weights, 4)
    np.testing.assert_allclose(encoder(images).pooled[0], expected, rtol=1e-3, atol=1e-5)


@torch.no_grad()
def test_the_joint_grid_is_the_projected_grid():
    encoder = build_image_encoder(state_of(small(ARCHITECTURES["RN50"])))
    features = encoder(torch.randn(1, 3, 224, 224))
    with_positions = features.grid + encoder.attnpool.positional_embedding[1:]
    torch.testing.assert_close(features.joint, encoder.attnpool.project(with_positions), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["RN50", "ViT-B/16"])
def test_any_multiple_of_the_stride_is_an_input_size(name):
    architecture = small(ARCHITECTURES[name])
    encoder = build_image_encoder(random_state(architecture, seed=0))
    height, width = 3 * architecture.image.stride, 5 * architecture.image.stride
    features = encoder(torch.randn(2, 3, height, width))
    assert features.grid.shape == (2, 15, encoder.channels)
    assert features.joint.shape == (2, 15, 32)
    assert features.pooled.shape == (2, 32)
    assert features.attention.shape == (2, 15)
    assert ((features.attention.sum(1) > 0) & (features.attention.sum(1) <= 1 + 1e-5)).all()


def test_positions_are_resized_by_cubic_convolution_and_the_first_row_is_kept():
    """A row that varies along x alone, doubled: each new value is the kernel's sum over the row, edges repeated."""
    row = np.array([3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0, 6.0])
    table = torch.cat([torch.tensor([[99.0]]), torch.tensor(row).float().repeat(8, 1).reshape(64, 1)])
    resized = resize_positions(table, (16, 16))
    assert resized[0] == 99
    expected = [reference.cubic_convolution(row, (x + 0.5) / 2 - 0.5) for x in range(16)]
    np.testing.assert_allclose(resized[1:].reshape(16, 16)[5], expected, rtol=1e-4, atol=1e-4)
    assert resize_positions(table, (8, 8)) is table


@torch.no_grad()
@pytest.mark.parametrize("name", ["RN50", "RN50x4"])
def test_folding_changes_no_feature(name):
    state = state_of(small(ARCHITECTURES[name]))
    plain, folded = build_image_encoder(state), build_image_encoder(state)
    folded.fold()
    assert not [module for module in folded.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    images = torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(2))
    for field, expected in vars(plain(images)).items():
        torch.testing.assert_close(vars(folded(images))[field], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["RN50", "ViT-B/16"])
def test_bf16_is_within_two_percent_of_float32(name):
    state = state_of(small(ARCHITECTURES[name]))
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    cpu = torch.device("cpu")
    exact, rounded = (
        make_encoder(assemble(BackboneOptions("small"), state), 64, cpu, p)(pixels) for p in ("float32", "bf16")
    )
    for field, expected in vars(exact).items():
        assert vars(rounded)[field].dtype == torch.bfloat16
        assert relative_error(vars(rounded)[field], expected) < 2e-2, field


def test_prompts_of_several_lengths_have_the_gradients_of_padded_ones():
    """open_clip encodes all 77 positions with a mask; the gradient of each token embedding has to be the same."""
    architecture = small(ARCHITECTURES["RN50"])
    state = state_of(architecture)
    ours, theirs = build_text_encoder(state), open_clip_model(architecture, state)
    ids, end = pad_tokens(tokenize(["dog", "a hot dog", "cat", *TEXTS]))
    short = ours.token_embedding(ids).requires_grad_()
    upstream = torch.randn(len(ids), 32, generator=torch.Generator().manual_seed(2))
    ours(short, end).backward(upstream)
    padded = torch.cat([ours.token_embedding(ids), torch.zeros(len(ids), 77 - ids.shape[1], ours.width)], dim=1)
    padded.requires_grad_()
    x = padded + theirs.positional_embedding
    x = theirs.ln_final(theirs.transformer(x, attn_mask=theirs.attn_mask))
    (x[torch.arange(len(ids)), end] @ theirs.text_projection).backward(upstream)
    for row, last in enumerate(end.tolist()):
        got, expected = short.grad[row, 1 : last + 1], padded.grad[row, 1 : last + 1]
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    torch.testing.assert_close(short.grad[0, 0], padded.grad[:, 0].sum(0), rtol=1e-3, atol=1e-4)


def test_prompts_first_seen_in_inference_mode_can_be_trained_through_later():
    """How they are packed is remembered."""
    text = build_text_encoder(random_state(small(ARCHITECTURES["RN50"]), seed=0))
    embeddings, end = torch.randn(3, 9, text.width, requires_grad=True), torch.tensor([8, 5, 8])
    with torch.inference_mode():
        expected = text(embeddings, end).clone()
    got = text(embeddings, end)
    got.sum().backward()
    assert torch.equal(got, expected)
    assert (embeddings.grad[1, 6:] == 0).all()


@torch.no_grad()
def test_folding_the_text_encoder_changes_no_feature_and_no_given_weight():
    state = state_of(small(ARCHITECTURES["RN50"]))
    kept = {name: tensor.clone() for name, tensor in state.items()}
    plain, folded = build_text_encoder(state), build_text_encoder(state)
    folded.fold()
    tokens = tokenize(TEXTS)
    torch.testing.assert_close(folded.encode_tokens(tokens), plain.encode_tokens(tokens), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(state[name], tensor) for name, tensor in kept.items())


@torch.no_grad()
def test_text_behind_the_end_token_changes_nothing():
    text = build_text_encoder(random_state(small(ARCHITECTURES["RN50"]), seed=0))
    short, both = text.encode_tokens(tokenize(["dog"])), text.encode_tokens(tokenize(["dog", TEXTS[0]]))
    torch.testing.assert_close(both[:1], short)


def test_nothing_of_the_encoders_is_trainable():
    state = random_state(small(ARCHITECTURES["RN50"]), seed=0)
    for encoder in (build_image_encoder(state), build_text_encoder(state)):
        assert not any(parameter.requires_grad for parameter in encoder.parameters())
        assert not encoder.training


def test_a_state_dict_that_is_no_clip_is_refused():
    with pytest.raises(WeightsError, match=r"not an OpenAI-format CLIP: .*layer1"):
        build_image_encoder({"fc.weight": torch.zeros(2, 2)})


def test_a_missing_tensor_is_named():
    state = random_state(small(ARCHITECTURES["RN50"]), seed=0)
    del state["visual.attnpool.q_proj.bias"]
    with pytest.raises(WeightsError, match=r"1 tensors missing \(attnpool\.q_proj\.bias\)"):
        build_image_encoder(state)
