"""One process's share of a sweep: backbone, features and labels loaded once, then run after run."""

from __future__ import annotations

import time
from dataclasses import asdict
from platform import python_version

import numpy as np
import torch

from mlrpl_cli import __version__
from mlrpl_cli.core.backbones.registry import backbone_options, load_backbone
from mlrpl_cli.core.evaluation.evaluate import score
from mlrpl_cli.core.evaluation.localization import attention_inside, pointing_hits
from mlrpl_cli.core.evaluation.metrics import average_precisions, mean_of_classes, or_none
from mlrpl_cli.core.features.batches import cached
from mlrpl_cli.core.io.devices import make_accelerator
from mlrpl_cli.core.io.errors import MlrplError, one_line
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.records import TEST, TRAIN
from mlrpl_cli.core.prepared.build import hide_again
from mlrpl_cli.core.prepared.folder import read_prepared
from mlrpl_cli.core.runs.checkpoint import Checkpoint, TrainedHead
from mlrpl_cli.core.sweep.code import code_sha256
from mlrpl_cli.core.sweep.data import SweepData
from mlrpl_cli.core.sweep.encoding import Shared, learning_rows, load_objects
from mlrpl_cli.core.sweep.plan import RUN, Cell
from mlrpl_cli.core.sweep.results import Row, write_scores
from mlrpl_cli.core.training.loop import Trainer

_VERSIONS = {"mlrpl": __version__, "torch": torch.__version__, "numpy": np.__version__, "python": python_version()}


class Worker:
    """Runs the cells of a plan in this process."""

    def __init__(self, shared: Shared) -> None:
        self.plan = shared.plan
        config = self.plan.config
        self.data = SweepData(read_prepared(self.plan.options.data), self.plan.data_sha256, shared.kept)
        self.accelerator = make_accelerator(config.device)
        self.backbone = load_backbone(backbone_options(config))
        self.learning = shared.learning.found()
        self.test_images = cached(shared.test.found(), self.accelerator, config.batch_size)
        self.test_labels = self.data.prepared.full_labels[self.data.rows(TEST)]
        self.objects = load_objects(shared.objects) if shared.objects else None

    def run(self, cell: Cell) -> Row:
        """Train a cell and, unless it only tunes, test it. Raises MlrplError when it cannot be trained.

        What counts is the last epoch, since the grid has chosen how many there are; the epoch with the highest
        validation mAP is tested too.
        """
        started = time.perf_counter()
        trainer = self._trainer(cell)
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
            "learned_parameters": sum(p.numel() for p in trainer.trainable.learned().values()),
            "train_seconds": time.perf_counter() - started,
        }
        if cell.kind != RUN:
            return row
        return {
            **row,
            **self._test(trainer.checkpoint(), row["key"]),
            "selected_epoch": selected.info.epoch,
            "selected_map": mean_of_classes(average_precisions(self._scores(TrainedHead(selected)), self.test_labels)),
            "test_images": len(self.test_labels),
            "test_copies": len(self.data.prepared.rows(TEST)) - len(self.test_labels),
            "dataset": self.data.prepared.dataset,
            "mask_sha256": trainer.info.mask_sha256,
            "fingerprint": self.plan.fingerprint,
            "tuned": self.plan.options.tune,
            "config": asdict(cell.config(self.plan.config)),
            "versions": _VERSIONS,
        }

    def _trainer(self, cell: Cell) -> Trainer:
        config = cell.config(self.plan.config)
        prepared = hide_again(self.data.prepared, cell.keep, cell.seed)
        learning = learning_rows(prepared)
        training, validation = (
            self.learning.subset(np.searchsorted(learning, rows).tolist())
            for rows in (prepared.rows(TRAIN), self.data.rows(config.selection))
        )
        seen = cached(training, self.accelerator, config.batch_size, config.seed)
        features = seen, cached(validation, self.accelerator, config.batch_size)
        selecting = self.data.kept[prepared.rows(config.selection)]
        return Trainer(config, prepared, self.backbone, features, selecting=selecting)

    def _scores(self, head: TrainedHead) -> np.ndarray:
        return score(head.to(self.accelerator.device), self.test_images, Silent(), "")

    def _test(self, checkpoint: Checkpoint, key: str) -> Row:
        started = time.perf_counter()
        head = TrainedHead(checkpoint)
        probabilities = self._scores(head)
        write_scores(self.plan.options.out, key, probabilities)
        aps = average_precisions(probabilities, self.test_labels)
        figures = {
            "map": mean_of_classes(aps),
            "average_precision": [or_none(ap) for ap in aps.tolist()],
            "test_seconds": time.perf_counter() - started,
        }
        return figures | (self._localization(head, *self.objects) if self.objects else {})

    @torch.no_grad()
    def _localization(self, head: TrainedHead, rows: np.ndarray, classes: np.ndarray, masks: np.ndarray) -> Row:
        """Where the attention of present classes lies, averaged over (image, class) pairs."""
        attention = torch.cat([head(features).attention.float().cpu() for features, _ in self.test_images]).numpy()
        side = int(attention.shape[-1] ** 0.5)
        maps = attention[rows, classes].reshape(-1, side, side)
        return {
            "pointing": float(pointing_hits(maps, masks).mean()),
            "attention_inside": float(attention_inside(maps, masks).mean()),
        }


_worker: Worker | str = "it was not started"
"""This process's own, or why there is none."""


def start_worker(shared: Shared, threads: int) -> None:
    """Make this process ready for `run_cell`. What goes wrong is kept for `start_problem`."""
    global _worker
    torch.set_num_threads(threads)
    try:
        _worker = Worker(shared)
    except Exception as error:
        told = f"a process of the sweep cannot start: {type(error).__name__}: {one_line(error)}"
        _worker = str(error) if isinstance(error, MlrplError) else told


def start_problem() -> str | None:
    """Why this process cannot run any cell, in one line, or None."""
    return _worker if isinstance(_worker, str) else None


def run_cell(cell: Cell) -> Row:
    """The row of a cell, or one with "error" when it cannot be trained."""
    if isinstance(_worker, str):  # a process of the pool that was still starting when the others were asked
        return {"error": _worker}
    try:
        return _worker.run(cell)
    except MlrplError as error:
        return {"error": str(error)}
