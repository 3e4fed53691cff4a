"""VAW: attributes of boxes as cells of images, by hand, and everything wrong at once."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlrpl_cli.core.labels.formats.published.vaw import Vaw
from mlrpl_cli.core.labels.formats.registry import recognise
from tests.core.labels.formats.reading import problem, read, reading_of

_read, _problem = partial(read, Vaw), partial(problem, Vaw)
ATTRIBUTES = {"wet": 1, "tiled": 0, "über-rot": 2}


def _box(image: str | int, positive: Any = (), negative: Any = (), **more: Any) -> dict[str, Any]:
    lists = {"positive_attributes": list(positive), "negative_attributes": list(negative)}
    return {"image_id": image, "instance_id": f"{image}004", "object_name": "floor", **lists, **more}


BOXES = {
    "train_part1.json": [_box("10", ["tiled"], ["wet"]), _box("11", [], ["wet"])],
    "train_part2.json": [_box("10", ["wet"], ["tiled"]), _box("11", [], ["wet", "tiled"])],
    "val.json": [_box(12, ["über-rot"])],
    "test.json": [_box("13")],
}


def _release(root: Path, **changed: Any) -> Path:
    content = {"attribute_index.json": ATTRIBUTES, **BOXES, **changed}
    for name, value in content.items():
        (root / name).write_bytes(json.dumps(value, ensure_ascii=False).encode())
    for file in ("VG_100K/10.jpg", "VG_100K_2/11.jpg", "VG_100K/12.jpg", "VG_100K_2/13.jpg"):
        (root / file).parent.mkdir(exist_ok=True)
        (root / file).touch()
    return root


def test_cells_are_the_union_of_boxes_and_the_rest_is_unknown(tmp_path: Path) -> None:
    assert recognise(_release(tmp_path)) == ("vaw", "it holds attribute_index.json")
    records, reading = reading_of(Vaw, tmp_path)
    assert records.classes == ("tiled", "wet", "über-rot")
    assert records.images == ("VG_100K/10.jpg", "VG_100K_2/11.jpg", "VG_100K/12.jpg", "VG_100K_2/13.jpg")
    assert records.splits == ("train", "train", "validation", "test")
    # Image 10 has both, each in one of its boxes and not in the other; nobody judged the third attribute.
    assert records.full_labels.tolist() == [[1, 1, 0], [-1, -1, 0], [0, 0, 1], [0, 0, 0]]
    assert reading.unlisted == "unknown: VAW's paper"
    assert reading.notes[0].endswith("is absent: VAW judges boxes, not whole images")


def test_chosen_classes_a_byte_order_mark_and_another_folder_of_images(tmp_path: Path) -> None:
    _release(tmp_path)
    path = tmp_path / "val.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    (tmp_path / "labels").mkdir()
    for file in tmp_path.glob("*.json"):
        file.rename(tmp_path / "labels" / file.name)
    records = _read(tmp_path / "labels", images=tmp_path, classes=["über-rot"])
    assert records.full_labels.tolist() == [[0], [0], [1], [0]]


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    train = [
        _box("99", ["tiled"]),
        _box("10", ["shiny"]),
        _box("10", ["wet"], ["wet"]),
        _box("10", positive_attributes="wet"),
        {"image_id": 10},
        7,
        _box(True),  # type: ignore[arg-type]
        _box("12", ["wet"]),
    ]
    _release(tmp_path, **{"attribute_index.json": ATTRIBUTES | {"": 5}})
    (tmp_path / "train_part1.json").write_text(json.dumps(train))
    (tmp_path / "train_part2.json").write_text('[{"image_id": 1' + "0" * 5000 + "}]")
    (tmp_path / "VG_100K_2" / "12.jpg").touch()
    (tmp_path / "test.json").write_text("{}")
    message = _problem(tmp_path)
    for part in (
        "1 image is missing (99)",
        "1 attribute is not in attribute_index.json (train_part1.json, box 1: shiny)",
        "1 box lists an attribute as present and as absent (train_part1.json, box 2: wet)",
        "4 boxes lack an image_id and lists of positive_attributes and negative_attributes (train_part1.json, box 3: ",
        "1 file cannot be read (train_part2.json: ",
        "1 file holds no list of boxes (test.json: {})",
        "1 image id fits several files (12: VG_100K/12.jpg, VG_100K_2/12.jpg)",
        "1 image is in two splits (VG_100K/12.jpg: train, validation)",
        "1 attribute has a name that no class can have ('')",
    ):
        assert part in message, message
    assert len(message) < 3000


@pytest.mark.parametrize(
    ("file", "data", "part"),
    [
        ("attribute_index.json", b"[]", "1 file holds no numbers by attribute (attribute_index.json: [])"),
        ("attribute_index.json", b'{"wet": "1"}', "1 attribute of attribute_index.json has no number ('wet': '1')"),
        ("attribute_index.json", b"{", "1 file cannot be read (attribute_index.json: Expecting"),
        ("val.json", b"", "1 file cannot be read (val.json: Expecting value"),
        ("val.json", b"\xff\xfe", "1 file cannot be read (val.json: 'utf-8'"),
        ("val.json", b"[" * 100_000, "1 file cannot be read (val.json: values are nested too deeply)"),
        ("val.json", b'[{"image_id": "\\ud800", "positive_attributes": [], "negative_attributes": []}]', "missing"),
    ],
)
def test_a_file_that_is_no_such_json(tmp_path: Path, file: str, data: bytes, part: str) -> None:
    (_release(tmp_path) / file).write_bytes(data)
    assert part in _problem(tmp_path)


def test_missing_files_are_told(tmp_path: Path) -> None:
    assert f"{tmp_path} has none of train*.json, val*.json, test*.json beside attribute_index.json" in _problem(
        tmp_path
    )
    _release(tmp_path)
    (tmp_path / "attribute_index.json").unlink()
    assert "1 file is missing (attribute_index.json)" in _problem(tmp_path)
    for root in (tmp_path, tmp_path / "val.json", tmp_path / "absent", Path("a" * 300)):
        assert Vaw.recognise(root) is None
