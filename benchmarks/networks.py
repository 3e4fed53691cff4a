"""The networks' hot parts, ours beside the plain form on the same weights and the same input.

Axes: B images, P grid positions, D channels, C classes, K attention width, E joint embedding, T tokens.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import textbook
from benchmarks.measure import Ceilings, Needs, Part, Promise, Row, measure, needs_of, peak_memory
from benchmarks.setting import (
    BATCH,
    CLASSES,
    CONTEXT_TOKENS,
    POSITIONS,
    SIZE,
    WIDTH,
    backbone,
    class_prompts,
    decoupling_step,
    largest_error,
    learn,
    make_decouplings,
    make_default_method,
    make_frozen_encoder,
    make_labels,
    make_pixels,
    padded,
)
from mlrpl_cli.core.backbones.backbone import CLIP_RULE
from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.backbones.frozen import FrozenEncoder
from mlrpl_cli.core.backbones.openai.architectures import Architecture, StateDict
from mlrpl_cli.core.config import FLOAT16
from mlrpl_cli.core.features.cache import FeatureCache, ViewKey, decoded, view_key
from mlrpl_cli.core.heads.bilinear import SIGMOID, TANH, bilinear_scores, plan_for
from mlrpl_cli.core.heads.semantic_decoupling import pool

EPOCH_BATCH, CACHE_IMAGES = 32, 128


@dataclass(frozen=True)
class Network:
    """A part, what it is measured against, and what the project promises of it on a CPU."""

    build: Callable[[torch.device], Part]
    against: str
    promise: Promise
    memory: bool = False
    note: str = ""


def measure_network(name: str, network: Network, device: torch.device, ceilings: Ceilings) -> Row:
    """One part, judged by what is promised on `device`."""
    memory = [peak_memory(network.build, which, device) if network.memory else None for which in ("ours", "other")]
    part = network.build(device)
    seconds, other = measure(part, device)
    row = Row(name, network.against, network.promise.on(device), seconds, other, note=network.note)
    needs = part.needs() if part.needs else None
    limit = needs.seconds(ceilings) if needs else None
    error = part.error() if part.error else None
    return replace(row, memory=memory[0], other_memory=memory[1], error=error, needs=needs, limit=limit)


def encode(device: torch.device) -> Part:
    """RN101 at 448 px: decoded pixels to all features."""
    state, architecture = backbone()
    encoder, pixels = make_frozen_encoder(state, device), make_pixels(BATCH)
    model = textbook.openai_model(architecture, state, SIZE).to(device)

    @torch.no_grad()
    def other() -> tuple[Tensor, Tensor]:
        images = encoder.rule.normalize(pixels.to(device))
        feature_map = textbook.feature_map(model.visual, images)
        return feature_map, model.visual.attnpool(feature_map)

    @torch.no_grad()
    def error() -> float:
        features, (feature_map, pooled) = encoder(pixels), other()
        joint, attention = textbook.joint_and_attention(model.visual.attnpool, feature_map)
        grid = feature_map.flatten(2).transpose(1, 2)
        got = (features.grid, features.joint, features.pooled, features.attention)
        return largest_error(got, (grid, joint, pooled, attention))

    def ours() -> ImageFeatures:
        return encoder(pixels)

    return Part(ours, other, error, lambda: needs_of(ours, encoder.dtype))


def encode_compiled(device: torch.device) -> Part:
    """Ours as it is beside what torch.compile makes of it, compilation left out."""
    state, _ = backbone()
    encoder = make_frozen_encoder(state, device)
    images = encoder.rule.normalize(make_pixels(BATCH).to(device)).to(encoder.dtype, memory_format=torch.channels_last)
    compiled = torch.compile(encoder.module)

    @torch.inference_mode()
    def ours() -> ImageFeatures:
        return encoder.module(images)

    @torch.inference_mode()
    def other() -> ImageFeatures:
        return compiled(images)

    return Part(ours, other, lambda: largest_error(vars(ours()).values(), vars(other()).values()))


def prompts(device: torch.device) -> Part:
    """80 class prompts, forward and backward, float32 on both sides."""
    return _prompts(device, torch.float32)


def prompts_bf16(device: torch.device) -> Part:
    """The same, ours in bfloat16."""
    return _prompts(device, torch.bfloat16)


def decoupling(device: torch.device) -> Part:
    """Decoupling forward and backward: class features (B, C, D) and the gradient of everything learned."""
    modules, grid, semantics = make_decouplings(device)
    upstream = torch.randn(BATCH, len(CLASSES), grid.shape[2], device=device)

    def ours() -> list[Tensor]:
        return decoupling_step(modules[0], lambda: pool(modules[0](grid, semantics), grid), upstream)

    def other() -> list[Tensor]:
        return decoupling_step(modules[1], lambda: modules[1](grid, semantics), upstream)

    def needs() -> Needs:
        """U f and its gradient, and a sigmoid of each of the B·P·C·K products forward and again backward."""
        regions, channels = BATCH * POSITIONS, grid.shape[2]
        moved = 4 * 2 * (regions * channels + channels * WIDTH + regions * WIDTH)
        return Needs(2 * 2 * regions * channels * WIDTH, moved, sigmoids=2 * regions * len(CLASSES) * WIDTH)

    return Part(ours, other, lambda: largest_error(ours(), other()), needs)


def decoupling_compiled(device: torch.device) -> Part:
    """Ours beside what torch.compile makes of v · tanh(u ⊙ s), projections left out of both."""
    compiled = torch.compile(lambda u, s, v: torch.tanh(u[:, :, None] * s) @ v)
    return _scores(device, bilinear_scores, compiled)


def decoupling_squashing(device: torch.device) -> Part:
    """Ours by the function chosen for this processor, sigmoid or tanh, beside ours by the other one."""
    plan = plan_for(torch.empty(BATCH, POSITIONS, WIDTH, device=device))
    unchosen = plan._replace(squashing=TANH if plan.squashing is SIGMOID else SIGMOID)
    return _scores(device, bilinear_scores, partial(bilinear_scores, plan=unchosen))


def _scores(device: torch.device, one: Callable[..., Tensor], another: Callable[..., Tensor]) -> Part:
    """Forward and backward of two forms of v · tanh(u ⊙ s)."""
    image = torch.randn(BATCH, POSITIONS, WIDTH, device=device, requires_grad=True)
    words = torch.randn(len(CLASSES), WIDTH, device=device, requires_grad=True)
    score = torch.randn(WIDTH, device=device, requires_grad=True)
    upstream = torch.randn(BATCH, POSITIONS, len(CLASSES), device=device)

    def backward(function: Callable[..., Tensor]) -> list[Tensor]:
        for tensor in (image, words, score):
            tensor.grad = None
        function(image, words, score).backward(upstream)
        return [image.grad.clone(), words.grad.clone(), score.grad.clone()]  # type: ignore[union-attr]

    def ours() -> list[Tensor]:
        return backward(one)

    def other() -> list[Tensor]:
        return backward(another)

    return Part(ours, other, lambda: largest_error(ours(), other()))


def step(device: torch.device) -> Part:
    """One training step, images encoded in it, of the default method beside DualCoOp's."""
    state, architecture = backbone()
    encoder, trainable = make_frozen_encoder(state, device), make_default_method(state, device)
    optimizer = torch.optim.AdamW(trainable.learned().values())
    pixels, labels = make_pixels(BATCH), make_labels(BATCH, device)

    def ours() -> None:
        learn(trainable(encoder(pixels)).member_logits, labels, optimizer)

    return Part(ours, _dualcoop_step(state, architecture, pixels, labels, device))


