"""Every image of a sweep encoded once, into the feature cache; its runs, in whatever process, read it from there."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlrpl_cli.core.backbones.backbone import Backbone
from mlrpl_cli.core.backbones.frozen import make_encoder
from mlrpl_cli.core.config import Precision, TrainConfig
from mlrpl_cli.core.features.batches import CachedViews
from mlrpl_cli.core.features.cache import view_keys
from mlrpl_cli.core.features.filler import CacheFiller
from mlrpl_cli.core.features.fitting import fitted
from mlrpl_cli.core.io.devices import make_accelerator
from mlrpl_cli.core.io.errors import ConfigError, DataError
from mlrpl_cli.core.io.files import held, make_folder, write_text
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.io.reading import MIB, read_text
from mlrpl_cli.core.io.tensorfiles import SUFFIX, open_tensors, write_tensors
from mlrpl_cli.core.labels.formats.registry import SCENES
from mlrpl_cli.core.labels.formats.scenes import object_masks
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.sweep.data import SweepData
from mlrpl_cli.core.sweep.plan import Plan

ROOM = "features.json"
"""Below a sweep's folder: how many views in which number format its runs read, and what was asked for."""
_TAKEN = ("views", "cache_dtype")

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
    """Encode what the feature cache lacks; the plan of what is returned says how much of it is kept.

    Raises ConfigError when there is no room for one view of each image.
    """
    filler = _filler(plan.config, backbone, progress)
    plan = plan_with_room(plan) or _with_room(plan, data, filler)
    filler = replace(filler, config=plan.config)
    learning, scored = data.prepared.paths(data.learning), data.prepared.paths(data.scored)
    views = max(plan.config.views, 1)
    over_folds = data.folds is not None
    objects = _write_objects(plan, data.measured) if data.prepared.dataset == SCENES and not over_folds else None
    return Shared(plan, data, filler.fill(learning, views), filler.fill(scored, 1, "test images"), objects)


def plan_with_room(plan: Plan) -> Plan | None:
    """`plan` with what an earlier call of the same sweep found room for; None where there was none.

    All runs of a sweep read the same views, whatever room there is later.
    """
    with suppress(DataError, OSError, ValueError, KeyError, TypeError, RecursionError):
        found = json.loads(read_text(plan.options.out / ROOM, MIB))
        if found["asked"] == _asked(plan):
            return replace(plan, config=replace(plan.config, **{name: found["taken"][name] for name in _TAKEN}))
    return None


def _with_room(plan: Plan, data: SweepData, filler: CacheFiller) -> Plan:
    """`plan` with as many views, in as fine a format, as there is room for now, which its folder remembers."""
    config = replace(plan.config, views=max(plan.config.views, 1))
    learning, scored = data.prepared.paths(data.learning), data.prepared.paths(data.scored)
    # Over folds, what is scored is the plain view of what is learned from.
    found = fitted(replace(filler, config=config), learning, scored if data.folds is None else [])
    if not found.config.views:
        advice = "a sweep trains from the feature cache: raise cache_gib, or name a cache on another disk"
        raise ConfigError(f"{found.problem}, and so does one view of each image; {advice}")
    if found.problem:
        filler.progress.warn(found.sentence(""))
    taken: dict[str, Any] = {
        "views": min(plan.config.views, found.config.views),
        "cache_dtype": found.config.cache_dtype,
    }
    write_text(plan.options.out / ROOM, json.dumps({"asked": _asked(plan), "taken": taken}, indent=2) + "\n")
    return replace(plan, config=replace(plan.config, **taken))


def _asked(plan: Plan) -> dict[str, Any]:
    """What decides how much room is needed, and how much there may be."""
    options = {name: getattr(plan.config, name) for name in (*_TAKEN, "cache_gib", "image_size", "precision")}
    return {**options, "data": plan.data_sha256, "backbone": plan.fingerprint}


def views_here(shared: Shared, backbone: Backbone) -> tuple[CachedViews, CachedViews]:
    """What `shared` learns and scores by, from this machine's cache, which is filled where it lacks some.

    One process of a machine fills it at a time, and the images must be here.
    """
    both = shared.learning, shared.scored
    if not any(each.cache.missing(view_keys(each.digests, each.views)) for each in both):
        return both
    precision: Precision = "float32" if shared.learning.computed_in == torch.float32 else "bf16"
    filler = _filler(replace(shared.plan.config, precision=precision), backbone, Silent())
    make_folder(filler.cache.folder)
    paths = shared.data.prepared.paths
    with held(filler.cache.folder / ".filling.lock", lambda: None):
        learning = filler.fill(paths(shared.data.learning), shared.learning.views)
        return learning, filler.fill(paths(shared.data.scored), shared.scored.views, "test images")


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
