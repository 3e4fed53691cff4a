"""The networks' hot parts, ours beside the plain form on the same weights and the same input.

Axes: B images, P grid positions, D channels, C classes, K attention width, E joint embedding, T tokens.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import textbook
from benchmarks.measure import Ceilings, Needs, Part, Promise, Row, measure, needs_of, peak_memory
from mlrpl_cli.core.bank import FLOAT16, FeatureBank, StoredRows, view_key
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.data.loading import normalize
from mlrpl_cli.core.frozen import FrozenEncoder, make_encoder, settled_precision
from mlrpl_cli.core.losses import count_known, partial_asl
from mlrpl_cli.core.models.decoupling import SemanticDecoupling, bilinear_scores, pool
from mlrpl_cli.core.models.encoders import ARCHITECTURES, Architecture, StateDict, build_text_encoder
from mlrpl_cli.core.models.prompts import PromptLearner, build_prompts
from mlrpl_cli.core.models.provider import tokenize
from mlrpl_cli.core.models.recognizer import TrainableRecognizer
from mlrpl_cli.core.models.text import TextEncoder
from mlrpl_cli.core.models.weights import load_state
from mlrpl_cli.core.training import make_trainable

BACKBONE, SIZE, WIDTH = "random:RN101", 448, 1024
BATCH, EPOCH_BATCH, BANK_IMAGES = 8, 32, 128
CONTEXT_TOKENS = 16
METHOD = TrainConfig().method
# fmt: off
CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)
# fmt: on


@dataclass(frozen=True)
class Network:
    """A part, what it is measured against, and what the project promises of it."""

    build: Callable[[torch.device], Part]
    against: str
    promise: Promise
    memory: bool = False
    note: str = ""


def rows(names: list[str], device: torch.device, ceilings: Ceilings) -> Iterator[Row]:
    """Measure the parts of NETWORKS that `names` asks for."""
    for name in names:
        network = NETWORKS[name]
        memory = [peak_memory(network.build, which, device) if network.memory else None for which in ("ours", "other")]
        part = network.build(device)
        seconds, other = measure(part, device)
        row = Row(name, network.against, network.promise, seconds, other, note=network.note)
        needs = NEEDS[name](part, device) if name in NEEDS else None
        limit = needs.seconds(ceilings) if needs else None
        error = part.error() if part.error else None
        yield replace(row, memory=memory[0], other_memory=memory[1], error=error, needs=needs, limit=limit)


def encode(device: torch.device) -> Part:
    """RN101 at 448 px: decoded pixels to all features."""
    state, architecture = _backbone()
    encoder, pixels = _encoder(state, device), _pixels(BATCH)
    model = textbook.openai_model(architecture, state, SIZE).to(device)

    @torch.no_grad()
    def other() -> tuple[Tensor, Tensor]:
        images = normalize(pixels.to(device))
        feature_map = textbook.feature_map(model.visual, images)
        return feature_map, model.visual.attnpool(feature_map)

    @torch.no_grad()
    def error() -> float:
        features, (feature_map, pooled) = encoder(pixels), other()
        joint, attention = textbook.joint_and_attention(model.visual.attnpool, feature_map)
        expected = {"grid": feature_map.flatten(2).transpose(1, 2), "joint": joint, "pooled": pooled}
        pairs = {**expected, "attention": attention}.items()
        return max(_relative(getattr(features, name), tensor) for name, tensor in pairs)

    return Part(lambda: encoder(pixels), other, error)


def encode_compiled(device: torch.device) -> Part:
    """Ours as it is beside what torch.compile makes of it, compilation left out."""
    state, _ = _backbone()
    encoder = _encoder(state, device)
    images = normalize(_pixels(BATCH).to(device)).to(encoder.dtype, memory_format=torch.channels_last)
    compiled = torch.compile(encoder.module)

    @torch.inference_mode()
    def ours() -> Tensor:
        return encoder.module(images).pooled

    @torch.inference_mode()
    def other() -> Tensor:
        return compiled(images).pooled

    return Part(ours, other, lambda: _relative(ours(), other()))


def prompts(device: torch.device) -> Part:
    """80 class prompts, forward and backward, float32 on both sides."""
    return _prompts(device, torch.float32)


def prompts_bf16(device: torch.device) -> Part:
    """The same, ours in bfloat16."""
    return _prompts(device, torch.bfloat16)


def decoupling(device: torch.device) -> Part:
    """Decoupling forward and backward: class features (B, C, D) and the gradient of everything learned."""
    modules, grid, semantics = _decouplings(device)
    upstream = torch.randn(BATCH, len(CLASSES), grid.shape[2], device=device)

    def ours() -> list[Tensor]:
        return decoupling_step(modules[0], lambda: pool(modules[0](grid, semantics), grid), upstream)

    def other() -> list[Tensor]:
        return decoupling_step(modules[1], lambda: modules[1](grid, semantics), upstream)

    def error() -> float:
        return max(_relative(left, right) for left, right in zip(ours(), other(), strict=True))

    return Part(ours, other, error)


def decoupling_compiled(device: torch.device) -> Part:
    """Ours beside what torch.compile makes of v · tanh(u ⊙ s), projections left out of both."""
    image = torch.randn(BATCH, _positions(), WIDTH, device=device, requires_grad=True)
    words = torch.randn(len(CLASSES), WIDTH, device=device, requires_grad=True)
    score = torch.randn(WIDTH, device=device, requires_grad=True)
    upstream = torch.randn(BATCH, _positions(), len(CLASSES), device=device)
    compiled = torch.compile(lambda u, s, v: torch.tanh(u[:, :, None] * s) @ v)

    def backward(function: Callable[..., Tensor]) -> list[Tensor]:
        for tensor in (image, words, score):
            tensor.grad = None
        function(image, words, score).backward(upstream)
        return [image.grad.clone(), words.grad.clone(), score.grad.clone()]  # type: ignore[union-attr]

    def error() -> float:
        pairs = zip(backward(bilinear_scores), backward(compiled), strict=True)
        return max(_relative(left, right) for left, right in pairs)

    return Part(lambda: backward(bilinear_scores), lambda: backward(compiled), error)


def step(device: torch.device) -> Part:
    """One training step, images encoded in it, of the default method beside DualCoOp's."""
    state, architecture = _backbone()
    encoder, trainable = _encoder(state, device), _trainable(state, device)
    optimizer = torch.optim.AdamW(trainable.learned().values())
    pixels, labels = _pixels(BATCH), _labels(BATCH, device)

    def ours() -> None:
        votes = trainable(encoder(pixels)).votes
        _learn(torch.stack([_loss(logits, labels) for logits in votes]).sum(), optimizer)

    return Part(ours, _dualcoop_step(state, architecture, pixels, labels, device))


