"""One training run in memory: put together in one place; frozen features in, what is learned out. It writes nothing.

The same code trains in one process and in many. Axes: B images, C classes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast
from torch import Tensor

from mlrpl_cli.core.backbones.backbone import Backbone
from mlrpl_cli.core.backbones.features import ImageFeatures, are_finite
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.evaluation import evaluate, metrics
from mlrpl_cli.core.features.of_run import FeaturesOfRun
from mlrpl_cli.core.heads import losses, methods
from mlrpl_cli.core.heads.methods import ParameterGroup
from mlrpl_cli.core.heads.recognizers import FittedRecognizer, TrainableRecognizer
from mlrpl_cli.core.heads.text_inputs import TextInputs
from mlrpl_cli.core.io.devices import BF16, DTYPES, FLOAT32, make_generator
from mlrpl_cli.core.io.errors import RunError, first_few, memory_for
from mlrpl_cli.core.io.progress import Progress, Silent, Task
from mlrpl_cli.core.io.reading import relative_path
from mlrpl_cli.core.labels.records import TRAIN
from mlrpl_cli.core.labels.states import ABSENT, PRESENT
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.runs import checkpoint as checkpoints
from mlrpl_cli.core.runs import trained_on
from mlrpl_cli.core.runs.checkpoint import Checkpoint, RunInfo

INITIAL_IMAGES = 64
FITTING_LESS = (
    "this method needs all training images in memory at once: train on fewer, free some memory, or take --method sarl"
)
COMPUTING_LESS = "lower the batch size (--set batch_size=N) or the image size (--set image_size=N), or free some memory"

TEXT_TOLERANCE = {FLOAT32: 1e-3, BF16: 5e-2}
"""How far text features may be apart between machines, as a share of their norm, by the precision."""

EpochRow = dict[str, Any]
"""One epoch's figures: a line of metrics.jsonl."""


