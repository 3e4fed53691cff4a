"""Training: frozen features in, contexts, attention and calibration out. One code path for one process and for many.

Axes: B images, C classes.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from mlrpl_cli.core import checkpoint as checkpoints
from mlrpl_cli.core.checkpoint import BEST, LAST, Checkpoint, RunInfo
from mlrpl_cli.core.config import TrainConfig, raise_together, write_yaml
from mlrpl_cli.core.data.loading import ImageViews, batches_of, in_order
from mlrpl_cli.core.data.manifest import Prepared, newest_prepared, read_prepared
from mlrpl_cli.core.data.records import TEST, TRAIN, VALIDATION
from mlrpl_cli.core.errors import RunError
from mlrpl_cli.core.evaluation import labels_of, score
from mlrpl_cli.core.features import FrozenEncoder, OrderedFeatures, TrainingFeatures, make_encoder
from mlrpl_cli.core.files import check_writable
from mlrpl_cli.core.labels import ABSENT, PRESENT
from mlrpl_cli.core.losses import LOSSES, count_known
from mlrpl_cli.core.metrics import mean_average_precision
from mlrpl_cli.core.models.build import build_trainable
from mlrpl_cli.core.models.encoders import StateDict, build_image_encoder, build_text_encoder, image_architecture
from mlrpl_cli.core.models.image_features import ImageFeatures
from mlrpl_cli.core.models.recognizer import TrainableRecognizer
from mlrpl_cli.core.models.weights import TINY, fingerprint, load_state
from mlrpl_cli.core.progress import Progress, Silent, Task
from mlrpl_cli.core.run_setup import config_problems, run_folder, settle
from mlrpl_cli.core.runtime import make_accelerator, make_generator

PREPARED = Path("prepared")
CALIBRATION_IMAGES = 64


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
    accelerator = make_accelerator(config.device, config.precision)
    prepared = read_prepared(Path(config.data) if config.data else newest_prepared(PREPARED))
    config = settle(config, prepared)
    progress.note(f"training {config.method} on {prepared.folder} with {config.backbone} at {config.image_size} px")
    # One process chooses, so that two never choose differently.
    folder = Path(broadcast_object_list([str(run_folder(config, prepared, resume))])[0])
    check_writable(folder)
    training = Training(replace(config, run=str(folder)), prepared, folder, accelerator, progress)
    training.start(resume)
    interrupted = False
    try:
        training.run_epochs()
    except KeyboardInterrupt:
        interrupted = True
    return training.summary(interrupted)


class Training:
    """The state of one training run, in one process."""

    def __init__(
        self, config: TrainConfig, prepared: Prepared, folder: Path, accelerator: Accelerator, progress: Progress
    ) -> None:
        self.config, self.prepared, self.folder = config, prepared, folder
        self.accelerator, self.progress = accelerator, progress
        with accelerator.main_process_first():  # a checkpoint that must be fetched is fetched once
            state = load_state(config.backbone or TINY, progress)
        self.trainable, encoder, self.info = _build(state, config, prepared, accelerator)
        rows = _training_rows(prepared)
        self.labels = torch.from_numpy(prepared.observed_labels[rows]).to(accelerator.device)
        self.selection = _selection_features(config, prepared, encoder, accelerator)
        self.features = TrainingFeatures(encoder, prepared.paths(rows), config, accelerator, progress)
        self.encoder, self.training_paths = encoder, prepared.paths(rows)
        self.loss = LOSSES[config.loss](config)
        self.log: list[dict[str, Any]] = []

    def start(self, resume: bool) -> None:
        """Calibrate a new model or restore an old one, and write the run folder's first files."""
        last = self._last_checkpoint() if resume else None
        if last is None:
            self._calibrate()
        else:
            _restore(self.trainable, last)
            self.info = replace(last.info, data=self.info.data)
        optimizer = torch.optim.AdamW(_parameter_groups(self.trainable, self.config))
        if last is not None:
            checkpoints.restore_optimizer(optimizer, last)
            self.log = [row for row in checkpoints.read_log(self.folder) if row["epoch"] <= self.info.epoch]
        self.model, self.optimizer = self.accelerator.prepare(self.trainable, optimizer)
        if self.accelerator.is_main_process:
            write_yaml(self.config, self.folder / checkpoints.CONFIG_FILE)
            checkpoints.write_log(self.folder, self.log)
            if last is None:
                self._save(LAST)

    def run_epochs(self) -> None:
        """Train from the epoch after the last one done to the last one asked for."""
        remaining = self.config.epochs - self.info.epoch
        with self.progress.task("training", remaining * len(self.features), "steps") as task:
            for epoch in range(self.info.epoch + 1, self.config.epochs + 1):
                started = time.perf_counter()
                loss = self._train_epoch(epoch, task)
                seconds = time.perf_counter() - started
                self._finish_epoch(epoch, loss, seconds)

    def summary(self, interrupted: bool) -> TrainingSummary:
        return TrainingSummary(
            run=self.folder,
            method=self.config.method,
            epochs_done=self.info.epoch,
            interrupted=interrupted,
            selection=self.config.selection,
            last_map=self.log[-1]["map"] if self.log else None,
            best_map=self.info.best_map,
            best_epoch=self.info.best_epoch,
            learned_parameters=sum(parameter.numel() for parameter in self.trainable.learned().values()),
        )

    def _train_epoch(self, epoch: int, task: Task) -> float:
        """Mean loss of the epoch's batches, over all processes."""
        total = torch.zeros((), device=self.accelerator.device)
        for step, (features, positions) in enumerate(self.features.epoch(epoch)):
            self._set_learning_rate((epoch - 1) * len(self.features) + step)
            loss = self._step(features, self.labels[positions])
            total += loss
            task.advance(epoch=epoch, loss=float(loss))
        return float(self.accelerator.reduce(total, "mean")) / len(self.features)

    def _step(self, features: Any, labels: Tensor) -> Tensor:
        known = self.accelerator.reduce(count_known(labels), "sum")
        with self.accelerator.autocast():
            logits = self.model(features).logits
        # Data-parallel training averages gradients over processes, and this is a share of one sum: undo the average.
        loss = self.loss(logits.float(), labels, known) * self.accelerator.num_processes
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        self.optimizer.step()
        return loss.detach()

    def _finish_epoch(self, epoch: int, loss: float, seconds: float) -> None:
        if not math.isfinite(loss):
            raise RunError(f"the loss became {loss} in epoch {epoch}; train again with a lower lr and context_lr")
        map_ = self._selection_map()
        # Without a known positive there is nothing to select by, and the latest epoch is the best guess.
        if self.info.best_map is None or (map_ is not None and map_ > self.info.best_map):
            self.info = replace(self.info, best_epoch=epoch, best_map=map_)
        self.info = replace(self.info, epoch=epoch)
        images = len(self.features) * self.config.batch_size
        self.log.append(
            {
                "epoch": epoch,
                "loss": loss,
                "map": map_,
                "split": self.config.selection,
                "lr": self.optimizer.param_groups[0]["lr"],
                "seconds": seconds,
                "images_per_second": images / seconds,
            }
        )
        if self.accelerator.is_main_process:
            if self.info.best_epoch == epoch:
                self._save(BEST)
            checkpoints.write_log(self.folder, self.log)
            self._write_events()
            self._save(LAST)
        shown = "no known positive" if map_ is None else f"mAP {100 * map_:.2f}"
        self.progress.note(f"epoch {epoch}/{self.config.epochs}: loss {loss:.4f}, {self.config.selection} {shown}")
        self.accelerator.wait_for_everyone()

    def _selection_map(self) -> float | None:
        features, labels = self.selection
        if not len(labels):
            return None
        probabilities = score(self.trainable.eval(), features, Silent(), "")
        self.trainable.train()
        value = mean_average_precision(probabilities, labels)
        return None if math.isnan(value) else value

    def _set_learning_rate(self, step: int) -> None:
        factor = schedule(step, self.config.epochs * len(self.features), self.config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor

    @torch.no_grad()
    def _calibrate(self) -> None:
        paths = self.training_paths[:CALIBRATION_IMAGES]
        batches = in_order(ImageViews(paths, self.encoder.image_size), self.config.batch_size, workers=0)
        sample = ImageFeatures.concatenate([self.encoder(pixels) for pixels, _ in batches_of(batches)])
        known_labels = self.labels
        present, absent = (known_labels == PRESENT).sum(0), (known_labels == ABSENT).sum(0)
        prior = (present + 1) / (present + absent + 2)
        self.trainable.recognizer.calibrate(sample, self.trainable.text_side(), prior)

    def _last_checkpoint(self) -> Checkpoint | None:
        """The state to go on from; None for a run that was killed before it wrote one."""
        if not (self.folder / f"{LAST}.safetensors").is_file():
            return None
        last = checkpoints.load_checkpoint(self.folder, LAST)
        for name, expected, got in (
            ("backbone weights", last.info.fingerprint, self.info.fingerprint),
            ("mask", last.info.mask_sha256, self.info.mask_sha256),
        ):
            if expected != got:
                raise RunError(
                    f"cannot resume {self.folder}: its {name} had SHA-256 {expected[:16]}…, now it is {got[:16]}…; "
                    "put back what it was trained with"
                )
        return last

    @torch.no_grad()
    def _save(self, which: str) -> None:
        trainable = self.trainable
        tensors = {checkpoints.RECOGNIZER + name: t for name, t in trainable.recognizer.state_dict().items()}
        tensors[checkpoints.TEXT_FEATURES] = trainable.text_side()
        tensors |= {checkpoints.CONTEXTS + name: tensor for name, tensor in trainable.text_side.contexts().items()}
        if which == LAST:
            tensors |= checkpoints.optimizer_tensors(self.optimizer)
        checkpoints.save_checkpoint(Checkpoint(self.info, tensors), self.folder / f"{which}.safetensors")

    def _write_events(self) -> None:
        """TensorBoard reads whatever files there are: one event file an epoch needs no state between epochs."""
        row = self.log[-1]
        suffix = f".epoch{row['epoch']:05d}"
        with SummaryWriter(str(self.folder / "tensorboard"), filename_suffix=suffix) as writer:
            for name in ("loss", "map", "lr", "images_per_second"):
                if row[name] is not None:
                    writer.add_scalar(name, row[name], row["epoch"])


def schedule(step: int, steps: int, warmup: float) -> float:
    """Learning-rate factor in [0, 1]: linear from 0 over the first `warmup` share of the steps, then a cosine to 0."""
    rising = warmup * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(steps - rising, 1)))


