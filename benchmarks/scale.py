"""`prepare`, the figures of `eval` and those of a sweep at the size of COCO 2014 and beyond, on made-up annotations."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from pycocotools.coco import COCO
from sklearn.metrics import average_precision_score

from benchmarks.curation import curation_rows
from benchmarks.measure import GIB, Part, Promise, Row, in_fresh_process, interleaved, measure
from benchmarks.openimages import openimages_rows
from mlrpl_cli.core.evaluation.comparison import RESAMPLES, resample_weights, resampled_maps
from mlrpl_cli.core.evaluation.metrics import average_precisions, compute_metrics
from mlrpl_cli.core.prepared.build import PrepareOptions, prepare

# COCO 2014, instances: images and annotations of each part.
PARTS = {"train": (82_783, 604_907), "val": (40_504, 291_875)}
CATEGORIES = 80
CPU = torch.device("cpu")


def prepare_rows() -> Iterator[Row]:
    """`prepare` beside pycocotools' own load of the same two files, at 1, 2 and 4 times COCO's size."""
    for factor in (1, 2, 4):
        build = partial(prepare_part, factor)
        part = build(CPU)  # writes the files, so that no measured process does
        (memory, seconds), (other_memory, other) = (in_fresh_process(build, which) for which in ("ours", "other"))
        if factor == 1:
            seconds, other = measure(part, CPU)
        yield Row(
            f"prepare-{factor}x",
            "pycocotools' load",
            Promise(ratio=1 / 1.3, bytes=3 * GIB) if factor == 1 else Promise(),
            seconds,
            other,
            memory=memory,
            other_memory=other_memory,
            note=f"{factor} x (82,783 + 40,504) images, 80 classes" + (", one run" if factor > 1 else ""),
        )
        shutil.rmtree(_root(factor))


def metrics_rows() -> Iterator[Row]:
    """Every figure of `eval` beside scikit-learn's average precision alone, over 40,504 x 80 scores and multiples."""
    for factor in (1, 2, 4):
        probabilities, labels = _scores(factor * PARTS["val"][0])

        def ours(p: np.ndarray = probabilities, y: np.ndarray = labels) -> object:
            return compute_metrics(p, y)

        def other(p: np.ndarray = probabilities, y: np.ndarray = labels) -> np.ndarray:
            return np.array([average_precision_score(y[:, c] == 1, p[:, c]) for c in range(CATEGORIES)])

        seconds, reference = interleaved([ours, other], 3, CPU)
        error = float(np.abs(average_precisions(probabilities, labels) - other()).max())
        note = f"all figures against AP alone, {factor} x 40,504 images"
        promise = Promise(seconds=1.0, error=1e-9) if factor == 1 else Promise()
        yield Row(f"metrics-{factor}x", "scikit-learn", promise, seconds, reference, error=error, note=note)


def resample_rows() -> Iterator[Row]:
    """The resampled average precision of one class of one run, as a sweep's report needs it 80 x 243 times."""
    part = resample_part(CPU)
    (memory, _), (other_memory, _) = (in_fresh_process(resample_part, which) for which in ("ours", "other"))
    seconds, other = measure(part, CPU)
    yield Row(
        "resample",
        "cumulative sums of all images",
        Promise(ratio=10, seconds=0.1, bytes=GIB / 4, error=1e-9),
        seconds,
        other,
        memory=memory,
        other_memory=other_memory,
        error=float(np.abs(part.ours() - part.other()).max()),
        note=f"a class, 40,504 images, 1,000 resamples; 80 classes x 243 runs: {80 * 243 * seconds / 60:.0f} minutes",
    )


SCALE = {
    "prepare": prepare_rows,
    "openimages": openimages_rows,
    "metrics": metrics_rows,
    "resample": resample_rows,
    "curation": curation_rows,
}


def prepare_part(factor: int, device: torch.device) -> Part:
    """`prepare` and pycocotools' load of the same files, which are written when they are not there."""
    root = _make_coco(factor)
    out = root / "prepared"

    def ours() -> None:
        prepare(PrepareOptions(dataset="coco", out=out, reading={"root": root}))

    def other() -> None:
        for name in PARTS:
            with contextlib.redirect_stdout(io.StringIO()):
                COCO(str(root / "annotations" / f"instances_{name}2014.json"))

    return Part(ours, other)


def resample_part(device: torch.device) -> Part:
    """One class with the weights of 1,000 resamples; the other sums them up over all images, for each resample."""
    scores, labels = (values[:, :1] for values in _scores(PARTS["val"][0]))
    scores = scores.argsort(axis=0).argsort(axis=0)  # ranks, none of them equal: the other knows no equal scores
    weights = resample_weights(len(scores), RESAMPLES)

    def ours() -> np.ndarray:
        return resampled_maps(scores, labels, weights)

    def other() -> np.ndarray:
        order = np.argsort(-scores[:, 0], kind="stable")
        hits, drawn = labels[order, 0] == 1, weights[:, order].astype(np.float64)
        found, claims = np.cumsum(drawn * hits, axis=1), np.cumsum(drawn, axis=1)
        return (drawn * hits * found / np.maximum(claims, 1)).sum(axis=1) / found[:, -1]

    return Part(ours, other, rounds=1)


def _root(factor: int) -> Path:
    return Path(tempfile.gettempdir()) / f"mlrpl-bench-coco-{factor}x"


def _make_coco(factor: int) -> Path:
    """Annotation files with polygons, as large as the published ones, and empty files for the images."""
    root = _root(factor)
    if (root / "complete").is_file():
        return root
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(0)
    for name, (images, boxes) in PARTS.items():
        folder = root / f"{name}2014"
        folder.mkdir(exist_ok=True)
        ids = range(1, factor * images + 1)
        listed = [
            {"id": i, "file_name": f"COCO_{name}2014_{i:012d}.jpg", "width": 640, "height": 480, "license": 1}
            for i in ids
        ]
        for image in listed:
            (folder / str(image["file_name"])).touch()
        _write_annotations(root / "annotations" / f"instances_{name}2014.json", listed, factor * boxes, random)
    (root / "complete").touch()
    return root


def _write_annotations(path: Path, images: list[dict], count: int, random: np.random.RandomState) -> None:
    owners, classes = random.randint(1, len(images) + 1, count), random.randint(1, CATEGORIES + 1, count)
    corners = (random.random_sample((1000, 46)) * 480).round(2).tolist()  # 23 corners: COCO's mean
    categories = [{"id": c, "name": f"class {c}", "supercategory": "thing"} for c in range(1, CATEGORIES + 1)]
    with path.open("w") as stream:
        head = json.dumps({"info": {}, "licenses": [], "categories": categories, "images": images})
        stream.write(head[:-1] + ', "annotations": [')
        for n, (owner, category) in enumerate(zip(owners.tolist(), classes.tolist(), strict=True)):
            annotation = {
                "id": n + 1,
                "image_id": owner,
                "category_id": category,
                "segmentation": [corners[n % 1000]],
                "area": 1234.5,
                "iscrowd": 0,
                "bbox": corners[n % 1000][:4],
            }
            stream.write((", " if n else "") + json.dumps(annotation))
        stream.write("]}")


def _scores(images: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels (N, 80), 3.6% of the cells present as in COCO."""
    random = np.random.RandomState(0)
    labels = np.where(random.random_sample((images, CATEGORIES)) < 0.036, 1, -1).astype(np.int8)
    logits = random.normal(size=labels.shape) + labels
    return (1 / (1 + np.exp(-logits))).astype(np.float32), labels