def epoch(device: torch.device) -> Part:
    """One batch of an epoch: ours reads features from a cache on disk, DualCoOp encodes the images again."""
    state, architecture = backbone()
    encoder, trainable = make_frozen_encoder(state, device), make_default_method(state, device)
    optimizer = torch.optim.AdamW(trainable.learned().values())
    pixels, labels = make_pixels(EPOCH_BATCH), make_labels(EPOCH_BATCH, device)
    (cache, keys), order = _cache(encoder), torch.Generator().manual_seed(0)

    def ours() -> None:
        positions = torch.randperm(len(keys), generator=order)[:EPOCH_BATCH]
        features = decoded(cache.get([keys[position] for position in positions]), device, encoder.dtype)
        learn(trainable(features).member_logits, labels, optimizer)

    return Part(ours, _dualcoop_step(state, architecture, pixels, labels, device), rounds=2, repeats=4)


NETWORKS: dict[str, Network] = {
    "encode": Network(encode, "OpenAI's module in float32", Promise(ratio=2.2, error=2e-2), note="RN101, 448 px, B=8"),
    "encode-compiled": Network(encode_compiled, "torch.compile of ours", Promise(), note="the same, after compilation"),
    "prompts": Network(
        prompts,
        "77 tokens, float32",
        Promise(ratio=5, error=1e-5),
        memory=True,
        note="80 prompts, forward + backward, float32",
    ),
    "prompts-bf16": Network(prompts_bf16, "77 tokens, float32", Promise(), memory=True, note="the same, ours in bf16"),
    "decoupling": Network(
        decoupling,
        "SSGRL's materialised form",
        Promise(ratio=14, memory=15, error=1e-5),
        memory=True,
        note="B=8, C=80, P=196, D=2048, K=1024, forward + backward",
    ),
    "decoupling-compiled": Network(
        decoupling_compiled, "torch.compile of v·tanh(u⊙s)", Promise(), note="scores alone, after compilation"
    ),
    "decoupling-squashing": Network(
        decoupling_squashing,
        "the function not chosen",
        Promise(ratio=1, error=1e-5),
        note="scores alone, sigmoid or tanh by the processor",
    ),
    "step": Network(
        step, "DualCoOp's step", Promise(ratio=6, memory=2), memory=True, note="RN101, 448 px, C=80, B=8, no cache"
    ),
    "epoch": Network(
        epoch, "DualCoOp's epoch", Promise(ratio=20), memory=True, note="a batch of 32 from the cache, C=80"
    ),
}


