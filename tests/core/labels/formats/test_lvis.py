"""The LVIS reader: what was not checked is unknown."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.formats.coco.lvis import Lvis
from mlrpl_cli.core.labels.formats.registry import recognise
from mlrpl_cli.core.labels.records import UNASSIGNED, Reading
from tests.core.labels.formats.reading import problem, read

_read, _problem = partial(read, Lvis), partial(problem, Lvis)
CATEGORIES = [
    {"id": 3, "name": "person", "synset": "person.n.01", "frequency": "f"},
    {"id": 1, "name": "bagel", "synset": "bagel.n.01", "frequency": "c"},
    {"id": 2, "name": "kayak", "synset": "kayak.n.01", "frequency": "r"},
]
# Annotated, verified to be absent, and not exhaustively annotated categories of each image; the rest nobody looked at.
TRAIN = {"train2017/0.jpg": ([1], [2], []), "train2017/1.jpg": ([1, 3], [], [3]), "train2017/2.jpg": ([], [1, 2], [3])}
VAL = {"train2017/3.jpg": ([3], [1], []), "val2017/4.jpg": ([], [], [])}
LABELS = [[1, -1, 0], [1, 0, 1], [-1, -1, 1], [-1, 0, 1], [0, 0, 0]]


def _content(rows: dict[str, tuple[list, list, list]]) -> dict[str, Any]:
    images, annotations = [], []
    for number, (name, (shown, absent, loose)) in enumerate(rows.items()):
        url = f"http://images.cocodataset.org/{name}"
        lists = {"neg_category_ids": absent, "not_exhaustive_category_ids": loose}
        images.append({"id": number, "coco_url": url, **lists})
        annotations += [{"id": len(annotations), "image_id": number, "category_id": category} for category in shown]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def _write(root: Path, style: str = "lvis_v1_{}.json", **changes: Any) -> Path:
    for part, rows in (("train", TRAIN), ("val", VAL)):
        path = root / style.format(part)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**_content(rows), **(changes if part == "train" else {})}))
        for name in rows:
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).touch()
    return root


@pytest.mark.parametrize(
    "style", ["lvis_v1_{}.json", "annotations/lvis_v1_{}.json", "annotations/instances_{}2017.json"]
)
def test_cells_splits_and_recognition(tmp_path: Path, style: str) -> None:
    assert recognise(_write(tmp_path, style))[0] == "lvis"
    reading = Reading(tmp_path, Silent())
    records = Lvis(root=tmp_path).read(reading)
    assert records.classes == ("bagel", "kayak", "person")
    np.testing.assert_array_equal(records.full_labels, LABELS)
    assert records.full_labels.dtype == np.int8
    assert records.images == (*TRAIN, *VAL)
    assert records.splits == ("train",) * 3 + ("test",) * 2
    assert reading.unlisted == "unknown: LVIS's documentation"
    assert Lvis(root=tmp_path).usual_keep() == 1


def test_images_elsewhere_one_file_and_file_names(tmp_path: Path) -> None:
    _write(tmp_path / "coco")
    path = tmp_path / "labels.json"
    content = _content(TRAIN)
    path.write_text(json.dumps(content))
    assert _read(path, images=tmp_path / "coco").images == tuple(TRAIN)
    records = _read(path, images=tmp_path / "coco" / "train2017")
    assert records.images == ("0.jpg", "1.jpg", "2.jpg")
    assert set(records.splits) == {UNASSIGNED}
    for image in content["images"]:
        image["file_name"] = Path(image.pop("coco_url")).name
    path.write_text(json.dumps(content))
    np.testing.assert_array_equal(_read(path, images=tmp_path / "coco" / "train2017").full_labels, LABELS[:3])


def test_coco_annotations_beside_those_of_lvis_are_left_alone(tmp_path: Path) -> None:
    _write(tmp_path, "annotations/lvis_v1_{}.json")
    plain = {"images": [{"id": 1, "file_name": "x.jpg"}], "annotations": [], "categories": [{"id": 1, "name": "x"}]}
    (tmp_path / "annotations" / "instances_train2017.json").write_text(json.dumps(plain))
    assert _read(tmp_path).classes == ("bagel", "kayak", "person")


def test_recognition_of_a_long_file_by_its_categories(tmp_path: Path) -> None:
    """As published, annotations come first and categories last."""
    content = _content(TRAIN)
    info = {"annotations": content["annotations"], "info": "x" * 2_000_000, "images": content["images"]}
    text = json.dumps({**info, "licenses": "x" * 2_000_000, "categories": CATEGORIES})
    (tmp_path / "lvis.json").write_text(text)
    assert recognise(tmp_path / "lvis.json")[0] == "lvis"


def test_contradictions_and_unknown_ids_are_told_at_once(tmp_path: Path) -> None:
    content = _content(TRAIN)
    content["images"][0]["neg_category_ids"] = [1, "2", 99]
    content["images"][1]["not_exhaustive_category_ids"] = [98]
    content["annotations"].append({"image_id": 1, "category_id": 97})
    (tmp_path / "train2017").mkdir()
    message = _problem(_write(tmp_path, **content))
    for part in (
        "1 cell is said to be present and absent (train2017/0.jpg 'bagel')",
        "1 category in neg_category_ids is unknown (99 in lvis_v1_train.json)",
        "1 category in not_exhaustive_category_ids is unknown (98 in lvis_v1_train.json)",
        "1 annotation is of unknown categories (97 in lvis_v1_train.json)",
    ):
        assert part in message, message


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"neg_category_ids": 3}, "expected a list as neg_category_ids, got 3"),
        ({"neg_category_ids": [None]}, "expected ids that are whole numbers or text, got None"),
        ({"not_exhaustive_category_ids": [[1]]}, "expected ids that are whole numbers or text, got [1]"),
        ({"coco_url": 7}, "expected a coco_url that is text, got 7"),
        ({"coco_url": "http://[/a.jpg"}, "lvis_v1_train.json: Invalid IPv6 URL"),
        ({"coco_url": "http://a/../../b.jpg"}, "image name leads outside the image folder (../../b.jpg)"),
    ],
)
def test_wrong_fields(tmp_path: Path, changes: dict[str, Any], part: str) -> None:
    content = _content(TRAIN)
    content["images"][0] |= changes
    assert part in _problem(_write(tmp_path, **content))


def test_files_of_another_kind(tmp_path: Path) -> None:
    content = _content(TRAIN)
    for image in content["images"]:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    _write(tmp_path)
    (tmp_path / "lvis_v1_val.json").unlink()
    (tmp_path / "lvis_v1_train.json").write_text(json.dumps(content))
    assert (
        "so this is not LVIS; if all images were checked for all categories, read it with --dataset coco"
        in _problem(tmp_path / "lvis_v1_train.json")
    )
    (tmp_path / "lvis_v1_train.json").write_text("{")
    assert "1 annotation file cannot be read (lvis_v1_train.json: " in _problem(tmp_path / "lvis_v1_train.json")
    (tmp_path / "lvis_v1_train.json").unlink()
    assert "holds no JSON file of LVIS; name it, or its folder, with --root" in _problem(tmp_path)
    assert "holds no JSON file of LVIS" in _problem(Path("a" * 300))
