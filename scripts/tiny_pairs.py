"""The training set of tiny: rendered images with several captions each, and which captions are true of which images.

Axes: N images, B images of a batch, U distinct captions of a batch, T tokens of the longest of them.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mlrpl_cli.core.backbones.backbone import CLIP_RULE
from mlrpl_cli.core.backbones.openai.tokenizer import tokenize
from mlrpl_cli.core.backbones.tokens import pad_tokens
from mlrpl_cli.core.io.files import write_text
from mlrpl_cli.core.scenes.rendering import SCENE_CLASSES
from scripts.captions import CAPTIONED, FILLER, KINDS, THING, Described, caption, render_captioned
from scripts.tiny_options import Log, Options

EPOCHS = 8
"""Captions of an image."""
TERMS = (*SCENE_CLASSES, *sorted(set(KINDS.values())), THING)


@dataclass(frozen=True)
class Pairs:
    """The training set."""

    pixels: np.ndarray
    """(N, H, W, 3) uint8, memory-mapped."""
    captions: Tensor
    """(EPOCHS, N) index of each image's caption in the lists below; later epochs have these again."""
    says: Tensor
    """(distinct captions, terms) bool: the classes, kinds and things a caption names."""
    implies: Tensor
    """(distinct captions, terms) bool: those, and the kinds of the classes among them."""
    rows: list[list[int]]
    """The compact token ids of each distinct caption, with start and end."""
    filler: list[int]
    """The compact ids of the filler words."""
    tokens: list[int]
    """The vocabulary's id of each compact id."""


@dataclass(frozen=True)
class Batch:
    """What a step is made of."""

    images: Tensor
    """(B, 3, H, W) float32, augmented and normalised, channels last."""
    ids: Tensor
    """(U, T) compact token ids."""
    end: Tensor
    """(U,) position of the end-of-text token."""
    true: Tensor
    """(B, U) float32: 1 where the caption is true of the image."""


def load_pairs(options: Options, log: Log) -> Pairs:
    """Render the images unless the work folder has them, and tokenise their captions."""
    pixels, described = load_images(options, log)
    epochs = range(1, EPOCHS + 1)
    captions = [[caption(options.seed, n, epoch, known) for n, known in enumerate(described)] for epoch in epochs]
    distinct = sorted({each for of_epoch in captions for each in of_epoch})
    rows, filler = tokenize(distinct), [token for _, token, _ in tokenize(FILLER)]
    tokens = sorted({*filler, *(token for row in rows for token in row)})
    compact = {token: number for number, token in enumerate(tokens)}
    place = {each: number for number, each in enumerate(distinct)}
    says = torch.tensor([[term in each for term in TERMS] for each in distinct])
    log.write("captions", captions=len(distinct), tokens=len(tokens))
    return Pairs(
        pixels=pixels,
        captions=torch.tensor([[place[each] for each in of_epoch] for of_epoch in captions]),
        says=says,
        implies=(says.float() @ implications()) > 0,
        rows=[[compact[token] for token in row] for row in rows],
        filler=[compact[token] for token in filler],
        tokens=tokens,
    )


def load_images(options: Options, log: Log) -> tuple[np.ndarray, list[Described]]:
    """The rendered images (N, H, W, 3) and what each shows; the log says whether they were rendered now."""
    key = f"{options.seed}-{options.size}-{options.images}"
    pixels, shown = options.work / f"pixels-{key}.npy", options.work / f"shown-{key}.json"
    reused = shown.is_file()
    if not reused:
        options.work.mkdir(parents=True, exist_ok=True)
        write_text(shown, json.dumps(render(pixels, options)))
    log.write("render", images=options.images, reused=reused)
    return np.load(pixels, mmap_mode="r"), json.loads(shown.read_text(encoding="utf-8"))


def implications() -> Tensor:
    """(terms, terms): 1 where what the row's term names is also what the column's names: an apple is a fruit."""
    kinds = {**dict.fromkeys(SCENE_CLASSES, THING), **KINDS}
    return torch.tensor([[float(row == column or kinds.get(row) == column) for column in TERMS] for row in TERMS])


def render(path: Path, options: Options) -> list[Described]:
    """Render every image into one array file; returns what each shows."""
    shape = (options.images, options.size, options.size, 3)
    pixels = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    described = []
    with multiprocessing.get_context("spawn").Pool(options.threads) as pool:
        job = partial(render_captioned, options.seed, options=replace(CAPTIONED, image_size=options.size))
        for index, (image, shown) in enumerate(pool.imap(job, range(options.images), chunksize=64)):
            pixels[index] = image
            described.append(shown)
        pool.close()
        pool.join()
    pixels.flush()
    return described


def batches(pairs: Pairs, options: Options, epoch: int) -> Iterator[Batch]:
    """The images in another order and with another augmentation every epoch, counted from 1."""
    random = np.random.RandomState(1000 * options.seed + epoch)
    order = random.permutation(len(pairs.pixels))
    for first in range(0, len(order) - options.batch_size + 1, options.batch_size):
        chosen = np.sort(order[first : first + options.batch_size])
        distinct, own = pairs.captions[(epoch - 1) % EPOCHS, chosen].unique(return_inverse=True)
        says, implies = pairs.says[distinct].float(), pairs.implies[distinct].float()
        rows = [lengthen(pairs.rows[number], pairs.filler, options, random) for number in distinct.tolist()]
        true = (implies[own] @ says.T == says.sum(dim=1)).float()
        yield Batch(augment(pairs.pixels[chosen], options, random), *pad_tokens(rows), true)


def lengthen(row: list[int], filler: list[int], options: Options, random: np.random.RandomState) -> list[int]:
    """Put up to `filler` filler words between the start token and a share of the captions."""
    if random.uniform() >= options.filler_share:
        return row
    words = random.choice(filler, random.randint(1, options.filler + 1))
    return [row[0], *words.tolist(), *row[1:]]


def augment(pixels: np.ndarray, options: Options, random: np.random.RandomState) -> Tensor:
    """(B, H, W, 3) uint8 → (B, 3, H, W) normalised; H and W are smaller in a share of the batches."""
    images = CLIP_RULE.normalize(torch.from_numpy(shift(pixels, options.shift, random)).permute(0, 3, 1, 2))
    if random.uniform() < options.small_share:
        images = nn.functional.interpolate(images, size=[options.small_size] * 2, mode="bilinear", antialias=True)
    return jitter(images, random).contiguous(memory_format=torch.channels_last)


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
