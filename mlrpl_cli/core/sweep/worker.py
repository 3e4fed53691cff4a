"""One process's share of a sweep: backbone, features and labels loaded once, then run after run."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from platform import python_version

import numpy as np
import torch

from mlrpl_cli import __version__
from mlrpl_cli.core.backbones.registry import backbone_options, load_backbone
from mlrpl_cli.core.cluster.connection import Folder, check_version
from mlrpl_cli.core.evaluation.evaluate import score
from mlrpl_cli.core.evaluation.localization import attention_inside, pointing_hits
from mlrpl_cli.core.features.batches import CachedViews, FeatureBatches, cached
from mlrpl_cli.core.io.devices import make_accelerator
from mlrpl_cli.core.io.errors import MlrplError, RunError, one_line
from mlrpl_cli.core.io.own_process import own_process
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.records import TEST, TRAIN, VALIDATION
from mlrpl_cli.core.prepared.build import hide_again
from mlrpl_cli.core.prepared.held_out import HeldOut, part_of
from mlrpl_cli.core.runs.checkpoint import Checkpoint, TrainedHead
from mlrpl_cli.core.sweep.code import code_sha256
from mlrpl_cli.core.sweep.encoding import Objects, Shared, load_objects, views_here
from mlrpl_cli.core.sweep.folds.joining import figures_of
from mlrpl_cli.core.sweep.plan import FOLD, TUNING, Cell
from mlrpl_cli.core.sweep.results import Row
from mlrpl_cli.core.training.loop import Trainer

_VERSIONS = {"mlrpl": __version__, "torch": torch.__version__, "numpy": np.__version__, "python": python_version()}


@dataclass(frozen=True)
class Done:
    """What a cell came to."""

    row: Row = field(default_factory=dict)
    scores: np.ndarray | None = None
    """(N, C) float32 test probabilities; None for a cell that only tunes."""
    error: str | None = None
    """Why it has no row."""

    @classmethod
    def failed(cls, error: BaseException) -> Done:
        """What ended this one ends no other, whatever it is."""
        told = one_line(error)
        return cls(error=told if isinstance(error, MlrplError) else f"{type(error).__name__}: {told}")


class Worker:
    """Runs the cells of a plan in this process."""

    def __init__(self, shared: Shared, objects: Objects | None = None, encoding: bool = False) -> None:
        """`objects` are what the file `shared.objects` holds, where another machine read it.

        With `encoding`, features that this machine's cache lacks are encoded.
        """
        self.plan = shared.plan
        config = self.plan.config
        self.data = shared.data
        self.accelerator = make_accelerator(config.device)
        self.backbone = load_backbone(backbone_options(config))
        found = views_here(shared, self.backbone) if encoding else (shared.learning.found(), shared.scored.found())
        self.learning, self.scored = found
        self.objects = load_objects(shared.objects) if shared.objects and objects is None else objects

    def run(self, cell: Cell) -> Done:
        """Train a cell and, unless it only tunes, test it. Raises MlrplError when it cannot be trained.

        What counts is the last epoch, since the grid has chosen how many there are; the epoch with the highest
        validation mAP is tested too.
        """
        started = time.perf_counter()
        sides = self.data.sides(cell.fold, tuning=cell.kind == TUNING)
        trainer = self._trainer(cell, sides)
        trainer.start()
        selected = trainer.checkpoint()
        for epoch in trainer.epochs(Silent()):
            if trainer.info.best_epoch == epoch["epoch"]:
                selected = trainer.checkpoint()
        row: Row = {
            "key": self.plan.key(cell),
            **cell.row(),
            "setting": self.plan.setting_key(cell),
            "code": code_sha256(cell.method, cell.loss),
            "data_sha256": self.plan.data_sha256,
            "validation_map": epoch["map"],
            "learned_parameters": trainer.trainable.learned_count,
            "train_seconds": time.perf_counter() - started,
        }
        if cell.kind == TUNING:
            return Done(row)
        figures, scores = self._test(cell, sides.test, trainer.checkpoint(), selected)
        row |= {
            **figures,
            "test_images": len(sides.test),
            "test_copies": 0 if cell.kind == FOLD else len(self.data.prepared.rows(TEST)) - len(sides.test),
            "dataset": self.data.prepared.dataset,
            "mask_sha256": trainer.info.mask_sha256,
            "fingerprint": self.plan.fingerprint,
            "config": asdict(cell.config(self.plan.config)),
            "versions": _VERSIONS,
        }
        return Done(row, scores)

    def _trainer(self, cell: Cell, sides: HeldOut) -> Trainer:
        """It is handed the training and validation images alone, so that no label of another can reach it."""
        config = cell.config(self.plan.config)
        hidden = hide_again(self.data.prepared, cell.keep, cell.seed)
        prepared = part_of(hidden, {TRAIN: sides.training, VALIDATION: sides.validation})
        training, validation = (
            self.learning.subset(np.searchsorted(self.data.learning, rows).tolist())
            for rows in (sides.training, sides.validation)
        )
        seen = cached(training, self.accelerator, config.batch_size, config.seed)
        return Trainer(config, prepared, self.backbone, (seen, self._plain(validation)))

    def _plain(self, images: CachedViews) -> FeatureBatches:
        return cached(images, self.accelerator, self.plan.config.batch_size)

    def _test(self, cell: Cell, rows: np.ndarray, last: Checkpoint, selected: Checkpoint) -> tuple[Row, np.ndarray]:
        """What is measured on the images of `rows`, and their scores; of a fold these alone, to be joined."""
        started = time.perf_counter()
        images = self._plain(self.scored.subset(np.searchsorted(self.data.scored, rows).tolist()))
        head = TrainedHead(last)
        probabilities = self._scores(head, images)
        if cell.kind == FOLD:
            return {"test_seconds": time.perf_counter() - started}, probabilities
        labels, least = self.data.prepared.full_labels[rows], self.plan.options.least
        figures = figures_of(probabilities, labels, self.data.prepared.classes, least)
        figures["test_seconds"] = time.perf_counter() - started
        of_selected = figures_of(self._scores(TrainedHead(selected), images), labels, self.data.prepared.classes, least)
        figures |= {"selected_epoch": selected.info.epoch, "selected_map": of_selected["map"]}
        figures |= self._localization(head, images, *self.objects) if self.objects else {}
        return figures, probabilities

    def _scores(self, head: TrainedHead, images: FeatureBatches) -> np.ndarray:
        return score(head.to(self.accelerator.device), images, Silent(), "")

    @torch.no_grad()
    def _localization(
        self, head: TrainedHead, images: FeatureBatches, rows: np.ndarray, classes: np.ndarray, masks: np.ndarray
    ) -> Row:
        """Where the attention of present classes lies, averaged over (image, class) pairs."""
        attention = torch.cat([head(features).attention.float().cpu() for features, _ in images]).numpy()
        side = int(attention.shape[-1] ** 0.5)
        maps = attention[rows, classes].reshape(-1, side, side)
        return {
            "pointing": float(pointing_hits(maps, masks).mean()),
            "attention_inside": float(attention_inside(maps, masks).mean()),
        }


_worker: Worker | str = "it was not started"
"""This process's own, or why there is none."""
_job: str | None = None
"""The sweep that `begin_once` made it ready for."""