class Trainer:
    """The state of one training run, in one process: the learned parts, features, and the labels that may be seen."""

    def __init__(
        self,
        config: TrainConfig,
        prepared: Prepared,
        backbone: Backbone,
        features: FeaturesOfRun,
        images: Mapping[str, Tensor] | None = None,
        selecting: np.ndarray | None = None,
    ) -> None:
        """Of a resolved `config`.

        `images` are what checkpoints are to say of the images (`trained_on.image_tensors`): without them, nothing.
        `selecting`, (N,) bool, are the images of the split config.selection that select an epoch; by default all.
        Raises ConfigError for class names that no prompt can hold.
        """
        self.config, (self.features, self.selection) = config, features
        self.accelerator, rows = self.features.accelerator, prepared.rows(TRAIN)
        self.names = [prepared.images[row] for row in rows]
        self.labels = torch.from_numpy(prepared.observed_labels[rows]).to(self.accelerator.device)
        labels = evaluate.labels_of(prepared, config.selection)
        self.selection_labels = labels if selecting is None else labels[selecting]
        told: dict[str, Any] = {"data": str(prepared.folder.resolve()), "data_sha256": prepared.sha256}
        told["data_from_run"] = relative_path(prepared.folder, Path(config.run)) if config.run else None
        told |= {name: getattr(prepared, name) for name in ("dataset", "classes", "mask_sha256", "allow_truncated")}
        told |= {name: getattr(config, name) for name in ("method", "backbone", "image_size", "precision", "selection")}
        told["method_options"] = config.method_options
        told |= self._known_cells()
        told |= {"fingerprint": backbone.fingerprint, "backbone_record": dict(backbone.record)}
        self.info = RunInfo(**told, epoch=0, best_epoch=0, best_map=None)
        """What a checkpoint made at this moment says of itself."""
        self.trainable = make_trainable(backbone, config, prepared.classes).to(self.accelerator.device)
        self.loss, self.count = losses.make_loss(config), losses.make_count(config)
        self.images = dict(images or {})

    @memory_for(COMPUTING_LESS)
    def start(self, last: Checkpoint | None = None, progress: Progress | None = None) -> None:
        """Initialise a new recognizer from the class priors, or go on from the checkpoint `last`.

        What is fitted to all images at once is fitted here, in one process for all. Raises RunError when the features
        of the images that it is initialised on are NaN or infinite.
        """
        optimizer = torch.optim.AdamW(_optimizer_groups(self.trainable, self.config))
        if last is None:
            self._initialize_from_prior()
            self._fit(progress or Silent())
        else:
            checkpoints.restore(last, self.trainable, optimizer)
            self._check_text(last)
            done = {name: getattr(last.info, name) for name in ("epoch", "best_epoch", "best_map", "views_asked")}
            self.info, self.images = replace(self.info, **done), trained_on.joined(self.images, last.tensors)
        self.model, self.optimizer = self.accelerator.prepare(self.trainable, optimizer)

    def epochs(self, task: Task) -> Iterator[EpochRow]:
        """Train from the epoch after the last one done to the last one asked for; `info` is up to date at each row.

        Raises RunError at the first step whose loss is not finite, and after the last step of an epoch when something
        learned is not: no row and no checkpoint is made of such an epoch.
        """
        for epoch in range(self.info.epoch + 1, self.config.epochs + 1):
            started = time.perf_counter()
            loss = self._train_epoch(epoch, task)
            yield self._finish_epoch(epoch, loss, time.perf_counter() - started)

    @torch.no_grad()
    def checkpoint(self, with_optimizer: bool = False) -> Checkpoint:
        """A copy of everything learned, and of the optimizer's state so that training can go on from it.

        Raises RunError rather than hold a value that is NaN or infinite.
        """
        tensors = checkpoints.tensors_of(self.trainable, self.optimizer if with_optimizer else None)
        if broken := _not_finite(tensors):
            raise RunError(
                f"no checkpoint of epoch {self.info.epoch}: {first_few(broken)} hold NaN or infinite values; "
                "train again with a lower lr and context_lr, or with other weights"
            )
        return Checkpoint(self.info, {name: tensor.detach().clone() for name, tensor in tensors.items()} | self.images)

    @memory_for(COMPUTING_LESS)
    def _train_epoch(self, epoch: int, task: Task) -> float:
        """Mean loss of the epoch's batches, over all processes."""
        steps = self.features.steps_per_epoch
        total = torch.zeros((), device=self.accelerator.device)
        for step, (features, positions) in enumerate(self.features.epoch(epoch)):
            factor = schedule((epoch - 1) * steps + step, self.config.epochs * steps, self.config.warmup)
            for group in self.optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor
            # Over all processes, so that all of them stop where one has to.
            loss = self.accelerator.reduce(self._step(features, positions), "mean")
            shown = float(loss)
            if not math.isfinite(shown):
                raise RunError(f"step {step + 1} of epoch {epoch}: {self._failure(shown, features, positions)}")
            total += loss
            task.advance(epoch=epoch, loss=shown)
        if broken := _not_finite(self.trainable.learned() | checkpoints.optimizer_tensors(self.optimizer)):
            found = f"{first_few(broken)} became NaN or infinite"
            raise RunError(f"step {steps} of epoch {epoch}: {found}; {self._advice()}")
        return float(total) / steps

    def _step(self, features: ImageFeatures, positions: Tensor) -> Tensor:
        # Only several processes pad a batch. Padding is no image with unknown labels: no loss may see it.
        own = positions >= 0 if self.accelerator.num_processes > 1 else slice(None)
        labels = self.labels[positions[own]]
        count = self.accelerator.reduce(self.count(labels), "sum")
        recognition = self.model(features)
        trained = recognition.member_logits or (recognition.logits,)
        loss = torch.stack([self.loss(logits[own], labels, count) for logits in trained]).sum()
        # Data-parallel training averages gradients over processes, and this is a share of one sum: undo the average.
        loss = loss * self.accelerator.num_processes
        if loss.requires_grad:  # of a method that is fitted alone nothing is left to train
            self.optimizer.zero_grad()
            self.accelerator.backward(loss)
            self.optimizer.step()
        # NaN or infinite features spoil the weights even where no label is known and the loss is 0.
        return loss.detach() + 0 * sum(tensor.sum() for tensor in vars(features).values())

    @torch.no_grad()
    def _check_text(self, last: Checkpoint) -> None:
        """Raise RunError where the text encoder makes other features of the contexts than those that `last` holds.

        The fingerprint is of the image tower; this sees other weights, heads and tokens of the text tower.
        """
        expected, got = last.tensors[checkpoints.TEXT_FEATURES].float().cpu(), self.trainable.text_head().float().cpu()
        tolerance = TEXT_TOLERANCE[self.config.precision]
        if expected.shape != got.shape or (expected - got).norm() > tolerance * expected.norm():
            found = "the text encoder makes other features of the learned contexts than the run had"
            raise RunError(f"cannot go on: {found}; put the original backbone back, or start over with --fresh")

    def _finish_epoch(self, epoch: int, loss: float, seconds: float) -> EpochRow:
        map_ = self._selection_map()
        # Where no class has an AP there is nothing to select by, and the latest epoch is the best guess.
        if self.info.best_map is None or (map_ is not None and map_ > self.info.best_map):
            self.info = replace(self.info, best_epoch=epoch, best_map=map_)
        self.info = replace(self.info, epoch=epoch)
        return {
            "epoch": epoch,
            "loss": loss,
            "map": map_,
            "split": self.config.selection,
            "lr": self.optimizer.param_groups[0]["lr"],
            "seconds": seconds,
            "images_per_second": len(self.features.dataset) / seconds,
        }

    def _failure(self, loss: float, features: ImageFeatures, positions: Tensor) -> str:
        """Why the loss of this batch is not finite, as far as can be told, and what to try."""
        positions, sound = self.accelerator.gather((positions, are_finite(vars(features).values())))
        if spoilt := self._names(positions[~sound]):
            return _spoilt(spoilt)
        return f"the loss became {loss} on {first_few(self._names(positions))}; {self._advice()}"

    def _advice(self) -> str:
        config, other = self.config, " or with precision float32" if self.config.precision == BF16 else ""
        advice = f"train again with a lower lr and context_lr (now {config.lr:g} and {config.context_lr:g}){other}"
        return f"the last checkpoint holds epoch {self.info.epoch}; {advice}"

    def _known_cells(self) -> dict[str, Any]:
        """How many training images are known to show each class, and how many not to."""
        states = {"known_present": PRESENT, "known_absent": ABSENT}
        counts = {name: tuple((self.labels == state).sum(dim=0).tolist()) for name, state in states.items()}
        return {**counts, "training_images": len(self.labels), "learns_from_unknown": losses.takes_unknown(self.config)}

    def _names(self, positions: Tensor) -> list[str]:
        return [self.names[position] for position in positions.tolist()]

    def _selection_map(self) -> float | None:
        if not len(self.selection_labels):
            return None
        recognizer = self.trainable.eval().recognizer
        with torch.no_grad():
            textual = self.trainable.text_head()  # once, not for every batch
        probabilities = evaluate.score(lambda features: recognizer(features, textual), self.selection, Silent(), "")
        self.trainable.train()
        aps = metrics.average_precisions(probabilities, self.selection_labels)
        return metrics.or_none(metrics.mean_of_classes(aps))

    @torch.no_grad()
    def _initialize_from_prior(self) -> None:
        prior = class_priors(self.labels)
        sample = self.features.sample(INITIAL_IMAGES)
        if spoilt := self._names((~are_finite(vars(sample).values())).nonzero().flatten()):
            raise RunError(_spoilt(spoilt))
        self.trainable.recognizer.initialize_from_prior(sample, self.trainable.text_head(), prior)

    @torch.no_grad()
    @memory_for(FITTING_LESS)
    def _fit(self, progress: Progress) -> None:
        """What is fitted to all training images at once: in the first process, which tells the others."""
        for module in self.trainable.modules():
            if not isinstance(module, FittedRecognizer):
                continue
            with progress.task("reading all training images", len(self.features.dataset)) as task:
                described = self.features.collect(module.describe, task.advance)
            if spoilt := self._names((~are_finite(described)).nonzero().flatten()):
                raise RunError(_spoilt(spoilt))
            if self.accelerator.is_main_process:
                cells = losses.make_cells(self.config, self.labels)
                generator = make_generator(self.config.seed, "parts to hold out")
                with progress.task("fitting to known cells", module.fits, "fits") as task:
                    module.fit(described, cells, generator, task.advance)
            for buffer in module.buffers():
                broadcast(buffer)


