"""COCO's JSON, a file a split; with unknown cells LVIS's, which says what was checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlrpl_cli.core.io.files import atomic_folder, write_text
from mlrpl_cli.core.labels.records import SPLITS, TEST, VALIDATION
from mlrpl_cli.core.labels.states import ABSENT, UNKNOWN
from mlrpl_cli.core.labels.writers.registry import Export, Written
from mlrpl_cli.core.labels.writers.sizes import image_sizes

FOLDER = "annotations"
FILES = frozenset(f"{FOLDER}/{split}.json" for split in SPLITS)
"""All that is ever written, below the folder of an export."""


def write_coco(export: Export, path: Path) -> Written:
    """annotations/SPLIT.json below `path`; a label is a box around the whole image.

    Where cells are unknown, `neg_category_ids` of an image lists what is absent, and every other cell that is not
    annotated is unknown, as in LVIS. Raises DataError for images that cannot be read.
    """
    splits = export.records.splits
    federated = bool((export.records.full_labels == UNKNOWN).any())
    sizes = image_sizes(export)
    with atomic_folder(path) as folder:
        (folder / FOLDER).mkdir()
        for split in (split for split in SPLITS if split in splits):
            rows = [row for row, name in enumerate(splits) if name == split]
            content = json.dumps(_part(export, rows, sizes, federated), ensure_ascii=False)
            write_text(folder / FOLDER / f"{split}.json", content)
    notes = ["a label is a box around the whole image"]
    if federated:
        notes.append("unknown cells are written as LVIS has them: what is absent is in neg_category_ids")
        if VALIDATION in splits and TEST not in splits:
            notes.append("without test images, LVIS's validation images test when they are read back")
    return Written("lvis" if federated else "coco", notes=tuple(notes))


def _part(export: Export, rows: Sequence[int], sizes: Sequence[tuple[int, int]], federated: bool) -> dict[str, Any]:
    """The content of a file; ids count from 1, over all files."""
    records, images, annotations = export.records, list[dict[str, Any]](), list[dict[str, Any]]()
    for row in rows:
        width, height = sizes[row]
        image = {"id": row + 1, "file_name": export.image(row), "width": width, "height": height}
        if federated:
            absent = (records.full_labels[row] == ABSENT).nonzero()[0] + 1
            image |= {"neg_category_ids": absent.tolist(), "not_exhaustive_category_ids": []}
        images.append(image)
        box = {"bbox": [0, 0, width, height], "area": width * height, "segmentation": [], "iscrowd": 0}
        for column in export.present(row):
            identifier, score = len(annotations) + 1, export.score(row, column)
            annotations.append({"id": identifier, "image_id": row + 1, "category_id": column + 1, **box, **score})
    categories = [{"id": column, "name": name, "supercategory": ""} for column, name in enumerate(records.classes, 1)]
    return {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