def start_worker(shared: Shared, threads: int, objects: Objects | None = None, encoding: bool = False) -> None:
    """Make this process ready for `run_cell`, as `Worker`. What goes wrong is kept for `start_problem`."""
    global _worker
    torch.set_num_threads(threads)
    try:
        _worker = Worker(shared, objects, encoding)
    except Exception as error:
        told = f"a process of the sweep cannot start: {type(error).__name__}: {one_line(error)}"
        _worker = str(error) if isinstance(error, MlrplError) else told


def start_problem() -> str | None:
    """Why this process cannot run any cell, in one line, or None."""
    return _worker if isinstance(_worker, str) else None


def begin_once(job: str, version: str, folder: Folder, shared: Shared, objects: Objects | None, threads: int) -> None:
    """Make this process of a cluster ready for `run_cell`, unless it is for this job. Raises RunError where it cannot.

    Features that this machine's cache lacks are encoded here. `version` is the command's.
    """
    global _job
    if _job == job:
        return
    check_version(version)
    own_process()
    folder.enter()
    start_worker(shared, threads, objects, encoding=True)
    if problem := start_problem():
        raise RunError(problem)
    _job = job


def run_cell(cell: Cell) -> Done:
    """What a cell comes to; what it raises is of this one alone."""
    if isinstance(_worker, str):  # a process of the pool that was still starting when the others were asked
        return Done(error=_worker)
    try:
        return _worker.run(cell)
    except Exception as error:
        return Done.failed(error)