def make_trainable(backbone: Backbone, config: TrainConfig, classes: Sequence[str]) -> TrainableRecognizer:
    """An untrained recognizer over `backbone`, its parameters drawn from config.seed."""
    text_encoder, generator = backbone.text_tower(), make_generator(config.seed, "initialisation")
    inputs = TextInputs(config, classes, text_encoder, backbone.tokenizer, generator)
    trainable = methods.build_trainable(inputs, backbone.channels, backbone.embed_dim)
    text_encoder.fold()
    text_encoder.to(DTYPES[config.precision])  # only now: what is read off it once was read in float32
    return trainable


def class_priors(labels: Tensor) -> Tensor:
    """(C,) in (0, 1): how probable each class is in an image, of training labels (N, C).

    (present + 1) / (present + absent + 2), but (present + 1) / (N + 2) for a class of which no cell is known to be
    absent: labels that name only what is there do not say where it is not, and most images do not show most classes.
    """
    present, absent = (labels == PRESENT).sum(dim=0), (labels == ABSENT).sum(dim=0)
    return (present + 1) / ((present + absent).where(absent > 0, len(labels)) + 2)


def schedule(step: int, steps: int, warmup: float) -> float:
    """Learning-rate factor in [0, 1]: linear from 0 over the first `warmup` share of the steps, then a cosine to 0."""
    rising = warmup * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(steps - rising, 1)))


def _optimizer_groups(trainable: TrainableRecognizer, config: TrainConfig) -> list[dict[str, Any]]:
    """The method's parameter groups as the optimizer takes them; each one's rate follows the schedule from its peak."""
    groups = methods.parameter_groups(trainable, config) or [ParameterGroup((), config.lr, 0.0)]
    return [
        {"params": group.parameters, "lr": group.lr, "peak_lr": group.lr, "weight_decay": group.weight_decay}
        for group in groups
    ]


def _spoilt(names: Sequence[str]) -> str:
    found = f"the backbone's features of {len(names)} images are NaN or infinite ({first_few(names)})"
    return f"{found}; use precision float32, or other weights"


def _not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    return [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
