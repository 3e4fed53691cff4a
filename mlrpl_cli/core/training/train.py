"""`train`: a run folder from a configuration. What is computed is the trainer's; what is kept is decided here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch.utils.tensorboard import SummaryWriter

from mlrpl_cli.core.backbones.checkpoints import TINY, load_state
from mlrpl_cli.core.backbones.frozen import make_encoder
from mlrpl_cli.core.config import TrainConfig, raise_together, write_yaml
from mlrpl_cli.core.features.batches import features_of_run
from mlrpl_cli.core.features.views import CacheFiller
from mlrpl_cli.core.io.devices import make_accelerator
from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.io.files import check_writable, make_folder, sole_writer, writing
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.prepared.folder import Prepared, newest_prepared, read_prepared
from mlrpl_cli.core.runs import folder as checkpoints
from mlrpl_cli.core.runs.folder import BEST, LAST, Checkpoint, RunInfo
from mlrpl_cli.core.runs.options import check_unused, config_problems, resolve_config, run_folder
from mlrpl_cli.core.training.assemble import assemble, training_rows
from mlrpl_cli.core.training.loop import EpochRow, Trainer

EVENTS, EPOCH = "tensorboard", ".epoch"


@dataclass(frozen=True)
class TrainingSummary:
    """What a finished or interrupted training came to."""

    run: Path
    method: str
    epochs_done: int
    interrupted: bool
    selection: str
    last_map: float | None
    """mAP of the last epoch on the split that selects, in [0, 1]; None when it has no known positive."""
    best_map: float | None
    best_epoch: int
    learned_parameters: int


def train(config: TrainConfig, progress: Progress | None = None, resume: bool = False) -> TrainingSummary:
    """Train a method on a prepared folder and write its run folder.

    With `resume`, config.run is continued from its last epoch and ends as if it had never stopped.
    Raises ConfigError, DataError, WeightsError or RunError, the first with every option that cannot be.
    """
    progress = progress or Silent()
    raise_together(config_problems(config))
    if config.run is not None and not resume:
        check_unused(Path(config.run))
    accelerator = make_accelerator(config.device)
    prepared = read_prepared(Path(config.data) if config.data else newest_prepared())
    config = resolve_config(config, prepared)
    progress.note(f"training {config.method} on {prepared.folder} with {config.backbone} at {config.image_size} px")
    # One process chooses, so that two never choose differently.
    chosen = str(run_folder(config, prepared)) if accelerator.is_main_process else ""
    folder = Path(broadcast_object_list([chosen])[0])
    check_writable(folder)
    new = config.run is None or not folder.exists()
    config = replace(config, run=str(folder))
    with _begun(folder, config, new, resume) if accelerator.is_main_process else nullcontext():
        trainer = _make_trainer(config, prepared, accelerator, progress)
        last = _last_checkpoint(folder, trainer.info) if resume else None
        trainer.start(last)
        writer = RunWriter(folder, trainer, resumed=last is not None)
        return writer.summary(interrupted=not _run(trainer, writer, progress))


@contextmanager
def _begun(folder: Path, config: TrainConfig, new: bool, resume: bool) -> Iterator[None]:
    """Hold the run folder, with the run's options in it: two runs never share one, and --resume needs no more.

    A `new` folder goes again after an error that left nothing to resume; an interruption is no error.
    """
    make_folder(folder)
    try:
        with sole_writer(folder, "choose another --run"):
            if not resume:
                check_unused(folder)
            try:
                write_yaml(config, folder / checkpoints.CONFIG_FILE)
                yield
            except Exception:
                if new and not checkpoints.checkpoint_path(folder, LAST).exists():
                    for name in (checkpoints.CONFIG_FILE, checkpoints.LOG_FILE):
                        (folder / name).unlink(missing_ok=True)
                raise
    finally:
        if new:
            with suppress(OSError):  # as it should be, there is something in it
                folder.rmdir()


def _run(trainer: Trainer, writer: RunWriter, progress: Progress) -> bool:
    """Whether all epochs were trained, and not interrupted."""
    try:
        with progress.task("training", trainer.remaining_steps, "steps") as task:
            for row in trainer.epochs(task):
                writer.write(row)
                shown = "no known positive" if row["map"] is None else f"mAP {100 * row['map']:.2f}"
                epoch = f"epoch {row['epoch']}/{trainer.config.epochs}"
                progress.note(f"{epoch}: loss {row['loss']:.4f}, {row['split']} {shown}")
                trainer.accelerator.wait_for_everyone()
    except KeyboardInterrupt:
        return False
    return True


class RunWriter:
    """Keeps a run folder in step with a trainer: configuration, log, checkpoints, TensorBoard events."""

    def __init__(self, folder: Path, trainer: Trainer, resumed: bool) -> None:
        self.folder, self.trainer = folder, trainer
        self.kept = trainer.info
        """What the last checkpoint on the disk says of itself."""
        log = checkpoints.read_log(folder) if resumed else []
        self.log: list[EpochRow] = [row for row in log if row["epoch"] <= trainer.info.epoch]
        if trainer.accelerator.is_main_process:
            checkpoints.write_log(folder, self.log)
            _remove_events(folder, trainer.info.epoch + 1)
            if not resumed:
                self._save(LAST)

    def write(self, row: EpochRow) -> None:
        """Keep an epoch. The last checkpoint is written last, since it is where --resume goes on from."""
        self.log.append(row)
        if self.trainer.accelerator.is_main_process:
            if self.trainer.info.best_epoch == row["epoch"]:
                self._save(BEST)
            checkpoints.write_log(self.folder, self.log)
            self._write_events(row)
            self._save(LAST)
        self.kept = self.trainer.info

    def summary(self, interrupted: bool) -> TrainingSummary:
        """What is kept."""
        config, kept = self.trainer.config, self.kept
        last_map = next((row["map"] for row in self.log if row["epoch"] == kept.epoch), None)
        learned = sum(parameter.numel() for parameter in self.trainer.trainable.learned().values())
        return TrainingSummary(
            self.folder, config.method, kept.epoch, interrupted, config.selection, last_map, kept.best_map,
            kept.best_epoch, learned,
        )  # fmt: skip

    def _save(self, which: str) -> None:
        checkpoint = self.trainer.checkpoint(with_optimizer=which == LAST)
        checkpoints.save_checkpoint(checkpoint, checkpoints.checkpoint_path(self.folder, which))

    def _write_events(self, row: EpochRow) -> None:
        """TensorBoard reads whatever files there are: one event file an epoch needs no state between epochs."""
        folder, suffix = self.folder / EVENTS, f"{EPOCH}{row['epoch']:05d}"
        with writing(folder), SummaryWriter(str(folder), filename_suffix=suffix) as writer:
            for name in ("loss", "map", "lr", "images_per_second"):
                if row[name] is not None:
                    writer.add_scalar(name, row[name], row["epoch"])


def _remove_events(folder: Path, first: int) -> None:
    """Remove those of epochs from `first` on, which were begun by a process that was killed and come again."""
    for path in (folder / EVENTS).glob(f"*{EPOCH}*"):
        number = path.name.rpartition(EPOCH)[2]
        if number.isdecimal() and int(number) >= first:
            path.unlink(missing_ok=True)


def _make_trainer(config: TrainConfig, prepared: Prepared, accelerator: Accelerator, progress: Progress) -> Trainer:
    assert config.image_size is not None
    with accelerator.main_process_first():  # a checkpoint that must be fetched is fetched once
        state = load_state(config.backbone or TINY, progress)
    encoder = make_encoder(state, config.image_size, accelerator.device, config.precision)
    paths = [prepared.paths(rows) for rows in (training_rows(prepared), prepared.rows(config.selection))]
    features = features_of_run(CacheFiller(encoder, config, accelerator, progress), *paths)
    return assemble(config, prepared, state, encoder.fingerprint, features, accelerator)


def _last_checkpoint(folder: Path, info: RunInfo) -> Checkpoint | None:
    """The state to go on from; None for a run that was killed before it wrote one."""
    if not checkpoints.checkpoint_path(folder, LAST).is_file():
        return None
    last = checkpoints.load_checkpoint(folder, LAST)
    if last.info.best_epoch and not checkpoints.checkpoint_path(folder, BEST).is_file():
        raise RunError(
            f"cannot resume {folder}: its best checkpoint, of epoch {last.info.best_epoch}, is gone; "
            "put it back, evaluate with --checkpoint last, or train again"
        )
    for name, field in (("backbone weights", "fingerprint"), ("mask", "mask_sha256"), ("data", "data_sha256")):
        expected, got = getattr(last.info, field), getattr(info, field)
        if expected != got:
            raise RunError(
                f"cannot resume {folder}: its {name} had SHA-256 {expected[:16]}…, now it is {got[:16]}…; "
                "put back what it was trained with"
            )
    return last
