"""What labelling tools import: Label Studio's tasks, CVAT's XML for images, FiftyOne's classifications."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import numpy as np

from mlrpl_cli.core.images.decode import image_size
from mlrpl_cli.core.io.errors import first_few
from mlrpl_cli.core.io.files import atomic_file, write_text
from mlrpl_cli.core.labels.states import PRESENT
from mlrpl_cli.core.labels.writers.registry import Export, lost_states

CONTROL, OBJECT = "labels", "image"
"""Names of the two tags of the labelling configuration that the tasks are for."""
CVAT_VERSION = "1.1"


def write_labelstudio(export: Export, path: Path) -> list[str]:
    """Tasks for a configuration of multiple choices; with scores as predictions to correct."""
    tasks = [_task(export, row) for row in range(len(export.records.images))]
    write_text(path, json.dumps(tasks, ensure_ascii=False, indent=1) + "\n")
    choices = "".join(f'<Choice value="{name}"/>' for name in export.records.classes[:3])
    configuration = f'<Choices name="{CONTROL}" toName="{OBJECT}" choice="multiple">{choices}…</Choices>'
    return [
        f'the labelling configuration needs <Image name="{OBJECT}" value="$image"/>{configuration}',
        *lost_states(export, "labelstudio"),
    ]


def _task(export: Export, row: int) -> dict[str, Any]:
    records = export.records
    present = np.flatnonzero(records.full_labels[row] == PRESENT)
    value = {"choices": [records.classes[column] for column in present]}
    result = [{"from_name": CONTROL, "to_name": OBJECT, "type": "choices", "value": value}] if len(present) else []
    task: dict[str, Any] = {"data": {"image": export.image(row), "split": records.splits[row]}}
    if export.scores is None:
        return {**task, "annotations": [{"result": result}]}
    score = float(export.scores[row, present].mean()) if len(present) else 0.0
    return {**task, "predictions": [{"model_version": export.model, "score": round(score, 6), "result": result}]}


def write_cvat(export: Export, path: Path) -> list[str]:
    """Tags in "CVAT for images" XML, whose subsets are the splits. Raises DataError for an unreadable image."""
    records, root = export.records, Element("annotations")
    SubElement(root, "version").text = CVAT_VERSION
    labels = SubElement(SubElement(SubElement(root, "meta"), "task"), "labels")
    for name in records.classes:
        SubElement(SubElement(labels, "label"), "name").text = name
    for row, image in enumerate(records.images):
        width, height = image_size(records.image_root / image)
        told = {"id": str(row), "name": export.image(row), "subset": records.splits[row]}
        element = SubElement(root, "image", told | {"width": str(width), "height": str(height)})
        for column in np.flatnonzero(records.full_labels[row] == PRESENT):
            SubElement(element, "tag", {"label": records.classes[column], "source": _source(export)})
    indent(root)
    with atomic_file(path) as temporary:
        ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)
    return lost_states(export, "cvat")


def _source(export: Export) -> str:
    return "manual" if export.scores is None else "auto"


def write_fiftyone(export: Export, path: Path) -> list[str]:
    """labels.json of FiftyOne's image classification data set, several labels an image; it has no splits."""
    records = export.records
    labels = {
        export.image(row): [int(column) for column in np.flatnonzero(states == PRESENT)]
        for row, states in enumerate(records.full_labels)
    }
    write_text(path, json.dumps({"classes": records.classes, "labels": labels}, ensure_ascii=False) + "\n")
    splits = sorted(set(records.splits))
    lost = [f"the splits are lost: {first_few(splits)}"] if len(splits) > 1 else []
    return [*lost, *lost_states(export, "fiftyone")]
