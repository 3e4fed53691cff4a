"""Measure what losses make of positives only, all of them or one an image, against all labels of scenes.

    python -m scripts.measure_positives [EPOCHS [FOLDER]]

Every image is encoded once, and once for all calls with the same FOLDER. Validation and test labels stay whole, so
that a loss can be chosen on the former.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mlrpl_cli.core.backbones.backbone import Backbone
from mlrpl_cli.core.backbones.frozen import make_encoder
from mlrpl_cli.core.backbones.registry import backbone_options, load_backbone
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.evaluation.evaluate import score
from mlrpl_cli.core.evaluation.metrics import compute_metrics
from mlrpl_cli.core.features.batches import CachedViews, cached
from mlrpl_cli.core.features.filler import CacheFiller
from mlrpl_cli.core.io.devices import make_accelerator
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.records import TEST, TRAIN, VALIDATION, PrepareOptions
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from mlrpl_cli.core.prepared.build import prepare
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.runs.checkpoint import TrainedHead
from mlrpl_cli.core.runs.options import resolve_config
from mlrpl_cli.core.scenes.rendering import SCENE_CLASSES
from mlrpl_cli.core.training.loop import Trainer

LEARNING_IMAGES, TEST_IMAGES, VALIDATION_FRACTION, EPOCHS, SEEDS = 600, 300, 0.25, 6, (0, 1, 2)


class Setting(NamedTuple):
    """What a line of the table is of."""

    labels: str
    loss: str
    unknown_weight: float = 1.0
    entropy_weight: float = 0.1

    @property
    def name(self) -> str:
        weights = {"an": f", weight {self.unknown_weight:.2g}", "em": f", α = {self.entropy_weight:g}"}
        return f"{self.labels} | `{self.loss}`{weights.get(self.loss, '')}"


ALL, POSITIVES, SINGLE = "all", "positives", "one positive an image"
WAN = 1 / (len(SCENE_CLASSES) - 1)
LOSSES: tuple[dict[str, Any], ...] = (
    {"loss": "asl"},
    *({"loss": "an", "unknown_weight": weight} for weight in (WAN, 0.2, 1.0)),
    *({"loss": "em", "entropy_weight": weight} for weight in (0.1, 0.2)),
)
SETTINGS = (Setting(ALL, "asl"), *(Setting(labels, **loss) for labels in (POSITIVES, SINGLE) for loss in LOSSES))


@dataclass(frozen=True)
class Bench:
    """Scenes with every image encoded: a run takes seconds."""

    prepared: Prepared
    config: TrainConfig
    backbone: Backbone
    features: dict[str, CachedViews]

    def run(self, setting: Setting, seed: int) -> tuple[float, ...]:
        """Validation mAP, test mAP, OF1 and CF1 (of CP, CR) above 0.5 of the last epoch, in percent."""
        options = setting._asdict() | {"seed": seed}
        labels = options.pop("labels")
        prepared = self.prepared if labels == ALL else HIDING[labels](self.prepared)
        config, accelerator = replace(self.config, **options), make_accelerator("cpu")
        training, validation, test = (
            cached(self.features[split], accelerator, config.batch_size, seed) for split in (TRAIN, VALIDATION, TEST)
        )
        trainer = Trainer(config, prepared, self.backbone, (training, validation))
        trainer.start()
        *_, last = trainer.epochs(Silent())
        scores = score(TrainedHead(trainer.checkpoint()), test, Silent(), "")
        found = compute_metrics(scores, prepared.full_labels[prepared.rows(TEST)])
        above = found.at_threshold
        figures = last["map"] or np.nan, found.mean_average_precision, above.of1, above.cf1_of_means
        return tuple(100 * figure for figure in figures)


def main() -> None:
    torch.set_num_threads(1)
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else EPOCHS
    with tempfile.TemporaryDirectory() as temporary:
        bench = make_bench(Path(sys.argv[2] if len(sys.argv) > 2 else temporary), epochs)
        counts = [len(bench.prepared.rows(split)) for split in (TRAIN, VALIDATION, TEST)]
        processor, classes = torch.backends.cpu.get_cpu_capability(), len(bench.prepared.classes)
        setting = f"{bench.config.backbone} on {processor}, 1 thread, torch {torch.__version__}"
        print(f"{setting}, {bench.config.method}, {epochs} epochs;")
        print(f"{classes} classes, images {counts} (training, validation, test); mean ± deviation of seeds {SEEDS}\n")
        print("| training labels | loss | validation mAP | test mAP | OF1, p > 0.5 | CF1, p > 0.5 |")
        print("|---|---|---|---|---|---|")
        for line in lines(bench):
            print(line, flush=True)


def lines(bench: Bench) -> Iterator[str]:
    for setting in SETTINGS:
        found = np.array([bench.run(setting, seed) for seed in SEEDS])
        figures = [
            f"{mean:.1f} ± {deviation:.1f}"
            for mean, deviation in zip(found.mean(axis=0), found.std(axis=0, ddof=1), strict=True)
        ]
        yield f"| {' | '.join([setting.name, *figures])} |"


def make_bench(folder: Path, epochs: int) -> Bench:
    reading = {"train_images": LEARNING_IMAGES, "test_images": TEST_IMAGES}
    options = PrepareOptions("scenes", 1.0, 0, folder / "data", VALIDATION_FRACTION, reading=reading)
    prepared = prepare(options)
    asked = TrainConfig(epochs=epochs, device="cpu", workers=0, cache=str(folder / "features"))
    config = resolve_config(asked, prepared)
    backbone = load_backbone(backbone_options(config))
    encoder = make_encoder(backbone, config.image_size or 0, torch.device("cpu"), config.precision)
    filler = CacheFiller(encoder, config, make_accelerator("cpu"), Silent())
    views = {TRAIN: config.views, VALIDATION: 1, TEST: 1}
    features = {split: filler.fill(prepared.paths(prepared.rows(split)), count) for split, count in views.items()}
    return Bench(prepared, config, backbone, features)


def without_absent(prepared: Prepared) -> Prepared:
    """`prepared` with every absent training label unknown."""
    observed, rows = prepared.observed_labels.copy(), prepared.rows(TRAIN)
    observed[rows] = np.where(observed[rows] == ABSENT, UNKNOWN, observed[rows])
    return replace(prepared, observed_labels=observed)


def with_one_positive(prepared: Prepared) -> Prepared:
    """`prepared` with one present label, drawn evenly, of each training image known; images without any know nothing.

    The setting of single positive multi-label learning (Cole et al., CVPR 2021).
    """
    observed, rows = prepared.observed_labels.copy(), prepared.rows(TRAIN)
    present = observed[rows] == PRESENT
    draws = np.where(present, np.random.default_rng(0).random(present.shape), -1)
    drawn = present & (np.arange(present.shape[1]) == draws.argmax(axis=1)[:, None])
    observed[rows] = np.where(drawn, PRESENT, UNKNOWN)
    return replace(prepared, observed_labels=observed)


HIDING = {POSITIVES: without_absent, SINGLE: with_one_positive}

if __name__ == "__main__":
    main()