def _prompts(device: torch.device, dtype: torch.dtype) -> Part:
    state, architecture = backbone()
    encoder, learner = class_prompts(state)
    model = textbook.openai_model(architecture, state, SIZE).to(device)
    learner.to(device)
    encoder.fold()
    encoder.to(device=device, dtype=dtype)
    upstream = torch.randn(len(CLASSES), encoder.text_projection.shape[1], device=device)

    def gradient(encode: Callable[[Tensor], Tensor]) -> Tensor:
        learner.context.grad = None
        encode(learner()).backward(upstream)
        assert learner.context.grad is not None
        return learner.context.grad

    def ours() -> Tensor:
        return gradient(lambda embeddings: encoder(embeddings, learner.end))

    def other() -> Tensor:
        return gradient(lambda embeddings: textbook.encode_prompts(model, padded(embeddings), learner.end))

    def error() -> float:
        return largest_error([ours().clone()], [other().clone()])  # both write to the same gradient

    return Part(ours, other, error, lambda: needs_of(ours, dtype), rounds=5)


def _dualcoop_step(
    state: StateDict, architecture: Architecture, pixels: Tensor, labels: Tensor, device: torch.device
) -> Callable[[], None]:
    model = textbook.openai_model(architecture, state, SIZE)
    _, learner = class_prompts(state)
    dualcoop = textbook.DualCoOp(model, padded(learner().detach()), learner.end, CONTEXT_TOKENS).to(device)
    optimizer = torch.optim.SGD([dualcoop.context], lr=2e-3)

    def work() -> None:
        learn([dualcoop(CLIP_RULE.normalize(pixels.to(device)))], labels, optimizer)

    return work


def _cache(encoder: FrozenEncoder) -> tuple[FeatureCache, list[ViewKey]]:
    """Features of CACHE_IMAGES different images in a cache of files; on a CPU they lie in the page cache."""
    folder = Path(tempfile.mkdtemp(prefix="mlrpl-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    features = encoder(make_pixels(EPOCH_BATCH))
    keys = [view_key(f"{n:064x}", 0) for n in range(CACHE_IMAGES)]
    cache = FeatureCache(folder, FLOAT16)
    for start in range(0, CACHE_IMAGES, EPOCH_BATCH):
        cache.put(keys[start : start + EPOCH_BATCH], scaled(features))
    return cache, keys


def scaled(features: ImageFeatures) -> ImageFeatures:
    """Other features of the same size, on the device where `features` are."""
    return features.map(lambda tensor: tensor * float(torch.rand(1)))