def _build(
    state: StateDict, config: TrainConfig, prepared: Prepared, accelerator: Accelerator
) -> tuple[TrainableRecognizer, FrozenEncoder, RunInfo]:
    assert config.backbone is not None
    assert config.image_size is not None
    encoder = make_encoder(build_image_encoder(state), config.image_size, accelerator.device)
    # The provider takes seconds to import, and a wrong image size should be told before.
    from mlrpl_cli.core.models.provider import tokenize

    generator = make_generator(config.seed, "initialisation")
    text_encoder = build_text_encoder(state)
    trainable = build_trainable(config, prepared.classes, image_architecture(state), text_encoder, tokenize, generator)
    info = RunInfo(
        method=config.method,
        classes=prepared.classes,
        dataset=prepared.dataset,
        data=str(prepared.folder.resolve()),
        mask_sha256=prepared.mask_sha256,
        backbone=config.backbone,
        fingerprint=fingerprint(state),
        image_size=config.image_size,
        epoch=0,
        best_epoch=0,
        best_map=None,
    )
    return trainable.to(accelerator.device), encoder, info


def _training_rows(prepared: Prepared) -> np.ndarray:
    rows = prepared.rows(TRAIN)
    if not len(rows):
        raise RunError(f"{prepared.folder} has no training image; run mlrpl prepare again with some")
    return rows


