"""What labelling tools import: Label Studio's tasks, CVAT's XML for images, FiftyOne's classifications.

Their forms: https://labelstud.io/guide/tasks and https://labelstud.io/guide/predictions;
https://docs.cvat.ai/docs/manual/advanced/xml_format (version 1.1); FiftyOneImageClassificationDataset of
https://docs.voxel51.com/user_guide/dataset_creation/datasets.html.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent
from xml.sax.saxutils import quoteattr

from mlrpl_cli.core.io.errors import DataError, Problems, agreeing, first_few
from mlrpl_cli.core.io.files import atomic_file, write_text
from mlrpl_cli.core.io.progress import track
from mlrpl_cli.core.io.reading import short
from mlrpl_cli.core.labels.writers.registry import Export, Written, only_present, without_present
from mlrpl_cli.core.labels.writers.sizes import image_sizes

CONTROL, OBJECT = "labels", "image"
"""Names of the two tags of the labelling configuration that the tasks are for."""
CHOICES_SHOWN = 20
CVAT_VERSION = "1.1"
_NOT_IN_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def write_labelstudio(export: Export, path: Path) -> Written:
    """Tasks for a configuration of multiple choices; with scores as predictions to correct.

    An image of which nothing is known is a task without annotation: nobody has looked at it.
    """
    count = len(export.records.images)
    tasks = [_task(export, row) for row in track(export.progress, range(count), "writing labels", count)]
    write_text(path, json.dumps(tasks, ensure_ascii=False, indent=1) + "\n")
    needed = f"the labelling configuration needs {_configuration(export)}"
    if export.scores is not None:
        return Written(None, notes=(needed, "they are pre-annotations: labels once somebody submits them"))
    bare = sum("annotations" in task and not task["annotations"] for task in tasks)
    unlabelled = (agreeing(bare, "images of which nothing is known have a task without annotation"),) * bool(bare)
    dataset, flags, notes = only_present(export, "labelstudio", knows_unlabelled=True)
    return Written(dataset, flags, (needed, *notes, *unlabelled, *without_present(export)))


def _configuration(export: Export) -> str:
    names = export.records.classes
    choices = "".join(f"<Choice value={quoteattr(name)}/>" for name in names[:CHOICES_SHOWN])
    more = f" and so on, one for each of the {len(names)} classes, " if len(names) > CHOICES_SHOWN else ""
    choice = f'<Choices name="{CONTROL}" toName="{OBJECT}" choice="multiple">{choices}{more}</Choices>'
    return f'<View><Image name="{OBJECT}" value="$image"/>{choice}</View>'


def _task(export: Export, row: int) -> dict[str, Any]:
    records, present = export.records, export.present(row)
    value = {"choices": [records.classes[column] for column in present]}
    result = [{"from_name": CONTROL, "to_name": OBJECT, "type": "choices", "value": value}] if present else []
    task: dict[str, Any] = {"data": {"image": export.image(row), "split": records.splits[row]}}
    if export.asked is not None:
        task["data"]["ask"] = ", ".join(records.classes[column] for column in export.asked[row].nonzero()[0])
    if export.scores is None:
        return {**task, "annotations": [{"result": result}] if export.is_labelled(row) else []}
    scores = export.scores[row]
    score = scores[present].mean() if present else 1 - scores.max()
    return {**task, "predictions": [{"model_version": export.model, "score": round(float(score), 6), "result": result}]}


def write_cvat(export: Export, path: Path) -> Written:
    """Tags in "CVAT for images" XML, whose subsets are the splits.

    Raises DataError for images that cannot be read, and for names that XML cannot hold.
    """
    records, root = export.records, Element("annotations")
    named = [*records.classes, *map(export.image, range(len(records.images)))]
    _check_names(named)
    SubElement(root, "version").text = CVAT_VERSION
    labels = SubElement(SubElement(SubElement(root, "meta"), "task"), "labels")
    for name in records.classes:
        SubElement(SubElement(labels, "label"), "name").text = name
    source = "manual" if export.scores is None else "auto"
    for row, (width, height) in enumerate(image_sizes(export)):
        told = {"id": str(row), "name": export.image(row), "subset": records.splits[row]}
        element = SubElement(root, "image", told | {"width": str(width), "height": str(height)})
        for column in export.present(row):
            SubElement(element, "tag", {"label": records.classes[column], "source": source})
    indent(root)
    with atomic_file(path) as temporary:
        ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)
    return only_present(export, "cvat")


def _check_names(names: list[str]) -> None:
    problems = Problems()
    problems.extend("names have characters that XML cannot hold", map(short, filter(_NOT_IN_XML.search, names)))
    problems.raise_if_any("cvat", "rename them, or write another format")


def write_fiftyone(export: Export, path: Path) -> Written:
    """labels.json of FiftyOne's image classification data set, several labels an image; it has no splits.

    It calls images by their names without suffix, and those of which nothing is known unlabelled. Raises DataError for
    images that differ in nothing else.
    """
    records, images = export.records, defaultdict[str, list[str]](list)
    labels = {}
    for row in range(len(records.images)):
        key = os.path.splitext(export.image(row))[0]
        images[key].append(records.images[row])
        present = export.present(row)
        scored = [{"label": c, "confidence": score} for c in present for score in export.score(row, c).values()]
        labels[key] = (scored or present) if export.is_labelled(row) else None
    if alike := [" and ".join(map(short, names)) for names in images.values() if len(names) > 1]:
        what = f"fiftyone calls images by their names without suffix, by which {len(alike)} are the same"
        raise DataError(f"{what} ({first_few(alike)}); rename them, or write another format")
    write_text(path, json.dumps({"classes": records.classes, "labels": labels}, ensure_ascii=False) + "\n")
    splits = tuple(dict.fromkeys(records.splits))
    lost = (f"fiftyone has no splits: which images are of {', '.join(splits)} is lost",) * (len(splits) > 1)
    needed = f"FiftyOne loads it with labels_path={path.absolute()} and data_path={records.image_root.absolute()}"
    dataset, flags, notes = only_present(export, "fiftyone", knows_unlabelled=True)
    return Written(dataset, flags, (needed, *lost, *notes))