def epoch(device: torch.device) -> Part:
    """One batch of an epoch: ours reads features from a bank on disk, DualCoOp encodes the images again."""
    state, architecture = _backbone()
    encoder, trainable = _encoder(state, device), _trainable(state, device)
    optimizer = torch.optim.AdamW(trainable.learned().values())
    pixels, labels = _pixels(EPOCH_BATCH), _labels(EPOCH_BATCH, device)
    stored, order = _bank(encoder), torch.Generator().manual_seed(0)

    def ours() -> None:
        positions = torch.randperm(len(stored), generator=order)[:EPOCH_BATCH]
        votes = trainable(stored.read(positions, device, encoder.dtype)).votes
        _learn(torch.stack([_loss(logits, labels) for logits in votes]).sum(), optimizer)

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
    "step": Network(
        step, "DualCoOp's step", Promise(ratio=6, memory=2), memory=True, note="RN101, 448 px, C=80, B=8, no bank"
    ),
    "epoch": Network(
        epoch, "DualCoOp's epoch", Promise(ratio=20), memory=True, note="a batch of 32 from the bank, C=80"
    ),
}


def _encode_needs(part: Part, device: torch.device) -> Needs:
    precision = settled_precision("auto", BACKBONE, device)
    return needs_of(part.ours, "bfloat16" if precision == "bf16" else precision)


def _prompts_needs(part: Part, device: torch.device) -> Needs:
    return needs_of(part.ours, "float32")


def _prompts_bf16_needs(part: Part, device: torch.device) -> Needs:
    return needs_of(part.ours, "bfloat16")


def _decoupling_needs(part: Part, device: torch.device) -> Needs:
    """U f and its gradient, and a sigmoid of each of the B·P·C·K products forward and again backward."""
    regions, channels = BATCH * _positions(), 2048
    flops = 2 * 2 * regions * channels * WIDTH
    moved = 4 * 2 * (regions * channels + channels * WIDTH + regions * WIDTH)
    return Needs(flops, moved, sigmoids=2 * regions * len(CLASSES) * WIDTH)


NEEDS: dict[str, Callable[[Part, torch.device], Needs]] = {
    "encode": _encode_needs,
    "prompts": _prompts_needs,
    "prompts-bf16": _prompts_bf16_needs,
    "decoupling": _decoupling_needs,
}


def _backbone() -> tuple[StateDict, Architecture]:
    return load_state(BACKBONE), ARCHITECTURES["RN101"]


def _encoder(state: StateDict, device: torch.device) -> FrozenEncoder:
    return make_encoder(state, SIZE, device, settled_precision("auto", BACKBONE, device))


