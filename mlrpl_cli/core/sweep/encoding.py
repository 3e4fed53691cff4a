"""Every image of a sweep encoded once; its runs, in whatever process, map the features into memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mlrpl_cli.core.data.datasets import SCENES
from mlrpl_cli.core.data.manifest import Prepared
from mlrpl_cli.core.data.records import TEST, TRAIN
from mlrpl_cli.core.data.scenes import object_masks
from mlrpl_cli.core.features import KeptViews, keep_views, make_encoder
from mlrpl_cli.core.files import atomic_folder
from mlrpl_cli.core.models.encoders import StateDict, build_image_encoder
from mlrpl_cli.core.models.image_features import ImageFeatures
from mlrpl_cli.core.progress import Progress
from mlrpl_cli.core.runtime import make_accelerator
from mlrpl_cli.core.sweep.plan import Plan

FEATURES = "features"
_TENSORS = ("grid", "joint", "pooled", "attention")
_OBJECTS = ("object-rows", "object-classes", "object-masks")


@dataclass(frozen=True)
class Objects:
    """Where the classes of the test images are, for data that know it; M (image, class) pairs."""

    rows: np.ndarray
    """(M,) positions among the test images."""
    classes: np.ndarray
    """(M,) columns."""
    masks: np.ndarray
    """(M, H, W) bool."""


def encode_once(plan: Plan, prepared: Prepared, state: StateDict, progress: Progress) -> Path:
    """Encode every image of the data into the sweep's folder, unless it is there; returns where."""
    folder = plan.options.out / FEATURES / plan.features_key()
    if folder.is_dir():
        return folder
    config = plan.config
    accelerator = make_accelerator(config.device)
    encoder = make_encoder(build_image_encoder(state), config.image_size or 0, accelerator.device, config.precision)
    with atomic_folder(folder) as temporary:
        for split, rows, views in (
            (TRAIN, learning_rows(prepared), max(config.views, 1)),
            (TEST, prepared.rows(TEST), 1),
        ):
            paths, how = prepared.paths(rows), replace(config, views=views)
            kept = keep_views(encoder, paths, how, accelerator, progress, f"{split} images")
            for name, tensor in vars(kept.features).items():
                np.save(temporary / f"{split}-{name}.npy", tensor.numpy())
        if prepared.dataset == SCENES:
            _write_objects(temporary, prepared)
    return folder


def learning_rows(prepared: Prepared) -> np.ndarray:
    """Rows of the training and validation images, which share one set of kept features."""
    return np.flatnonzero(np.array(prepared.splits) != TEST)


def load_kept(folder: Path, split: str, views: int, device: torch.device) -> KeptViews:
    """The features of a split, mapped into memory so that processes share them."""
    arrays = {name: np.load(folder / f"{split}-{name}.npy", mmap_mode="c") for name in _TENSORS}
    return KeptViews(ImageFeatures(**{name: torch.from_numpy(a) for name, a in arrays.items()}), views, device)


def load_objects(folder: Path) -> Objects | None:
    """Where the objects are; None for data that do not know it."""
    if not (folder / f"{_OBJECTS[0]}.npy").is_file():
        return None
    return Objects(*(np.load(folder / f"{name}.npy") for name in _OBJECTS))


def _write_objects(folder: Path, prepared: Prepared) -> None:
    names = [prepared.images[row] for row in prepared.rows(TEST)]
    found = object_masks(names, prepared.options["reading"]["seed"], prepared.classes)
    for name, array in zip(_OBJECTS, found, strict=True):
        np.save(folder / f"{name}.npy", array)
