"""A run that is asked for once more: what differs from the one that a folder holds, and starting over."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path

from mlrpl_cli.core.backbones.registry import backbone_options, is_path, load_backbone
from mlrpl_cli.core.config import AUTO, BEST, LAST, TrainConfig, read_yaml
from mlrpl_cli.core.io import files
from mlrpl_cli.core.io.errors import ConfigError, RunError
from mlrpl_cli.core.io.reading import difference
from mlrpl_cli.core.prepared.folder import Prepared, is_prepared
from mlrpl_cli.core.runs.checkpoint import load_checkpoint
from mlrpl_cli.core.runs.contents import run_contents
from mlrpl_cli.core.runs.folder import (
    ASKED,
    CONFIG_FILE,
    DECISIONS,
    EVENTS,
    FOLDS,
    HELD_OUT,
    LOG_FILE,
    OUT_OF_FOLD,
    RUNS,
    checkpoint_path,
    load_config,
)
from mlrpl_cli.core.runs.options import short_method
from mlrpl_cli.core.runs.trained_on import changed_images, image_tensors

WITHOUT_EFFECT = ("data", "run", "device", "workers", "cache", "cache_gib")
"""Options that do not change what a run comes to. Labels are compared by their checksum, and images by their own."""

Weights = Callable[[], str | None]
"""The fingerprint of the backbone that is a file; None for a name, which always means the same."""


def was_begun(folder: Path) -> bool:
    """Whether a run of mlrpl was begun in `folder`: its configuration names every option, as no one's own does."""
    with suppress(ConfigError):
        return read_yaml(folder / CONFIG_FILE).keys() == asdict(TrainConfig()).keys()
    return False


def place_of(asked: TrainConfig, config: TrainConfig, prepared: Prepared, fresh: bool) -> tuple[Path, bool]:
    """The folder for the run of `config`, and whether it holds that run already, finished or not; never if `fresh`.

    Unless `config` names it, it is one below ./runs, named after data, method, its options and seed, with -2, -3 …
    behind them until there is no other run in it: made now, so that two who ask at once get two. Raises RunError for a
    named folder that holds another run, with all that differs.
    """
    weights = _weights_of(config)
    if config.run is None:
        return _below_runs(asked, config, prepared, fresh, weights)
    folder = Path(config.run)
    if fresh or not has_checkpoint(folder):
        return folder, False
    if differing := differences(folder, asked, config, prepared, weights):
        told = "; ".join(differing)
        raise RunError(f"{folder} holds another run: {told}; --fresh starts it over, and --run names another folder")
    return folder, True


def _weights_of(config: TrainConfig) -> Weights:
    """Reads the file once, when it is first asked."""

    @cache
    def weights() -> str | None:
        options = backbone_options(config)
        return load_backbone(options, text=False).fingerprint if is_path(options.name) else None

    return weights


def _below_runs(
    asked: TrainConfig, config: TrainConfig, prepared: Prepared, fresh: bool, weights: Weights
) -> tuple[Path, bool]:
    files.make_folder(RUNS)
    name = f"{prepared.folder.resolve().name}-{short_method(config)}-seed{config.seed}"
    folder, number = RUNS / name, 1
    while True:
        with suppress(FileExistsError):
            folder.mkdir()
            return folder, False
        if not fresh and _is_same(folder, asked, config, prepared, weights):
            return folder, True
        number += 1
        folder = folder.with_name(f"{name}-{number}")


def _is_same(folder: Path, asked: TrainConfig, config: TrainConfig, prepared: Prepared, weights: Weights) -> bool:
    """Whether `folder` holds the run of `config` and no process is at work on it."""
    if not has_checkpoint(folder):
        return False
    with files.held(folder / files.LOCK) as mine, suppress(RunError):  # a damaged one is not the same
        return mine is not False and not differences(folder, asked, config, prepared, weights)
    return False


def differences(
    folder: Path, asked: TrainConfig, config: TrainConfig, prepared: Prepared, weights: Weights
) -> list[str]:
    """A phrase for each thing that makes the run in `folder`, which has a checkpoint, another one than `config`.

    `config` is what comes of the options that were `asked` for. Raises RunError for a run that is damaged, WeightsError
    for a backbone's file that cannot be read.
    """
    stored = load_config(folder)
    last = load_checkpoint(folder, LAST)
    info = last.info
    # These depend on the device, and on the room in the cache, where they are not asked for.
    open_ones = {
        "precision": asked.precision == AUTO,
        "cache_dtype": asked.cache_dtype is None,
        "views": asked.views == info.views_asked,
    }
    free = {*WITHOUT_EFFECT, *(name for name, is_open in open_ones.items() if is_open)}
    pairs = {name: (value, getattr(config, name)) for name, value in vars(stored).items() if name not in free}
    found = [difference(name, old, new) for name, (old, new) in pairs.items() if old != new]
    if info.data_sha256 != prepared.sha256:
        found.append(f"images or labels of {prepared.folder} have changed")
    else:
        now = run_contents(config, prepared, stored.selection)
        found += changed_images(last.tensors, image_tensors(now.training, now.scored), stored.selection)
    if info.mask_sha256 != prepared.mask_sha256:
        found.append(f"{prepared.folder} hides other labels")
    # Which features a file gives depends on these too, and they are named above where they differ.
    if backbone_options(stored) == backbone_options(config) and weights() not in (None, info.fingerprint):
        found.append(f"the weights in {config.backbone} have changed")
    return found


def has_checkpoint(folder: Path) -> bool:
    """Whether there is something in `folder` to go on from."""
    return checkpoint_path(folder, LAST).exists()


def check_free(folder: Path) -> None:
    """Raise RunError rather than write a run into a folder of prepared data, or of anything else but a run."""
    if is_prepared(folder):
        raise RunError(f"{folder} is a prepared folder, expected one for a run; name it with --data, not with --run")
    if was_begun(folder) or has_checkpoint(folder):
        return
    if folder.is_dir() and not all(path.name.startswith(".") for path in folder.iterdir()):
        raise RunError(f"{folder} holds other files, expected a new folder for a run; choose another --run")


def remove_run(folder: Path) -> None:
    """Remove what training wrote to `folder`, its last checkpoint first: without it there is nothing to resume."""
    written = (LOG_FILE, ASKED, OUT_OF_FOLD, DECISIONS, HELD_OUT)
    for path in (*(checkpoint_path(folder, which) for which in (LAST, BEST)), *(folder / name for name in written)):
        path.unlink(missing_ok=True)
    for name in (EVENTS, FOLDS):
        shutil.rmtree(folder / name, ignore_errors=True)
