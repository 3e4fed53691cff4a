"""COCO: instance annotations in JSON, in the layouts of 2014 and 2017."""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO

from mlrpl_cli.core.images.find import check_images
from mlrpl_cli.core.io.errors import ConfigError, DataError, Problems, one_line
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.io.reading import GIB, is_file_name, is_name, open_file, short, shown
from mlrpl_cli.core.labels.records import TEST, TRAIN, ReadOptions, Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT

YEARS = ("2014", "2017")
PARTS = {TRAIN: "train", TEST: "val"}
"""Which part of a release is which split: the labels of COCO's own test images were never published."""
MOST_BYTES, MOST_LABELS = 4 * GIB, 4 * GIB
"""Of an annotation file, nine times the largest of COCO; and of its images times its categories, a byte each."""


@dataclass(frozen=True)
class _Part:
    """One annotation file, its labels in the coding of the package."""

    categories: tuple[tuple[int | str, str], ...]
    """(id, name) in ascending id."""
    images: tuple[str, ...]
    labels: np.ndarray
    annotated: np.ndarray
    """(N,) bool: the image has at least one annotation."""


def read(options: ReadOptions, progress: Progress) -> Records:
    """Images and labels of COCO 2014 or 2017 (train → train, val → test).

    `options.root` holds `annotations/`, `trainYEAR/` and `valYEAR/`; with both releases there and no `options.year`,
    2014 is read. Classes are in ascending category id, rows in the order of `images` in the JSON, train before test.
    An annotation of any kind makes its class present, crowds included; every other class is absent, also for images
    without annotation, unless `options.annotated_only` leaves those out.
    Raises ConfigError for options that cannot be and DataError, naming everything found at once, for wrong data.
    """
    root, year = _find_release(options)
    problems = Problems()
    parts: dict[str, _Part] = {}
    with progress.task("reading annotations", len(PARTS), "files") as task:
        for split, name in PARTS.items():
            part = _read_part(root / "annotations" / f"instances_{name}{year}.json", f"{name}{year}", problems)
            task.advance()
            if part is not None:
                check_images(root, part.images, problems)
                parts[split] = part
    if len({part.categories for part in parts.values()}) > 1:
        problems.add("files differ in their categories", f"instances_train{year}.json, instances_val{year}.json")
    problems.raise_if_any(f"COCO {year} in {root}", "restore these files from the published archives")
    if options.annotated_only:
        parts = {split: _without_empty_images(part) for split, part in parts.items()}
    return Records(
        classes=tuple(name for _, name in parts[TRAIN].categories),
        image_root=root,
        images=tuple(image for part in parts.values() for image in part.images),
        labels=np.concatenate([part.labels for part in parts.values()]),
        splits=tuple(split for split, part in parts.items() for _ in part.images),
    )


def _find_release(options: ReadOptions) -> tuple[Path, str]:
    root = options.root
    if root is None:
        raise ConfigError("COCO needs --root, the folder that holds annotations/; --download fetches COCO 2014 into it")
    if options.year is not None and options.year not in YEARS:
        raise ConfigError(f"--year: expected {' or '.join(YEARS)} for COCO, got '{options.year}'")
    for year in [options.year] if options.year else YEARS:
        if any(os.path.exists(root / "annotations" / f"instances_{name}{year}.json") for name in PARTS.values()):
            return root, year
    wanted = f"instances_train{options.year or '2014'}.json" + ("" if options.year else " or instances_train2017.json")
    what = "holds no" if os.path.isdir(root) else "is no folder, so it holds no"
    raise DataError(
        f"{root} {what} annotations/{wanted}; name the folder that does with --root, or add --download for COCO 2014"
    )


def _read_part(path: Path, folder: str, problems: Problems) -> _Part | None:
    """What one annotation file says of the images in `folder`; None, and a problem, when it cannot be read."""
    try:
        open_file(path, MOST_BYTES).close()
        # pycocotools prints how long it takes.
        with contextlib.redirect_stdout(io.StringIO()):
            data: dict[str, Any] = COCO(str(path)).dataset
        return _to_part(data, folder, path.name, problems)
    except FileNotFoundError:
        problems.add("annotation files are missing", path.name)
    except KeyError as error:
        problems.add("annotation files lack a key", f"{path.name}: {error}")
    except (OSError, ValueError, AssertionError, TypeError, AttributeError, RecursionError, DataError) as error:
        problems.add("annotation files cannot be read", f"{path.name}: {one_line(error)}")
    return None


def _to_part(data: dict[str, Any], folder: str, file: str, problems: Problems) -> _Part:
    categories = tuple(sorted((_id(category), _name(category)) for category in data["categories"]))
    ids = [_id(image) for image in data["images"]]
    images = tuple(posixpath.join(folder, _file_name(image)) for image in data["images"])
    if not images or not categories:
        problems.add("annotation files have no images or no categories", file)
    if len(images) * len(categories) > MOST_LABELS:
        raise ValueError(f"{len(images)} images and {len(categories)} categories are more than memory holds")
    for column in zip(*categories, strict=True):
        _report_repeated("category ids or names are repeated", column, file, problems)
    _report_repeated("image ids are repeated", ids, file, problems)
    _report_repeated("images are listed twice", images, file, problems)
    row_of = {identifier: row for row, identifier in enumerate(ids)}
    column_of = {identifier: column for column, (identifier, _) in enumerate(categories)}
    annotations = data["annotations"]
    # Two passes of one look-up each: COCO has 600,000 annotations.
    rows = _positions([a["image_id"] for a in annotations], row_of, "annotations are of unknown images", file, problems)
    columns = _positions(
        [a["category_id"] for a in annotations], column_of, "annotations are of unknown categories", file, problems
    )
    labels = np.full((len(images), len(categories)), ABSENT, dtype=np.int8)
    known = (rows >= 0) & (columns >= 0)
    labels[rows[known], columns[known]] = PRESENT
    return _Part(categories, images, labels, (labels == PRESENT).any(axis=1))


def _id(entry: Any) -> int | str:
    """Of a category or an image. TypeError when it is of a kind that JSON has and an id has not."""
    if isinstance(entry["id"], bool) or not isinstance(entry["id"], int | str):
        raise TypeError(f"expected ids that are whole numbers or text, got {shown(entry['id'])}")
    return entry["id"]


def _name(category: Any) -> str:
    if not is_name(category["name"]):
        raise TypeError(f"expected names of categories that are text, got {shown(category['name'])}")
    return category["name"]


def _file_name(image: Any) -> str:
    if not is_file_name(image["file_name"]):
        raise TypeError(f"expected a file_name that a file can have, got {shown(image['file_name'])}")
    return image["file_name"]


def _positions(
    identifiers: Sequence[Hashable], position_of: dict[Any, int], what: str, file: str, problems: Problems
) -> np.ndarray:
    """(A,) int64 position of each identifier, −1 and a problem where there is none."""
    positions = np.array([position_of.get(identifier, -1) for identifier in identifiers], dtype=np.int64)
    problems.extend(what, (f"{shown(identifiers[i])} in {file}" for i in np.flatnonzero(positions < 0).tolist()))
    return positions


def _report_repeated(what: str, values: Iterable[Hashable], file: str, problems: Problems) -> None:
    problems.extend(what, (f"{short(str(value))} in {file}" for value, count in Counter(values).items() if count > 1))


def _without_empty_images(part: _Part) -> _Part:
    rows = np.flatnonzero(part.annotated)
    images = tuple(part.images[row] for row in rows)
    return _Part(part.categories, images, part.labels[rows], part.annotated[rows])
