"""Measure what a run's bits depend on besides its seed: threads, workers, precision, batch size and, if any, a GPU.

    python scripts/measure_determinism.py [BACKBONE]

A few dozen steps on rendered scenes, each line against the same run in float32 on one thread of the CPU.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlrpl_cli.core.backbones.tiny import TINY
from mlrpl_cli.core.config import LAST, TrainConfig
from mlrpl_cli.core.evaluation.evaluate import evaluate
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.labels.records import PrepareOptions
from mlrpl_cli.core.prepared.build import prepare
from mlrpl_cli.core.runs.checkpoint import OPTIMIZER, load_checkpoint
from mlrpl_cli.core.training.train import train

TRAIN_IMAGES, TEST_IMAGES, EPOCHS, BATCH = 160, 100, 6, 32
EVALUATED_IN = 32


@dataclass(frozen=True)
class Outcome:
    """What one run came to."""

    weights: dict[str, torch.Tensor]
    scores: np.ndarray
    """(N, C) test probabilities."""
    map: float


def main() -> None:
    backbone = sys.argv[1] if len(sys.argv) > 1 else TINY
    print(f"{backbone} on {processor()}, torch {torch.__version__}, sarl+, {EPOCHS} epochs of {TRAIN_IMAGES} scenes")
    print("| against float32, 1 thread, no worker, batches of 32 | largest weight difference | score | mAP points |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for what, outcome, reference in comparisons(backbone, Path(folder)):
            print(f"| {what} | {row(outcome, reference)} |", flush=True)


def processor() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else torch.backends.cpu.get_cpu_capability()


def comparisons(backbone: str, folder: Path) -> Iterator[tuple[str, Outcome, Outcome]]:
    """What was changed, the run it gave, and the run to compare it with."""
    reading = {"train_images": TRAIN_IMAGES, "test_images": TEST_IMAGES}
    data = prepare(PrepareOptions("scenes", out=folder / "data", reading=reading)).folder
    config = TrainConfig(
        data=str(data), backbone=backbone, epochs=EPOCHS, batch_size=BATCH, precision="float32", device="cpu", workers=0
    )
    reference = run(config, folder / "reference", threads=1)
    yield "the same again", run(config, folder / "again", threads=1), reference
    yield "2 workers", run(replace(config, workers=2), folder / "workers", threads=1), reference
    yield "2 threads", run(config, folder / "threads", threads=2), reference
    for size in (1, 7):
        yield f"evaluated in batches of {size}", rescored(folder / "reference", reference, size), reference
    yield "bf16", run(replace(config, precision="bf16"), folder / "bf16", threads=1), reference
    if torch.cuda.is_available():
        config = replace(config, device="cuda")
        first, second = (run(config, folder / f"cuda-{count}", threads=1) for count in (1, 2))
        yield "GPU", first, reference
        yield "GPU against itself", second, first


def run(config: TrainConfig, folder: Path, threads: int) -> Outcome:
    """Train with a feature cache of its own, so that the encoder computes in the same setting, and test."""
    torch.set_num_threads(threads)
    train(replace(config, run=str(folder), cache=str(folder / "features")))
    checkpoint = load_checkpoint(folder, LAST)
    weights = {name: tensor for name, tensor in checkpoint.tensors.items() if not name.startswith(OPTIMIZER)}
    return Outcome(weights, *tested(folder, EVALUATED_IN, config.device))


def rescored(folder: Path, trained: Outcome, batch_size: int) -> Outcome:
    torch.set_num_threads(1)
    return Outcome(trained.weights, *tested(folder, batch_size, "cpu"))


def tested(folder: Path, batch_size: int, device: str) -> tuple[np.ndarray, float]:
    options: dict[str, Any] = {"checkpoint": LAST, "batch_size": batch_size, "workers": 0, "device": device}
    result = evaluate(EvaluationOptions(folder, **options))
    return result.probabilities, 100 * result.metrics.mean_average_precision


def row(outcome: Outcome, reference: Outcome) -> str:
    """The largest differences; "same bits" where there is none."""
    weights = max(float((tensor - reference.weights[name]).abs().max()) for name, tensor in outcome.weights.items())
    scores = float(np.abs(outcome.scores - reference.scores).max())
    figures = [f"{figure:.1e}" if figure else "same bits" for figure in (weights, scores)]
    return " | ".join([*figures, f"{outcome.map - reference.map:+.3f}"])


if __name__ == "__main__":
    main()
