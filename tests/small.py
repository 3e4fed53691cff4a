"""A CLIP and a data set small enough to train in a second."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from mlrpl_cli.core.backbones.backbone import Backbone, BackboneOptions
from mlrpl_cli.core.backbones.openai.architectures import (
    SIZES,
    Architecture,
    ImageArchitecture,
    TextArchitecture,
    random_state,
)
from mlrpl_cli.core.backbones.openai.assembly import assemble
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.masks import observe
from mlrpl_cli.core.labels.states import ABSENT, UNKNOWN
from mlrpl_cli.core.prepared.folder import Prepared, read_prepared, write_manifest

SIZE = 64
CLASSES = ("red thing", "green thing", "blue thing")
ARCHITECTURE = Architecture(ImageArchitecture((1, 1, 1, 1), 2, 8, SIZE), TextArchitecture(64, 1, 8))
OPENAI_MARKS = {name: torch.tensor(size) for name, size in zip(SIZES, (SIZE, 77, 49408), strict=True)}
"""By which a file says that it is of OpenAI's form."""

OPTIONS: dict[str, Any] = {
    "image_size": SIZE,
    "batch_size": 8,
    "attention_width": 8,
    "workers": 0,
    "device": "cpu",
    "precision": "float32",
}
"""Of a training on these: an epoch of 24 images is three steps."""


class Heard(Silent):
    """A Progress that keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


class StopAt:
    """A Progress that presses Ctrl-C at a step of a task, the 0th being its beginning."""

    def __init__(self, step: int, task: str = "training") -> None:
        self.left, self.wanted, self.counting = step, task, False

    def reached(self) -> None:
        raise KeyboardInterrupt

    @contextmanager
    def task(self, description, total, unit="images"):
        self.counting = description.startswith(self.wanted)
        self._look()
        yield self

    def advance(self, steps=1, **figures):
        self.left -= self.counting
        self._look()

    def note(self, message):
        pass

    detail = warn = note

    def _look(self):
        if self.counting and self.left == 0:
            self.left = -1
            self.reached()


def backbone(state: dict[str, Any] | None = None) -> Backbone:
    """A CLIP out of a state dict, by default an untrained one of 64 channels and 2×2 positions."""
    return assemble(BackboneOptions("small"), state or random_state(ARCHITECTURE, 0))


def write_backbone(path: Path, seed: int = 0) -> Path:
    """An untrained CLIP of 64 channels and 2×2 positions as safetensors, marked as OpenAI's own files are."""
    save_file({**random_state(ARCHITECTURE, seed), **OPENAI_MARKS}, path)
    return path


def write_prepared(folder: Path, images: int = 36, keep: float = 0.7, seed: int = 0) -> Path:
    """Noisy images tinted by their classes: two thirds train, the rest half validation and half test."""
    random = np.random.RandomState(seed)
    labels = np.where(random.random_sample((images, 3)) < 0.5, 1, -1).astype(np.int8)
    (folder / "images").mkdir(parents=True)
    names = tuple(f"images/{row:03d}.png" for row in range(images))
    for name, row in zip(names, labels, strict=True):
        tint = np.where(row == 1, 200, 60)
        pixels = np.clip(tint + random.normal(0, 25, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)
    splits = tuple("train" if n < images * 2 // 3 else "validation" if n % 2 else "test" for n in range(images))
    observed, checksum = observe(labels, splits, keep, seed)
    prepared = Prepared(
        folder=folder,
        dataset="table",
        classes=CLASSES,
        image_root=folder,
        images=names,
        splits=splits,
        full_labels=labels,
        observed_labels=observed,
        options={"keep": keep},
        mask_sha256=checksum,
    )
    write_manifest(folder, prepared)
    return folder


def write_folds(folder: Path, images: int = 36, folds: int = 3) -> Path:
    """The same, every image one of training and of a fold in turn."""
    prepared = read_prepared(write_prepared(folder, images))
    turns = np.arange(images, dtype=np.int16) % folds
    labels = {"full_labels": prepared.observed_labels, "observed_labels": prepared.observed_labels}
    write_manifest(folder, replace(prepared, splits=("train",) * images, folds=turns, **labels))
    return folder


def write_training(place: Path, epochs: int, images: int = 36) -> dict[str, Any]:
    """What a training is given on data and a backbone that are written to `place`: the run goes there, too."""
    return {
        "data": str(write_prepared(place / "prepared", images)),
        "backbone": str(write_backbone(place / "clip.safetensors")),
        "run": str(place / "run"),
        **OPTIONS,
        "epochs": epochs,
    }


def write_positives(folder: Path) -> Path:
    """The same, of which only present cells are known."""
    prepared = read_prepared(write_prepared(folder))
    for labels in (prepared.full_labels, prepared.observed_labels):
        labels[labels == ABSENT] = UNKNOWN
    write_manifest(folder, prepared)
    return folder


def without_cells(folder: Path, red_absent: bool = False, blue_present: bool = False) -> None:
    """Take from the training and validation images of a prepared folder all known cells of these kinds."""
    prepared = read_prepared(folder)
    learning = np.array([split != "test" for split in prepared.splits])
    for column, state, taken in ((0, -1, red_absent), (2, 1, blue_present)):
        for labels in (prepared.full_labels, prepared.observed_labels) if taken else ():
            labels[learning & (labels[:, column] == state), column] = 0
    write_manifest(folder, prepared)
