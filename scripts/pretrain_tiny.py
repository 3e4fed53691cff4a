"""Pre-train tiny, the CLIP that ships with the package, on rendered captioned images.

    python -m scripts.pretrain_tiny

Axes: B images of a batch, U distinct captions of a batch, C scene classes, T tokens of a caption, E joint embedding.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from mlrpl_cli.core.backbones.backbone import CLIP_RULE
from mlrpl_cli.core.backbones.openai.architectures import ImageArchitecture, TextArchitecture, openai_state
from mlrpl_cli.core.backbones.openai.resnet import ResNetEncoder
from mlrpl_cli.core.backbones.openai.tokenizer import tokenize
from mlrpl_cli.core.backbones.tiny import EMBEDDING, ROWS, SEED, TINY_PATH, VALUES, initial_token_embedding
from mlrpl_cli.core.backbones.tokens import pad_tokens
from mlrpl_cli.core.io.files import atomic_file, write_text
from mlrpl_cli.core.scenes.rendering import SCENE_CLASSES
from scripts.captions import CAPTIONED, KINDS, THING, render_captioned

DESCRIPTION = "Pre-train tiny, the CLIP that ships with the package, on rendered captioned images."
EMBED_DIM, TEXT_WIDTH = 256, 128
TERMS = (*SCENE_CLASSES, *sorted(set(KINDS.values())), THING)
LARGEST_SCALE = math.log(100)  # as OpenAI clips the logit scale


@dataclass(frozen=True)
class Options:
    """What the command line can change."""

    out: Path = field(
        default=TINY_PATH, metadata={"help": "where the model is written, every few epochs and at the end"}
    )
    work: Path = field(
        default=Path(tempfile.gettempdir()) / "mlrpl-pretraining",
        metadata={
            "help": "folder of the rendered images, 49 kB each; reused when it holds the same seed, size and number"
        },
    )
    images: int = field(default=50_000, metadata={"help": "rendered captioned images"})
    size: int = field(default=128, metadata={"help": "width and height of the images in pixels"})
    epochs: int = field(default=5, metadata={"help": "passes over the images"})
    batch_size: int = field(default=256, metadata={"help": "images of a step"})
    learning_rate: float = field(default=3e-3, metadata={"help": "peak of the one-cycle schedule"})
    weight_decay: float = field(default=0.05, metadata={"help": "AdamW's, on matrices and kernels only"})
    shift: int = field(default=8, metadata={"help": "largest random translation in pixels"})
    seed: int = field(
        default=0, metadata={"help": "of the images, the initial weights, the order and the augmentation"}
    )
    threads: int = field(
        default=2, metadata={"help": "processor threads of training and worker processes of rendering"}
    )
    save_every: int = field(default=1, metadata={"help": "epochs between two saved models"})


@dataclass(frozen=True)
class Pairs:
    """The training set."""

    pixels: np.ndarray
    """(N, H, W, 3) uint8, memory-mapped."""
    caption: Tensor
    """(N,) index of each image's caption in the arrays below."""
    says: Tensor
    """(distinct captions, terms) bool: the classes, kinds and things a caption names."""
    implies: Tensor
    """(distinct captions, terms) bool: those, and the kinds of the classes among them."""
    ids: Tensor
    """(distinct captions, T) compact token ids."""
    end: Tensor
    """(distinct captions,) position of the end-of-text token."""
    tokens: list[int]
    """The vocabulary's id of each compact id."""


class CLIP(nn.Module):
    """Both encoders and the logit scale, as OpenAI trains them together."""

    def __init__(self, image: ImageArchitecture, text: TextArchitecture) -> None:
        super().__init__()
        self.visual, self.text = image.build(), text.build()
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    pairs = load_pairs(options)
    clip = build(options, pairs.tokens)
    print(f"{sum(p.numel() for p in clip.visual.parameters()):,} visual parameters, {len(pairs.tokens)} tokens")
    train(clip, pairs, options)


def parse_options() -> Options:
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    for each in fields(Options):
        kind = Path if isinstance(each.default, Path) else type(each.default)
        flag = f"--{each.name.replace('_', '-')}"
        parser.add_argument(flag, type=kind, default=each.default, help=each.metadata["help"])
    return Options(**vars(parser.parse_args()))


