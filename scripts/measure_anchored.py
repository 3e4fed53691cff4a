"""Measure what `anchored` is made of, on photographs and on scenes: python -m scripts.measure_anchored ROOT

ROOT holds VOCdevkit/VOC2007 and folds.csv (id, fold): photographs with lite, each scored by what was fitted to the
known cells of the other folds. Scenes are those of seed 0 with tiny, whose test images are scored. Figures are mAP in
percent at 10% and 50% known, over masks of three seeds; photographs count classes with at least ten positives.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mlrpl_cli.core.backbones.backbone import BackboneOptions
from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.backbones.frozen import make_encoder
from mlrpl_cli.core.backbones.registry import describe, load_backbone
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.evaluation.metrics import average_precisions, mean_of_classes
from mlrpl_cli.core.features.batches import encoded
from mlrpl_cli.core.heads.class_semantics import template_features
from mlrpl_cli.core.heads.fitted import map_estimate
from mlrpl_cli.core.heads.fitted.anchored import AnchoredClassifier, content
from mlrpl_cli.core.heads.losses import make_cells
from mlrpl_cli.core.heads.text_inputs import TextInputs
from mlrpl_cli.core.io.devices import make_accelerator
from mlrpl_cli.core.labels.formats.published.voc import CLASSES
from mlrpl_cli.core.labels.masks import known_mask
from mlrpl_cli.core.labels.records import TEST, TRAIN, PrepareOptions
from mlrpl_cli.core.labels.states import UNKNOWN
from mlrpl_cli.core.prepared.build import prepare
from scripts.measure_lite import counting, read

KEEPS, SEEDS, BATCH = (0.1, 0.5), (0, 1, 2), 32
SCORES = ("image", "regions")


class Ground(NamedTuple):
    """Images, what is known of them, and which of them are scored by what was fitted to which others."""

    scores: Tensor
    """(N, C, 2)"""
    contents: dict[str, Tensor]
    """(N, D) of each kind."""
    labels: np.ndarray
    """(N, C) label states."""
    turns: list[tuple[np.ndarray, np.ndarray]]
    """(N,) bool each: fitted to, scored."""
    counted: np.ndarray
    """(C,) bool"""


class Form(NamedTuple):
    """A form of the classifier."""

    content: str | None = "strongest"
    """None corrects nothing."""
    scores: tuple[str, ...] = SCORES
    precision: float | None = None
    """λ; None chooses it."""
    priors: Mapping[str, object] = MappingProxyType({})
    """Of `map_estimate`'s constants, those that are others."""


FORMS = {
    "zero-shot scores alone, trusted as known cells say": Form(content=None),
    "**as chosen**": Form(),
    "the image's score alone": Form(scores=("image",)),
    "the regions' score alone": Form(scores=("regions",)),
    "no score: a linear classifier": Form(scores=()),
    "content: the mean over positions": Form("mean"),
    "content: the generalised mean of power 3": Form("generalised mean"),
    "content: CLIP's pooled vector": Form("pooled"),
    "a trust of each class (κ = 3)": Form(priors={"OF_TRUST": 3.0}),
    "a freer bias (ρ = 0.1)": Form(priors={"OF_BIAS": 0.1}),
    **{f"λ = {value:g}": Form(precision=value) for value in map_estimate.PRECISIONS},
}


def main(root: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        grounds = photographs(root), scenes(Path(folder))
    print("| form | photographs, 10% | 50% | scenes, 10% | 50% |\n|---|---|---|---|---|")
    for name, form in FORMS.items():
        found = [measured(ground, form, keep) for ground in grounds for keep in KEEPS]
        print(f"| {name} | {' | '.join(f'{100 * value:.1f}' for value in found)} |", flush=True)


def photographs(root: Path) -> Ground:
    found = read(root)
    turns = [(found.fold != fold, found.fold == fold) for fold in np.unique(found.fold)]
    described = described_by("lite", found.paths, CLASSES)
    return Ground(*described, found.labels, turns, counting(found))


def scenes(folder: Path) -> Ground:
    prepared = prepare(PrepareOptions("scenes", keep=1.0, out=folder / "scenes"))
    splits = np.array(prepared.splits)
    described = described_by("tiny", prepared.paths(np.arange(len(splits))), prepared.classes)
    counted = np.ones(len(prepared.classes), bool)
    turns = [(splits == TRAIN, splits == TEST)]
    return Ground(*described, prepared.full_labels, turns, counted)


@torch.no_grad()
def described_by(name: str, paths: list[Path], classes: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
    options = BackboneOptions(name)
    backbone, size = load_backbone(options), describe(options).defaults.image_size
    inputs = TextInputs(TrainConfig(), classes, backbone.text_tower(), backbone.tokenizer, torch.Generator())
    classifier = AnchoredClassifier(template_features(inputs), backbone.channels)
    accelerator = make_accelerator("cpu")
    encoder = make_encoder(backbone, size, accelerator.device, "float32")

    def said(features: ImageFeatures) -> list[Tensor]:
        scores, strongest = classifier.describe(features)
        mean = content(features.grid.mean(dim=1, keepdim=True))
        cubes = features.grid.float().clamp(min=0).pow(3).mean(dim=1, keepdim=True)
        return [scores, strongest, mean, content(cubes ** (1 / 3)), F.normalize(features.pooled, dim=-1)]

    scores, *contents = encoded(encoder, paths, accelerator, BATCH, None).collect(said)
    return scores, dict(zip(("strongest", "mean", "generalised mean", "pooled"), contents, strict=True))


def measured(ground: Ground, form: Form, keep: float) -> float:
    """mAP in [0, 1], the mean over masks."""
    found = []
    for seed in SEEDS:
        images, classes = ground.labels.shape
        known = np.where(known_mask(images, classes, keep, seed), ground.labels, UNKNOWN)
        logits = np.full(ground.labels.shape, np.nan, np.float32)
        for learn, rest in ground.turns:
            logits[rest] = scored(ground, form, known, learn, rest)
        some = ~np.isnan(logits[:, 0])
        found.append(mean_of_classes(average_precisions(logits[some], ground.labels[some])[ground.counted]))
    return float(np.mean(found))


def scored(ground: Ground, form: Form, known: np.ndarray, learn: np.ndarray, rest: np.ndarray) -> np.ndarray:
    contents = ground.contents[form.content or "strongest"]
    classifier = AnchoredClassifier(torch.zeros(ground.labels.shape[1], 1), contents.shape[1])
    used = torch.tensor([float(name in form.scores) for name in SCORES])
    described = ground.scores * used, contents * float(form.content is not None)
    cells = make_cells(TrainConfig(loss="bce"), torch.from_numpy(known[learn]))
    others = dict(form.priors) | ({} if form.precision is None else {"PRECISIONS": (form.precision,)})
    with patch.dict(vars(map_estimate), others):
        classifier.fit([of[learn] for of in described], cells, torch.Generator().manual_seed(0))
    return classifier.logits(*(of[rest] for of in described)).numpy()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
