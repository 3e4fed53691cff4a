"""COCO's JSON, a file a split; with unknown cells LVIS's, which says what was checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mlrpl_cli.core.images.decode import image_size
from mlrpl_cli.core.io.files import atomic_folder, write_text
from mlrpl_cli.core.labels.records import SPLITS
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from mlrpl_cli.core.labels.writers.registry import Export


def write_coco(export: Export, path: Path) -> list[str]:
    """annotations/SPLIT.json below `path`; a label is a box around the whole image.

    Where cells are unknown, `neg_category_ids` of an image lists what is absent, and every other cell that is not
    annotated is unknown, as in LVIS. Raises DataError for an image that cannot be read.
    """
    federated = bool((export.records.full_labels == UNKNOWN).any())
    with atomic_folder(path) as folder:
        (folder / "annotations").mkdir()
        for split in SPLITS:
            rows = [row for row, name in enumerate(export.records.splits) if name == split]
            if rows:
                content = _part(export, rows, federated)
                write_text(folder / "annotations" / f"{split}.json", json.dumps(content, ensure_ascii=False))
    dataset = "lvis" if federated else "coco"
    return [f"labels are boxes around whole images; read them back with --dataset {dataset}"]


def _part(export: Export, rows: list[int], federated: bool) -> dict[str, Any]:
    records, images, annotations = export.records, list[dict[str, Any]](), list[dict[str, Any]]()
    for row in rows:
        width, height = image_size(records.image_root / records.images[row])
        image = {"id": row + 1, "file_name": export.image(row), "width": width, "height": height}
        if federated:
            image |= {"neg_category_ids": _columns(records.full_labels[row], ABSENT), "not_exhaustive_category_ids": []}
        images.append(image)
        box = {"bbox": [0, 0, width, height], "area": width * height, "segmentation": [], "iscrowd": 0}
        for category in _columns(records.full_labels[row], PRESENT):
            score = {} if export.scores is None else {"score": round(float(export.scores[row, category - 1]), 6)}
            annotations.append(
                {"id": len(annotations) + 1, "image_id": row + 1, "category_id": category, **box, **score}
            )
    categories = [{"id": column, "name": name, "supercategory": ""} for column, name in enumerate(records.classes, 1)]
    return {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}


def _columns(states: np.ndarray, state: int) -> list[int]:
    """The category ids, from 1, of the cells in `state`."""
    return [int(column) + 1 for column in np.flatnonzero(states == state)]