def load_pairs(options: Options) -> Pairs:
    """Render the images unless the work folder has them, and tokenise their captions."""
    key = f"{options.seed}-{options.size}-{options.images}"
    pixels_path, captions_path = options.work / f"pixels-{key}.npy", options.work / f"captions-{key}.json"
    if not captions_path.is_file():
        options.work.mkdir(parents=True, exist_ok=True)
        write_text(captions_path, json.dumps(render(pixels_path, options)))
    captions = json.loads(captions_path.read_text(encoding="utf-8"))
    distinct = sorted(set(captions))
    rows = tokenize(distinct)
    tokens = sorted({token for row in rows for token in row})
    compact = {token: number for number, token in enumerate(tokens)}
    ids, end = pad_tokens([[compact[token] for token in row] for row in rows])
    place = {caption: number for number, caption in enumerate(distinct)}
    return Pairs(
        pixels=np.load(pixels_path, mmap_mode="r"),
        caption=torch.tensor([place[caption] for caption in captions]),
        says=(says := torch.tensor([[term in caption for term in TERMS] for caption in distinct])),
        implies=(says.float() @ implications()) > 0,
        ids=ids,
        end=end,
        tokens=tokens,
    )


def implications() -> Tensor:
    """(terms, terms): 1 where what the row's term names is also what the column's names: an apple is a fruit."""
    kinds = {**dict.fromkeys(SCENE_CLASSES, THING), **KINDS}
    return torch.tensor([[float(row == column or kinds.get(row) == column) for column in TERMS] for row in TERMS])


def render(path: Path, options: Options) -> list[str]:
    """Render every image into one array file; returns the captions."""
    shape = (options.images, options.size, options.size, 3)
    pixels = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    captions = []
    with multiprocessing.get_context("spawn").Pool(options.threads) as pool:
        job = partial(render_captioned, options.seed, options=replace(CAPTIONED, image_size=options.size))
        for index, (image, caption) in enumerate(pool.imap(job, range(options.images), chunksize=64)):
            pixels[index] = image
            captions.append(caption)
    pixels.flush()
    return captions


def build(options: Options, tokens: list[int]) -> CLIP:
    """An untrained CLIP whose vocabulary is the tokens that the captions use."""
    image = ImageArchitecture((2, 2, 2, 2), 16, EMBED_DIM, options.size)
    text = TextArchitecture(TEXT_WIDTH, 3, EMBED_DIM, vocabulary=len(tokens))
    clip = CLIP(image, text)
    with torch.no_grad():
        clip.text.token_embedding.weight.copy_(initial_token_embedding(TEXT_WIDTH, options.seed)[tokens])
        for name, parameter in clip.visual.named_parameters():
            if parameter.ndim == 4:
                nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu")
            elif name.startswith("layer") and name.endswith("bn3.weight"):
                nn.init.zeros_(parameter)  # every residual block starts as the identity
    return clip


