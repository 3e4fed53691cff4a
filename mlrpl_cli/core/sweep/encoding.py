"""Every image of a sweep encoded once, into the feature cache; its runs, in whatever process, read it from there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mlrpl_cli.core.backbones.frozen import make_encoder
from mlrpl_cli.core.backbones.openai.architectures import StateDict
from mlrpl_cli.core.features.views import CachedViews, CacheFiller
from mlrpl_cli.core.io.devices import make_accelerator
from mlrpl_cli.core.io.errors import ConfigError, DataError
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.io.tensorfiles import SUFFIX, read_tensors, write_tensors
from mlrpl_cli.core.labels.formats.registry import SCENES
from mlrpl_cli.core.labels.formats.scenes import object_masks
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.sweep.plan import Plan

_OBJECTS = ("rows", "classes", "masks")


@dataclass(frozen=True)
class Objects:
    """Where the classes of the test images are, for data that know it; M (image, class) pairs."""

    rows: np.ndarray
    """(M,) positions among the test images."""
    classes: np.ndarray
    """(M,) columns."""
    masks: np.ndarray
    """(M, H, W) bool."""


@dataclass(frozen=True)
class Encoded:
    """Where a process finds what it needs; small, since it goes to each of them."""

    learning: CachedViews
    """Training and validation images."""
    test: CachedViews
    objects: Path | None
    """File of the test images' objects; None for data that do not know them."""


def encode_once(plan: Plan, prepared: Prepared, state: StateDict, progress: Progress) -> Encoded:
    """Encode what the feature cache lacks. Raises ConfigError when there is no room for it."""
    config = plan.config
    accelerator = make_accelerator(config.device)
    encoder = make_encoder(state, config.image_size or 0, accelerator.device, config.precision)
    learning, test = prepared.paths(learning_rows(prepared)), prepared.paths(prepared.rows(TEST))
    views = max(config.views, 1)
    filler = CacheFiller(encoder, config, accelerator, progress)
    if problem := filler.problem(len(learning) * views + len(test)):
        raise ConfigError(f"{problem}; a sweep trains from the feature cache: see cache, cache_gib and cache_dtype")
    return Encoded(filler.fill(learning, views), filler.fill(test, 1, "test images"), _write_objects(plan, prepared))


def learning_rows(prepared: Prepared) -> np.ndarray:
    """Rows of the training and validation images, which share one set of stored features."""
    return np.flatnonzero(np.array(prepared.splits) != TEST)


def load_objects(path: Path) -> Objects:
    """What `encode_once` wrote. Raises ValueError when it is not whole."""
    tensors = read_tensors(path).tensors
    return Objects(*(tensors[name].numpy() for name in _OBJECTS))


def _write_objects(plan: Plan, prepared: Prepared) -> Path | None:
    if prepared.dataset != SCENES:
        return None
    path = plan.options.out / f"objects-{plan.data_sha256[:16]}{SUFFIX}"
    try:
        load_objects(path)
    except (ValueError, KeyError):
        names = [prepared.images[row] for row in prepared.rows(TEST)]
        found = object_masks(names, scenes_seed(prepared), prepared.classes)
        write_tensors(path, {name: torch.from_numpy(array) for name, array in zip(_OBJECTS, found, strict=True)})
    return path


def scenes_seed(prepared: Prepared) -> int:
    """The seed that drew the scenes of a prepared folder. Raises DataError when its manifest does not say."""
    reading = prepared.options.get("reading")
    # "seed" is what manifests called it while all formats shared their options.
    seed = reading.get("scenes_seed", reading.get("seed")) if isinstance(reading, dict) else None
    if type(seed) is not int:
        raise DataError(f"{prepared.folder} does not say which seed drew its scenes; run mlrpl prepare again")
    return seed
