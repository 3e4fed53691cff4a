"""Measure whether training on completed labels helps: mAP of the images that nobody filled.

    python -m scripts.measure_completed ROOT [FOLDER]

The images, classifiers and three draws of what is known are those of `scripts.measure_checking`, without wrong labels.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from mlrpl_cli.core.curation.calibrating import calibrated_logits
from mlrpl_cli.core.curation.completing.filling import fill
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from scripts.measure_checking import EVEN, SEEDS, Ground, photographs, scenes, spread, trained, turn

KEEPS, PRECISION, CONFIDENCE = (0.1, 0.3, 0.5), 0.95, 0.95


def main(root: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    columns = ("images", "known", "filled", "mAP as given", "completed", "difference", "all known")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for name, ground in (("scenes", scenes(folder)), ("photographs", photographs(root, folder))):
        for keep in KEEPS:
            found = np.array([gained(ground, keep, seed, folder) for seed in SEEDS])
            print(f"| {name} | {keep:.0%} | {' | '.join(map(spread, found.T))} |", flush=True)


def gained(ground: Ground, keep: float, seed: int, folder: Path) -> list[float]:
    """In percent: unknown cells that are filled, and mAP of given labels, of completed ones, the difference, of all."""
    test = ground.tests[seed]
    learning, testing = ground.of(~test), ground.of(test)
    scored = turn(learning, keep, EVEN[0], seed, folder).scored
    filling = fill(calibrated_logits(scored), scored.labels, dict.fromkeys((PRESENT, ABSENT), PRECISION), CONFIDENCE)
    completed = np.where(scored.known, scored.labels, filling.states).astype(np.int8)
    ways = (scored.labels, completed, learning.labels.astype(np.int8))
    given, filled, every = (100 * trained(learning, labels, testing) for labels in ways)
    share = 100 * (filling.states != UNKNOWN).sum() / (~scored.known).sum()
    return [float(share), given, filled, filled - given, every]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else temporary))