def train(clip: CLIP, pairs: Pairs, options: Options) -> None:
    """Contrastive training; the model is saved every few epochs, and last when the learning rate has come down."""
    steps_per_epoch = len(pairs.caption) // options.batch_size
    optimizer = torch.optim.AdamW(parameter_groups(clip, options.weight_decay), betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.learning_rate, total_steps=options.epochs * steps_per_epoch, pct_start=0.15
    )
    start = time.monotonic()
    for epoch in range(1, options.epochs + 1):
        clip.train()
        total = 0.0
        for images, captions in batches(pairs, options, epoch):
            optimizer.zero_grad()
            loss = contrastive_loss(clip, images, captions, pairs)
            loss.backward()
            nn.utils.clip_grad_norm_(clip.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                clip.logit_scale.clamp_(max=LARGEST_SCALE)
            total += loss.item()
        minutes = (time.monotonic() - start) / 60
        scale = clip.logit_scale.exp().item()
        print(
            f"epoch {epoch} loss {total / steps_per_epoch:.3f} scale {scale:.1f} {minutes:.1f} min",
            flush=True,
        )
        if epoch % options.save_every == 0 or epoch == options.epochs:
            save(clip, pairs.tokens, options)


def batches(pairs: Pairs, options: Options, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled, augmented, normalised images (B, 3, H, W) and the indices (B,) of their captions."""
    random = np.random.RandomState(1000 * options.seed + epoch)
    order = random.permutation(len(pairs.caption))
    for first in range(0, len(order) - options.batch_size + 1, options.batch_size):
        chosen = np.sort(order[first : first + options.batch_size])
        shifted = shift(pairs.pixels[chosen], options.shift, random)
        images = CLIP_RULE.normalize(torch.from_numpy(shifted).permute(0, 3, 1, 2))
        yield jitter(images, random).contiguous(memory_format=torch.channels_last), pairs.caption[chosen]


def shift(pixels: np.ndarray, reach: int, random: np.random.RandomState) -> np.ndarray:
    """Flip half of the images (B, H, W, 3) and move each by up to `reach` pixels; edge pixels fill what is bared."""
    height, width = pixels.shape[1:3]
    padded = np.pad(pixels, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    corners = random.randint(0, 2 * reach + 1, (len(pixels), 2))
    steps = random.choice((-1, 1), len(pixels))
    views = zip(padded, corners, steps, strict=True)
    return np.stack([image[y : y + height, x : x + width][:, ::step] for image, (y, x), step in views])


def jitter(images: Tensor, random: np.random.RandomState) -> Tensor:
    """Change the contrast and the colour cast of each normalised image."""
    gain = torch.from_numpy(random.uniform(0.8, 1.2, (len(images), 1, 1, 1)).astype(np.float32))
    cast = torch.from_numpy(random.uniform(-0.25, 0.25, (len(images), 3, 1, 1)).astype(np.float32))
    return images * gain + cast


def contrastive_loss(clip: CLIP, images: Tensor, captions: Tensor, pairs: Pairs) -> Tensor:
    """Symmetric cross entropy over cosine similarities, where a caption is right for every image it is true of.

    A caption is true of an image when the image's own caption says all that it says: "a mug" and "a pot" are no
    negatives of an image of a mug and a fish. The target is uniform over what is true, so one pair is CLIP's own loss.
    """
    distinct, own = captions.unique(return_inverse=True)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = encode_images(clip, images)
        length = int(pairs.end[distinct].max()) + 1
        words = clip.text.token_embedding(pairs.ids[distinct, :length])
        described = clip.text(words, pairs.end[distinct])
    pooled, described = (nn.functional.normalize(vectors.float(), dim=-1) for vectors in (pooled, described))
    logits = clip.logit_scale.exp() * pooled @ described.T  # (B, U)
    says, implies = pairs.says[distinct].float(), pairs.implies[distinct].float()
    true = (implies[own] @ says.T == says.sum(dim=1)).float()  # (B, U)
    return (cross_entropy(logits, true) + cross_entropy(logits.T, true.T)) / 2


def encode_images(clip: CLIP, images: Tensor) -> Tensor:
    """(B, 3, H, W) → (B, E), CLIP's pooled vectors, without the per-position outputs that training needs not."""
    assert isinstance(clip.visual, ResNetEncoder)
    pool = clip.visual.attnpool
    tokens = pool.tokens(clip.visual.feature_map(images))
    return pool.pool(tokens, pool.attention(tokens))


def cross_entropy(logits: Tensor, true: Tensor) -> Tensor:
    """Mean over rows of the cross entropy with a target that is uniform over the true columns."""
    target = true / true.sum(dim=1, keepdim=True)
    return -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()


def parameter_groups(clip: CLIP, weight_decay: float) -> list[dict]:
    """Matrices and kernels decay; gains, biases, positions, token embeddings and the logit scale do not."""
    kept = ("token_embedding", "positional_embedding")
    decayed = [p for name, p in clip.named_parameters() if p.ndim > 1 and not any(k in name for k in kept)]
    chosen = {id(parameter) for parameter in decayed}
    rest = [parameter for parameter in clip.parameters() if id(parameter) not in chosen]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def save(clip: CLIP, tokens: list[int], options: Options) -> None:
    """Write the model in OpenAI's names and float16, with the rows of the token embedding that training saw."""
    state = openai_state(clip.visual, clip.text, clip.logit_scale)
    state = {name: tensor for name, tensor in state.items() if "num_batches" not in name}
    table = initial_token_embedding(TEXT_WIDTH, options.seed)
    table[tokens] = state[EMBEDDING]
    packed = pack_token_embedding({**state, EMBEDDING: table}, tokens, options.seed)
    stored = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous().clone()
        for name, tensor in packed.items()
    }
    with atomic_file(options.out) as temporary:
        safetensors.torch.save_file(stored, temporary, metadata={"format": "mlrpl-tiny"})


def pack_token_embedding(state: Mapping[str, Tensor], rows: Sequence[int], seed: int) -> dict[str, Tensor]:
    """Replace the embedding table by the `rows` that training changed; the others must still be as drawn."""
    packed = {name: tensor for name, tensor in state.items() if name != EMBEDDING}
    chosen = torch.tensor(sorted(set(rows)), dtype=torch.int32)
    values = state[EMBEDDING][chosen.long()]
    return {**packed, ROWS: chosen, VALUES: values, SEED: torch.tensor(seed)}


if __name__ == "__main__":
    main()
