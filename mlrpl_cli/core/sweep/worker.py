"""One process's share of a sweep: backbone, features and labels loaded once, then run after run."""

from __future__ import annotations

import platform
import time
from dataclasses import asdict, dataclass

import numpy as np
import torch

from mlrpl_cli import __version__
from mlrpl_cli.core.backbones.checkpoints import TINY, load_state
from mlrpl_cli.core.evaluation.evaluate import score
from mlrpl_cli.core.evaluation.localization import attention_inside, pointing_hits
from mlrpl_cli.core.evaluation.metrics import average_precisions
from mlrpl_cli.core.features.batches import cached
from mlrpl_cli.core.io.devices import make_accelerator
from mlrpl_cli.core.io.errors import MlrplError, one_line
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.prepared.build import hide_again
from mlrpl_cli.core.prepared.folder import read_prepared
from mlrpl_cli.core.runs.folder import Checkpoint
from mlrpl_cli.core.runs.head import TrainedHead
from mlrpl_cli.core.sweep.encoding import Encoded, Objects, learning_rows, load_objects
from mlrpl_cli.core.sweep.plan import RUN, Cell, Plan
from mlrpl_cli.core.sweep.results import Row, write_scores
from mlrpl_cli.core.training.assemble import assemble, training_rows
from mlrpl_cli.core.training.loop import Trainer


@dataclass(frozen=True)
class Shared:
    """What every run of a sweep needs; small, since it goes to each process."""

    plan: Plan
    encoded: Encoded


class Worker:
    """Runs the cells of a plan in this process."""

    def __init__(self, shared: Shared) -> None:
        self.plan = shared.plan
        config = self.plan.config
        self.prepared = read_prepared(self.plan.options.data)
        self.accelerator = make_accelerator(config.device)
        self.state = load_state(config.backbone or TINY)
        self.learning = shared.encoded.learning.found()
        self.test_order = cached(shared.encoded.test.found(), self.accelerator, config.batch_size)
        self.test_labels = self.prepared.full_labels[self.prepared.rows(TEST)]
        self.objects = load_objects(shared.encoded.objects) if shared.encoded.objects else None

    def run(self, cell: Cell) -> Row:
        """Train a cell and, unless it only tunes, test it. Raises MlrplError when it cannot be trained.

        What counts is the last epoch, since the grid has chosen how many there are; the epoch with the highest
        validation mAP is tested too.
        """
        started = time.perf_counter()
        trainer = self._trainer(cell)
        trainer.start()
        selected = trainer.checkpoint()
        log = []
        with Silent().task("", 0) as task:
            for row in trainer.epochs(task):
                log.append(row)
                if trainer.info.best_epoch == row["epoch"]:
                    selected = trainer.checkpoint()
        result: Row = {
            "key": self.plan.key(cell),
            **asdict(cell),
            "validation_map": log[-1]["map"],
            "learned_parameters": sum(p.numel() for p in trainer.trainable.learned().values()),
            "train_seconds": time.perf_counter() - started,
        }
        if cell.kind == RUN:
            result |= self._test(trainer.checkpoint(), result["key"])
            aps = average_precisions(self._scores(selected), self.test_labels)
            result |= {
                "selected_epoch": selected.info.epoch,
                "selected_map": float(np.nanmean(aps)),
                "dataset": self.prepared.dataset,
                "mask_sha256": trainer.info.mask_sha256,
                "fingerprint": self.plan.fingerprint,
                "config": asdict(cell.config(self.plan.config)),
                "versions": _versions(),
            }
        return result

    def _trainer(self, cell: Cell) -> Trainer:
        config = cell.config(self.plan.config)
        prepared = hide_again(self.prepared, cell.keep, cell.seed)
        learning = learning_rows(prepared)
        training, validation = (
            self.learning.subset(np.searchsorted(learning, rows).tolist())
            for rows in (training_rows(prepared), prepared.rows(config.selection))
        )
        features = (
            cached(training, self.accelerator, config.batch_size, config.seed),
            cached(validation, self.accelerator, config.batch_size),
        )
        return assemble(config, prepared, self.state, self.plan.fingerprint, features, self.accelerator)

    def _scores(self, checkpoint: Checkpoint) -> np.ndarray:
        return score(TrainedHead(checkpoint).to(self.accelerator.device), self.test_order, Silent(), "")

    def _test(self, checkpoint: Checkpoint, key: str) -> Row:
        started = time.perf_counter()
        probabilities = self._scores(checkpoint)
        write_scores(self.plan.options.out, key, probabilities)
        aps = average_precisions(probabilities, self.test_labels)
        figures: Row = {
            "map": float(np.nanmean(aps)),
            "average_precision": [None if np.isnan(ap) else float(ap) for ap in aps],
            "test_seconds": time.perf_counter() - started,
        }
        return figures if self.objects is None else figures | self._localization(checkpoint, self.objects)

    @torch.no_grad()
    def _localization(self, checkpoint: Checkpoint, objects: Objects) -> Row:
        """Where the attention of present classes lies, averaged over (image, class) pairs."""
        head = TrainedHead(checkpoint).to(self.accelerator.device)
        attention = torch.cat([head(features).attention.float().cpu() for features, _ in self.test_order]).numpy()
        side = int(attention.shape[-1] ** 0.5)
        maps = attention[objects.rows, objects.classes].reshape(-1, side, side)
        return {
            "pointing": float(pointing_hits(maps, objects.masks).mean()),
            "attention_inside": float(attention_inside(maps, objects.masks).mean()),
        }


def _versions() -> dict[str, str]:
    return {
        "mlrpl": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


_worker: Worker | None = None
_problem: str | None = None


def start_worker(shared: Shared, threads: int) -> None:
    """Make this process ready for `run_cell`. What goes wrong is kept for `start_problem`."""
    global _worker, _problem
    torch.set_num_threads(threads)
    try:
        _worker = Worker(shared)
    except MlrplError as error:
        _problem = str(error)
    except Exception as error:
        _problem = f"a process of the sweep cannot start: {type(error).__name__}: {one_line(error)}"


def start_problem() -> str | None:
    """Why this process cannot run any cell, in one line, or None."""
    return _problem


def run_cell(cell: Cell) -> Row:
    """The row of a cell, or one with "error" when it cannot be trained."""
    assert _worker is not None
    try:
        return _worker.run(cell)
    except MlrplError as error:
        return {"error": str(error)}