def _positions() -> int:
    return (SIZE // 32) ** 2


def _pixels(images: int) -> Tensor:
    """Smooth random images, which are closer to photos than noise is."""
    coarse = torch.rand(images, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return (nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic").clamp(0, 1) * 255).to(torch.uint8)


def _labels(images: int, device: torch.device) -> Tensor:
    return torch.randint(-1, 2, (images, len(CLASSES)), generator=torch.Generator().manual_seed(1)).to(device)


def _trainable(state: StateDict, device: torch.device) -> TrainableRecognizer:
    """The default method."""
    config = TrainConfig(backbone=BACKBONE, attention_width=WIDTH, context_tokens=CONTEXT_TOKENS)
    precision = settled_precision("auto", BACKBONE, device)
    return make_trainable(state, replace(config, precision=precision), CLASSES).to(device)


def _class_prompts(state: StateDict) -> tuple[TextEncoder, PromptLearner]:
    encoder = build_text_encoder(state)
    learner = build_prompts(
        CLASSES,
        encoder,
        tokenize,
        per_class=True,
        context_tokens=CONTEXT_TOKENS,
        template=None,
        generator=torch.Generator().manual_seed(0),
    )
    return encoder, learner


def _padded(embeddings: Tensor) -> Tensor:
    """(C, T, W) → (C, 77, W)."""
    return nn.functional.pad(embeddings, (0, 0, 0, 77 - embeddings.shape[1]))


def _prompts(device: torch.device, dtype: torch.dtype) -> Part:
    state, architecture = _backbone()
    encoder, learner = _class_prompts(state)
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
        return gradient(lambda embeddings: textbook.encode_prompts(model, _padded(embeddings), learner.end))

    return Part(ours, other, lambda: _relative(ours().clone(), other().clone()), rounds=5)


def decoupling_step(module: nn.Module, compute: Callable[[], Tensor], upstream: Tensor) -> list[Tensor]:
    """Class features (B, C, D) and the gradients of U and V."""
    module.zero_grad()
    features = compute()
    features.backward(upstream)
    projections = (module.get_parameter(f"{side}_projection.weight") for side in ("image", "semantic"))
    return [features.detach(), *(weight.grad for weight in projections if weight.grad is not None)]


Decouplings = tuple[SemanticDecoupling, textbook.MaterialisedDecoupling]


def _decouplings(device: torch.device) -> tuple[Decouplings, Tensor, Tensor]:
    """Both forms with the same weights (v = Pᵀ w), and an input."""
    generator = torch.Generator().manual_seed(0)
    ours = SemanticDecoupling(2048, 512, WIDTH)
    ours.initialize(generator)
    plain = textbook.MaterialisedDecoupling(2048, 512, WIDTH)
    with torch.no_grad():
        plain.image_projection.weight.copy_(ours.image_projection.weight)
        plain.semantic_projection.weight.copy_(ours.semantic_projection.weight)
        ours.score.copy_(plain.output.weight.T @ plain.score.weight[0])
    grid = torch.randn(BATCH, _positions(), 2048, generator=generator)
    semantics = nn.functional.normalize(torch.randn(len(CLASSES), 512, generator=generator), dim=-1)
    return (ours.to(device), plain.to(device)), grid.to(device), semantics.to(device)


def _dualcoop_step(
    state: StateDict, architecture: Architecture, pixels: Tensor, labels: Tensor, device: torch.device
) -> Callable[[], None]:
    model = textbook.openai_model(architecture, state, SIZE)
    _, learner = _class_prompts(state)
    dualcoop = textbook.DualCoOp(model, _padded(learner().detach()), learner.end, CONTEXT_TOKENS).to(device)
    optimizer = torch.optim.SGD([dualcoop.context], lr=2e-3)

    def work() -> None:
        _learn(_loss(dualcoop(normalize(pixels.to(device))), labels), optimizer)

    return work


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    return partial_asl(logits, labels, count_known(labels))


def _learn(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _bank(encoder: FrozenEncoder) -> StoredRows:
    """Features of BANK_IMAGES different images in a bank of files; on a CPU they lie in the page cache."""
    folder = Path(tempfile.mkdtemp(prefix="mlrpl-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    features = encoder(_pixels(EPOCH_BATCH))
    keys = [view_key(f"{n:064x}", 0) for n in range(BANK_IMAGES)]
    bank = FeatureBank(folder, FLOAT16)
    for start in range(0, BANK_IMAGES, EPOCH_BATCH):
        bank.write(keys[start : start + EPOCH_BATCH], features.map(lambda tensor: tensor * torch.rand(1)))
    return FeatureBank(folder, FLOAT16).rows(keys)


def _relative(got: Tensor, expected: Tensor) -> float:
    return float((got.float() - expected.float()).norm() / expected.float().norm())
