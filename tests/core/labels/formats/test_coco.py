"""The COCO reader on small releases, whose labels are written down beside the annotations they come from."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlrpl_cli.core.labels import marks
from mlrpl_cli.core.labels.formats.coco import instances
from mlrpl_cli.core.labels.formats.coco.coco import Coco
from tests.core.labels.formats.reading import problem, read

# Ids with gaps and out of order, as COCO's are.
CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 13, "name": "stop sign"}]


def _part(folder: Path, images: dict[int, str], annotations: list[tuple[int, int]]) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    for name in images.values():
        (folder / name).touch()
    return {
        "images": [{"id": identifier, "file_name": name} for identifier, name in images.items()],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "iscrowd": i % 2}
            for i, (image, category) in enumerate(annotations)
        ],
        "categories": CATEGORIES,
    }


def _save(root: Path, name: str, data: object) -> None:
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"instances_{name}.json").write_text(json.dumps(data))


def _release(root: Path, year: str) -> tuple[dict[str, Any], dict[str, Any]]:
    train = _part(
        root / f"train{year}", {7: "b.jpg", 3: "a.jpg", 9: "c.jpg"}, [(9, 90), (7, 1), (9, 1), (7, 1), (9, 90)]
    )
    val = _part(root / f"val{year}", {4: "d.jpg", 5: "e.jpg"}, [(5, 13)])
    _save(root, f"train{year}", train)
    _save(root, f"val{year}", val)
    return train, val


LABELS = [[1, -1, -1], [-1, -1, -1], [1, -1, 1], [-1, -1, -1], [-1, 1, -1]]


_read, _problem = partial(read, Coco), partial(problem, Coco)


@pytest.mark.parametrize("year", ["2014", "2017"])
def test_labels_order_classes_and_splits(tmp_path: Path, year: str, capsys: pytest.CaptureFixture) -> None:
    _release(tmp_path, year)
    records = _read(tmp_path)
    assert records.classes == ("person", "stop sign", "toothbrush")
    np.testing.assert_array_equal(records.full_labels, LABELS)
    assert records.full_labels.dtype == np.int8
    assert records.images == tuple(
        f"{folder}{year}/{name}.jpg" for folder, names in (("train", "bac"), ("val", "de")) for name in names
    )
    assert records.splits == ("train",) * 3 + ("test",) * 2
    assert records.image_root == tmp_path
    assert capsys.readouterr() == ("", "")


def test_annotated_only_leaves_out_images_without_annotation(tmp_path: Path) -> None:
    _release(tmp_path, "2017")
    records = _read(tmp_path, annotated_only=True)
    assert records.images == ("train2017/b.jpg", "train2017/c.jpg", "val2017/e.jpg")
    np.testing.assert_array_equal(records.full_labels, [LABELS[0], LABELS[2], LABELS[4]])
    assert records.splits == ("train", "train", "test")


def test_both_releases_mean_2014_unless_a_year_is_asked_for(tmp_path: Path) -> None:
    _release(tmp_path, "2014")
    _release(tmp_path, "2017")
    assert _read(tmp_path).images[0] == "train2014/b.jpg"
    assert _read(tmp_path, year="2017").images[0] == "train2017/b.jpg"


def test_all_that_is_wrong_is_reported_together(tmp_path: Path) -> None:
    train, val = _release(tmp_path, "2017")
    train["annotations"] += [
        {"id": 100, "image_id": 7, "category_id": 2},
        {"id": 101, "image_id": 7, "category_id": 2},
        {"id": 102, "image_id": 555, "category_id": 1},
    ]
    train["images"] += [{"id": 7, "file_name": "../../evil.jpg"}, {"id": 8, "file_name": "a.jpg"}]
    (tmp_path / "train2017" / "c.jpg").unlink()
    val["categories"] = [*CATEGORIES[:2], {"id": 13, "name": "go sign"}, {"id": 1, "name": "people"}]
    _save(tmp_path, "train2017", train)
    _save(tmp_path, "val2017", val)
    message = _problem(tmp_path)
    for part in (
        "2 annotations are of unknown categories (2 in instances_train2017.json, 2 in instances_train2017.json)",
        "1 annotation is of unknown images (555 in instances_train2017.json)",
        "1 image id is repeated (7 in instances_train2017.json)",
        "1 image is listed twice (train2017/a.jpg in instances_train2017.json)",
        "1 image name leads outside the image folder (train2017/../../evil.jpg)",
        "1 image is missing (train2017/c.jpg)",
        "1 category id or name is repeated (1 in instances_val2017.json)",
        "1 file differs in categories (13 is 'stop sign' and 'go sign' in instances_val2017.json)",
    ):
        assert part in message, message


def test_absolute_image_name_leads_outside(tmp_path: Path) -> None:
    train, _ = _release(tmp_path, "2017")
    train["images"][0]["file_name"] = "/etc/passwd"
    _save(tmp_path, "train2017", train)
    assert "is an absolute path that is not below the image folder" in _problem(tmp_path)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('{"images": [', "1 annotation file cannot be read (instances_val2017.json: Expecting"),
        ("[1, 2]", "1 annotation file cannot be read (instances_val2017.json: annotation file format"),
        ('{"images": [], "categories": []}', "1 annotation file lacks a key (instances_val2017.json: 'annotations')"),
        ('{"images": 3, "categories": [], "annotations": []}', "1 annotation file cannot be read"),
        ('{"images": [], "categories": [], "annotations": [7]}', "1 annotation file cannot be read"),
        (
            '{"images": [{"id": 1}], "categories": [], "annotations": []}',
            "1 annotation file lacks a key (instances_val2017.json: 'file_name')",
        ),
        ('{"images": [], "categories": [], "annotations": []}', "has no images or no categories"),
        (
            '{"images": [{"id": [1], "file_name": "d.jpg"}], "categories": [], "annotations": []}',
            "1 annotation file cannot be read",
        ),
        ("\x00\x01", "1 annotation file cannot be read"),
    ],
)
def test_unreadable_json_is_one_line_that_names_the_file(tmp_path: Path, text: str, part: str) -> None:
    _release(tmp_path, "2017")
    (tmp_path / "annotations" / "instances_val2017.json").write_text(text)
    assert part in _problem(tmp_path)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    assert "holds no annotations/instances_train2014.json or instances_train2017.json" in _problem(tmp_path)
    assert "is no folder" in _problem(tmp_path / "absent")
    _release(tmp_path, "2017")
    assert "holds no annotations/instances_train2014.json;" in _problem(tmp_path, year="2014")
    (tmp_path / "annotations" / "instances_val2017.json").unlink()
    (tmp_path / "train2017").rename(tmp_path / "images")
    message = _problem(tmp_path)
    assert "1 annotation file is missing (instances_val2017.json)" in message
    assert "3 images are missing (train2017/b.jpg, train2017/a.jpg, train2017/c.jpg)" in message


@pytest.mark.parametrize(
    ("key", "changes", "part"),
    [
        ("categories", {"name": 7}, "expected names of categories that are text, got 7"),
        ("categories", {"name": ["dog"]}, "expected names of categories that are text, got ['dog']"),
        ("categories", {"name": "\ud800"}, "expected names of categories that are text, got '\\ud800'"),
        ("categories", {"name": " "}, "expected names of categories that are text, got ' '"),
        ("categories", {"id": True}, "expected ids that are whole numbers or text, got True"),
        ("categories", {"id": 1.5}, "expected ids that are whole numbers or text, got 1.5"),
        ("images", {"id": None}, "expected ids that are whole numbers or text, got None"),
        ("images", {"file_name": ["a"]}, "expected a file_name that a file can have, got ['a']"),
        ("images", {"file_name": "a\0.jpg"}, "expected a file_name that a file can have, got 'a\\x00.jpg'"),
        ("images", {"file_name": "a" * 300 + "/b.jpg"}, "expected a file_name that a file can have, got 'aaa"),
    ],
)
def test_names_and_ids_of_another_kind_are_told(tmp_path: Path, key: str, changes: dict[str, Any], part: str) -> None:
    parts = _release(tmp_path, "2017")
    for name, data in zip(("train2017", "val2017"), parts, strict=True):
        data[key] = [{**data[key][0], **changes}, *data[key][1:]]
        _save(tmp_path, name, data)
    message = _problem(tmp_path)
    assert part in message
    assert len(message) < 1000


def test_ids_may_be_text(tmp_path: Path) -> None:
    for name, data in zip(("train2017", "val2017"), _release(tmp_path, "2017"), strict=True):
        for key in ("images", "categories"):
            data[key] = [{**entry, "id": str(entry["id"])} for entry in data[key]]
        keys = ("image_id", "category_id")
        data["annotations"] = [{**entry, **{key: str(entry[key]) for key in keys}} for entry in data["annotations"]]
        _save(tmp_path, name, data)
    records = _read(tmp_path)
    columns = [records.classes.index(name) for name in ("person", "stop sign", "toothbrush")]
    np.testing.assert_array_equal(records.full_labels[:, columns], LABELS)


def test_files_that_are_too_large_or_no_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, _ = _release(tmp_path, "2017")
    monkeypatch.setattr(marks, "MOST_CELLS", 8)
    assert "5 images and 3 classes are more than memory holds" in _problem(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(instances, "MOST_BYTES", len(json.dumps(train)) - 1)
    (tmp_path / "annotations" / "instances_val2017.json").unlink()
    os.mkfifo(tmp_path / "annotations" / "instances_val2017.json")
    message = _problem(tmp_path)
    assert f"instances_train2017.json has {len(json.dumps(train))} bytes, expected at most" in message
    assert "instances_val2017.json is a folder, a pipe or a device" in message
