"""`train`: a run folder from a configuration. What is computed is the trainer's; what is kept is decided here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from torch.utils.tensorboard import SummaryWriter

from mlrpl_cli.core.config import BEST, LAST, TrainConfig, raise_together, read_yaml, write_yaml
from mlrpl_cli.core.evaluation.metrics import or_none
from mlrpl_cli.core.io import devices, files
from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.io.parallel.ranks import ending_together
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.prepared.agreement import check_same_data
from mlrpl_cli.core.prepared.folder import Prepared, newest_prepared, read_prepared
from mlrpl_cli.core.runs import again, options
from mlrpl_cli.core.runs.checkpoint import Checkpoint, RunInfo, load_checkpoint, save_checkpoint
from mlrpl_cli.core.runs.folder import (
    ASKED,
    CONFIG_FILE,
    EVENTS,
    LOG_FILE,
    checkpoint_path,
    load_config,
    read_log,
    write_log,
)
from mlrpl_cli.core.runs.trained_on import changed_images
from mlrpl_cli.core.training.assembly import Assembly, assemble
from mlrpl_cli.core.training.folds import cross_validate, write_figures
from mlrpl_cli.core.training.holding_out import keep_held_out
from mlrpl_cli.core.training.loop import EpochRow, Trainer

SETTLED_AT_START = ("precision", "views", "cache_dtype", "cache_gib")
"""Options that depend on the machine and its disk when a run begins."""
VIEWS_SETTLED = 9
"""Checkpoint format from which on a run's configuration says which views it keeps."""
_PUT_BACK = "put back what it was trained with, or start over with --fresh"


@dataclass(frozen=True)
class TrainingSummary:
    """What a finished or interrupted training came to."""

    run: Path
    method: str
    epochs_done: int
    interrupted: bool
    selection: str
    last_map: float | None
    """mAP of the last epoch on the split that selects, in [0, 1]; None when no class has an AP there."""
    best_map: float | None
    best_epoch: int
    learned_parameters: int
    classes: int
    not_learnable: tuple[str, ...]
    """Classes without a present cell in training, or without one that their loss takes for absent."""
    selected: bool = True
    """Whether there was an image to choose the best epoch by; else it is the last one."""
    folds: int | None = None
    """How many folds the data has; None without cross-validation."""
    out_of_fold_map: float | None = None
    """mAP in [0, 1] of scores by recognizers that were not trained on the image; None when no class has an AP."""
    tested: bool = True
    """Whether the data have a test image, so that `eval` has figures of the run."""
    calibration: str | None = None
    """Family of the calibration that was chosen by held-out cells; None where there is none."""
    log_loss_before: float | None = None
    """Of held-out cells in nats, as the method gives probabilities."""
    log_loss_after: float | None = None
    """The same of calibrated ones, each by what was fitted to other images."""
    ece_before: float | None = None
    """Mean over classes of the calibration error of held-out cells in [0, 1], as the method gives probabilities."""
    ece_after: float | None = None
    """The same after calibration, of cells that it was not fitted to."""