def _selection_features(
    config: TrainConfig, prepared: Prepared, encoder: FrozenEncoder, accelerator: Accelerator
) -> tuple[OrderedFeatures, np.ndarray]:
    split = TEST if config.selection == "test" else VALIDATION
    rows = prepared.rows(split)
    keep = config.cache_gib * 2**30 if config.views else 0
    features = OrderedFeatures(encoder, prepared.paths(rows), accelerator, config.batch_size, config.workers, keep)
    return features, labels_of(prepared, split, rows)


def _parameter_groups(trainable: TrainableRecognizer, config: TrainConfig) -> list[dict[str, Any]]:
    """Contexts at their own rate; matrices decayed; vectors and the calibration neither."""
    contexts = list(trainable.text_side.contexts().values())
    rest = [parameter for parameter in trainable.recognizer.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in rest if parameter.ndim == 2]
    others = [parameter for parameter in rest if parameter.ndim < 2]
    groups = [
        {"params": matrices, "lr": config.lr, "peak_lr": config.lr, "weight_decay": config.weight_decay},
        {"params": others, "lr": config.lr, "peak_lr": config.lr, "weight_decay": 0.0},
        {"params": contexts, "lr": config.context_lr, "peak_lr": config.context_lr, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _restore(trainable: TrainableRecognizer, last: Checkpoint) -> None:
    trainable.recognizer.load_state_dict(last.group(checkpoints.RECOGNIZER))
    trained = last.group(checkpoints.CONTEXTS)
    for name, context in trainable.text_side.contexts().items():
        context.data.copy_(trained[name])
