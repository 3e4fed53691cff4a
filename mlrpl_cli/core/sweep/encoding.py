"""Every image of a sweep encoded once, into the feature cache; its runs, in whatever process, read it from there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mlrpl_cli.core.backbones.backbone import Backbone
from mlrpl_cli.core.backbones.frozen import make_encoder
from mlrpl_cli.core.backbones.registry import backbone_options, load_backbone
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.features.batches import CachedViews
from mlrpl_cli.core.features.cache import view_keys
from mlrpl_cli.core.features.filler import CacheFiller
from mlrpl_cli.core.io.devices import make_accelerator
from mlrpl_cli.core.io.errors import ConfigError, DataError
from mlrpl_cli.core.io.files import held, make_folder
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.io.tensorfiles import SUFFIX, open_tensors, write_tensors
from mlrpl_cli.core.labels.formats.registry import SCENES
from mlrpl_cli.core.labels.formats.scenes import object_masks
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.sweep.data import SweepData
from mlrpl_cli.core.sweep.plan import Plan

Objects = tuple[np.ndarray, np.ndarray, np.ndarray]
"""What `load_objects` gives."""


@dataclass(frozen=True)
class Shared:
    """What every run of a sweep needs; it goes to each process, so no features are in it."""

    plan: Plan
    data: SweepData
    learning: CachedViews
    """Images of `data.learning`."""
    scored: CachedViews
    """Images of `data.scored`."""
    objects: Path | None
    """File of where the classes of the test images are; None for data that do not know it, and over folds."""


def encode_once(plan: Plan, data: SweepData, backbone: Backbone, progress: Progress) -> Shared:
    """Encode what the feature cache lacks. Raises ConfigError when there is no room for it."""
    config, prepared = plan.config, data.prepared
    over_folds = data.folds is not None
    learning, scored = prepared.paths(data.learning), prepared.paths(data.scored)
    views, filler = max(config.views, 1), _filler(config, backbone, progress)
    # Over folds, what is scored is the plain view of what is learned from.
    if problem := filler.problem(len(learning) * views + (0 if over_folds else len(scored))):
        raise ConfigError(f"{problem}; a sweep trains from the feature cache: see cache, cache_gib and cache_dtype")
    objects = _write_objects(plan, data.measured) if prepared.dataset == SCENES and not over_folds else None
    return Shared(plan, data, filler.fill(learning, views), filler.fill(scored, 1, "test images"), objects)


def fill_cache(shared: Shared) -> None:
    """Encode what the feature cache of this machine lacks, one process at a time: its images must be here."""
    data, computed_in = shared.data, shared.learning.computed_in
    config = replace(shared.plan.config, precision="float32" if computed_in == torch.float32 else "bf16")
    lacking = any(each.cache.missing(view_keys(each.digests, each.views)) for each in (shared.learning, shared.scored))
    if lacking:
        filler = _filler(config, load_backbone(backbone_options(config)), Silent())
        make_folder(filler.cache.folder)
        with held(filler.cache.folder / ".filling.lock", lambda: None):
            filler.fill(data.prepared.paths(data.learning), shared.learning.views)
            filler.fill(data.prepared.paths(data.scored), shared.scored.views, "test images")


def _filler(config: TrainConfig, backbone: Backbone, progress: Progress) -> CacheFiller:
    accelerator = make_accelerator(config.device)
    encoder = make_encoder(backbone, config.image_size or 0, accelerator.device, config.precision)
    return CacheFiller(encoder, config, accelerator, progress)


def load_objects(path: Path) -> Objects:
    """Of M (test image, class that it shows) pairs: images (M,), columns (M,) and bool masks (M, H, W).

    Raises ValueError or KeyError when the file is not what `encode_once` wrote.
    """
    tensors = open_tensors(path).checked().tensors
    return tensors["rows"].numpy(), tensors["classes"].numpy(), tensors["masks"].numpy()


def _write_objects(plan: Plan, prepared: Prepared) -> Path:
    path = plan.options.out / f"objects-{plan.data_sha256[:16]}{SUFFIX}"
    try:
        load_objects(path)
    except (ValueError, KeyError):
        names = [prepared.images[row] for row in prepared.rows(TEST)]
        found = map(torch.from_numpy, object_masks(names, _scenes_seed(prepared), prepared.classes))
        write_tensors(path, dict(zip(("rows", "classes", "masks"), found, strict=True)))
    return path


def _scenes_seed(prepared: Prepared) -> int:
    """Raises DataError when the manifest does not say which seed drew the scenes."""
    reading = prepared.options.get("reading")
    seed = reading.get("scenes_seed") if isinstance(reading, dict) else None
    if type(seed) is not int:
        raise DataError(f"{prepared.folder} does not say which seed drew its scenes; run mlrpl prepare again")
    return seed