@ending_together()
def train(
    config: TrainConfig, progress: Progress | None = None, resume: bool = False, fresh: bool = False
) -> TrainingSummary:
    """Train a method on a prepared folder and write its run folder.

    A folder that holds the run of the same options and data is gone on with, or returned as it is when it is finished;
    with `fresh` it starts over. With `resume`, config.run is continued, whatever made it, as if it had never stopped.
    Raises ConfigError, DataError, WeightsError or RunError, the first with every option that cannot be.
    """
    progress = progress or Silent()
    raise_together(options.config_problems(config))
    if config.run is not None:
        again.check_free(Path(config.run))
    accelerator = devices.make_accelerator(config.device)
    prepared = read_prepared(Path(config.data) if config.data else newest_prepared())
    asked, config = config, options.resolve_config(config, prepared)
    # One process chooses, so that two never choose differently.
    chosen: list[Any] = [None, resume, None]
    if accelerator.is_main_process:
        place = (Path(str(config.run)), True) if resume else again.place_of(asked, config, prepared, fresh)
        chosen = [*place, _settled(config, *place)]
    folder, resume, first = broadcast_object_list(chosen)
    config = replace(first, **{name: getattr(config, name) for name in options.FREE_ON_RESUME})
    check_same_data(prepared)
    new = not resume and (asked.run is None or not folder.exists())
    files.check_writable(folder)
    progress.note(f"training {config.method} on {prepared.folder} with {config.backbone} at {config.image_size} px")
    unused = [] if resume else options.unused_notes(asked, config)
    for warning in (*unused, *options.label_notes(asked, config, prepared)):
        progress.warn(warning)
    with _begun(folder, config, new, resume, fresh) if accelerator.is_main_process else nullcontext():
        assembly = assemble(config, accelerator, progress)
        asked_views, config = config.views, _with_room(assembly, config, prepared, folder)
        trainer = assembly.trainer(config, prepared, config.selection, None)
        if config.views != asked_views:
            trainer.info = replace(trainer.info, views_asked=asked_views)
        last = _last_checkpoint(folder, trainer) if resume else None
        trainer.start(last, progress)
        log = [row for row in read_log(folder) if row["epoch"] <= trainer.info.epoch] if last else []
        if accelerator.is_main_process:
            write_log(folder, log)
            if last is None:
                _save(trainer, folder, LAST)
            (folder / ASKED).unlink(missing_ok=True)  # the checkpoint says it now
        measured = cross_validate(config, prepared, folder, assembly.trainer, progress)
        if measured and accelerator.is_main_process:
            write_figures(measured, folder)
        kept = _run(trainer, folder, log, progress)
        keep_held_out(trainer, prepared, folder, measured)
    last_map = next((row["map"] for row in log if row["epoch"] == kept.epoch), None)
    learned = trainer.trainable.learned_count
    return TrainingSummary(
        folder, config.method, kept.epoch, kept.epoch < config.epochs, config.selection, last_map, kept.best_map,
        kept.best_epoch, learned, len(kept.classes), kept.not_learnable,
        len(trainer.selection_labels) > 0, measured.folds if measured else None,
        or_none(measured.mean_average_precision) if measured else None, len(prepared.rows(TEST)) > 0,
    )  # fmt: skip


def _settled(config: TrainConfig, folder: Path, resume: bool) -> TrainConfig:
    """`config` for the run in `folder`: whatever has room now, it goes on with what it has begun with."""
    if resume:
        stored = load_config(folder)
        config = replace(config, **{name: getattr(stored, name) for name in SETTLED_AT_START})
        if not again.has_checkpoint(folder) and (folder / ASKED).is_file():  # killed while it encoded
            config = replace(config, **read_yaml(folder / ASKED))
    return replace(config, run=str(folder))


def _with_room(assembly: Assembly, config: TrainConfig, prepared: Prepared, folder: Path) -> TrainConfig:
    """`config` with the views that are kept in the cache, which the run's configuration then says."""
    [written_as] = broadcast_object_list([_format_of(folder) if assembly.accelerator.is_main_process else None])
    if written_as is not None and written_as >= VIEWS_SETTLED:
        return config
    found = assembly.fitted(config, prepared) if written_as is None else assembly.within_limit(config, prepared)
    if found.problem:
        assembly.progress.warn(found.sentence("encoding anew every epoch"))
    if assembly.accelerator.is_main_process:
        asked = {"views": config.views, "cache_dtype": config.cache_dtype}
        files.write_text(folder / ASKED, json.dumps(asked) + "\n")
        write_yaml(found.config, folder / CONFIG_FILE)
    return found.config


def _format_of(folder: Path) -> int | None:
    """Of the last checkpoint; None for a run that has none."""
    return load_checkpoint(folder, LAST).info.format if again.has_checkpoint(folder) else None


@contextmanager
def _begun(folder: Path, config: TrainConfig, new: bool, resume: bool, fresh: bool) -> Iterator[None]:
    """Hold the run folder, with the run's options in it: two runs never share one, and --resume needs no more.

    A `new` folder goes again after an error that left nothing to resume; an interruption is no error.
    """
    files.make_folder(folder)
    try:
        with files.sole_writer(folder, "choose another --run"):
            again.check_free(folder)
            if fresh or not again.has_checkpoint(folder):
                again.remove_run(folder)  # also what a --fresh that was killed had not removed yet
            elif not resume:
                raise RunError(f"{folder} was trained by another process meanwhile; run the same command again")
            try:
                write_yaml(config, folder / CONFIG_FILE)
                yield
            except Exception:
                if new and not again.has_checkpoint(folder):
                    for name in (CONFIG_FILE, LOG_FILE, ASKED):
                        (folder / name).unlink(missing_ok=True)
                raise
    finally:
        if new:
            with suppress(OSError):  # as it should be, there is something in it
                folder.rmdir()


def _run(trainer: Trainer, folder: Path, log: list[EpochRow], progress: Progress) -> RunInfo:
    """Train until all epochs are done or Ctrl-C; what the last checkpoint on the disk says of itself then.

    One of several processes is not at the same step as the others when Ctrl-C comes: it raises KeyboardInterrupt.
    """
    kept, epochs, main = trainer.info, trainer.config.epochs, trainer.accelerator.is_main_process
    if kept.epoch == epochs:
        progress.note(f"{folder} was already finished, at epoch {epochs} of {epochs}: nothing was trained")
        return kept
    left = (epochs - kept.epoch) * trainer.features.steps_per_epoch
    interrupt = suppress(KeyboardInterrupt) if trainer.accelerator.num_processes == 1 else nullcontext()
    with interrupt, progress.task("training", left, "steps") as task:
        for row in trainer.epochs(task):
            log.append(row)
            if main:
                _keep(trainer, folder, log)
            kept = trainer.info
            nothing = "no class has an AP" if len(trainer.selection_labels) else "no image"
            shown = nothing if row["map"] is None else f"mAP {100 * row['map']:.2f}"
            tenth = 10 * row["epoch"] // epochs > 10 * (row["epoch"] - 1) // epochs
            say = progress.note if tenth else progress.detail
            say(f"epoch {row['epoch']}/{epochs}: loss {row['loss']:.4f}, {row['split']} {shown}")
            trainer.accelerator.wait_for_everyone()
    return kept


def _keep(trainer: Trainer, folder: Path, log: Sequence[EpochRow]) -> None:
    """Keep the epoch of the last row. The last checkpoint is written last, since --resume goes on from it."""
    row = log[-1]
    if trainer.info.best_epoch == row["epoch"]:
        _save(trainer, folder, BEST)
    write_log(folder, log)
    _write_events(folder / EVENTS, row)
    _save(trainer, folder, LAST)


def _save(trainer: Trainer, folder: Path, which: str) -> None:
    checkpoint = trainer.checkpoint(with_optimizer=which == LAST)
    save_checkpoint(checkpoint, checkpoint_path(folder, which))


def _write_events(folder: Path, row: EpochRow) -> None:
    """TensorBoard reads whatever files there are: one event file an epoch needs no state between epochs."""
    suffix = f".epoch{row['epoch']:05d}"
    with files.writing(folder):
        for begun in folder.glob(f"*{suffix}"):
            begun.unlink()  # by a process that was killed
        with SummaryWriter(str(folder), filename_suffix=suffix) as writer:
            for name in ("loss", "map", "lr", "images_per_second"):
                if row[name] is not None:
                    writer.add_scalar(name, row[name], row["epoch"])


def _last_checkpoint(folder: Path, trainer: Trainer) -> Checkpoint | None:
    """The state to go on from; None for a run that was killed before it wrote one."""
    if not checkpoint_path(folder, LAST).is_file():
        return None
    last = load_checkpoint(folder, LAST)
    if last.info.best_epoch and not checkpoint_path(folder, BEST).is_file():
        gone = f"its best checkpoint, of epoch {last.info.best_epoch}, is gone"
        raise RunError(f"cannot resume {folder}: {gone}; put it back, evaluate with --checkpoint last, or train again")
    for name, field in (("backbone weights", "fingerprint"), ("mask", "mask_sha256"), ("data", "data_sha256")):
        expected, got = getattr(last.info, field), getattr(trainer.info, field)
        if expected != got:
            changed = f"its {name} had SHA-256 {expected[:16]}…, now it is {got[:16]}…"
            raise RunError(f"cannot resume {folder}: {changed}; {_PUT_BACK}")
    if images := changed_images(last.tensors, trainer.images, trainer.config.selection):
        raise RunError(f"cannot resume {folder}: {'; '.join(images)}; {_PUT_BACK}")
    return last
