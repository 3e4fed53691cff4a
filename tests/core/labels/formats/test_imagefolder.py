"""Hugging Face's image folders with lists of labels, by hand, and everything wrong at once."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from mlrpl_cli.core.labels.formats.registry import recognise
from mlrpl_cli.core.labels.formats.tools.imagefolder import ImageFolder
from mlrpl_cli.core.labels.records import UNASSIGNED
from tests.core.labels.formats.reading import problem, read, reading_of

_read, _problem = partial(read, ImageFolder), partial(problem, ImageFolder)
ROWS = {
    "train": [{"file_name": "a.jpg", "labels": ["dog", "cat"]}, {"file_name": "x/b.png", "labels": []}],
    "validation": [{"file_name": "c.jpg", "labels": ["bär"]}],
    "test": [{"file_name": "d.jpg", "labels": None}],
}
IMAGES = ("train/a.jpg", "train/x/b.png", "validation/c.jpg", "test/d.jpg")


def _lines(rows: Any) -> str:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def _touch(root: Path, *images: str) -> Path:
    for image in images:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / image).touch()
    return root


def _write(root: Path, text: str, name: str = "metadata.jsonl") -> Path:
    _touch(root, "a.jpg", "b.jpg")
    (root / name).write_text(text, encoding="utf-8")
    return root


def _folders(root: Path) -> Path:
    _touch(root, *IMAGES)
    for split, rows in ROWS.items():
        (root / split / "metadata.jsonl").write_text(_lines(rows), encoding="utf-8")
    return root


@pytest.mark.parametrize(("unlisted", "rest"), [("absent", -1), ("unknown", 0)])
def test_lists_in_json_lines_of_three_folders(tmp_path: Path, unlisted: str, rest: int) -> None:
    why = "it holds train/metadata.jsonl with a column file_name"
    assert recognise(_folders(tmp_path)) == ("imagefolder", why)
    records, reading = reading_of(ImageFolder, tmp_path, unlisted=unlisted)
    assert (records.classes, records.images) == (("bär", "cat", "dog"), IMAGES)
    assert records.splits == ("train", "train", "validation", "test")
    # An empty list was given, null was not: nobody said anything of the last image.
    assert records.full_labels.tolist() == [[rest, 1, 1], [rest] * 3, [1, rest, rest], [0, 0, 0]]
    assert reading.notes == ["1 image without a label (empty or null) is unknown in every class"]
    assert reading.unlisted == f"{unlisted}: --unlisted"


def test_what_a_missing_label_means_is_asked(tmp_path: Path) -> None:
    assert "--unlisted absent if every image" in _problem(_folders(tmp_path))


def test_one_file_whose_names_say_the_splits(tmp_path: Path) -> None:
    rows = [{**row, "file_name": f"{split}/{row['file_name']}"} for split, found in ROWS.items() for row in found]
    root = _touch(tmp_path, *IMAGES)
    (root / "metadata.jsonl").write_bytes(b"\xef\xbb\xbf" + _lines(rows).replace("/x/", "\\\\x\\\\").encode())
    for place in (root, root / "metadata.jsonl"):
        records = _read(place, unlisted="absent", classes=["dog"])
        assert (records.images, records.splits) == (IMAGES, ("train", "train", "validation", "test"))
        assert records.full_labels.tolist() == [[1], [-1], [-1], [0]]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ('file_name,labels\na.jpg,"[""cat"", ""dog""]"\nb.jpg,"[""dog""]"\n', {}),
        ("file_name;tags\na.jpg;['cat', 'dog']\nb.jpg;['dog']\n", {}),
        ('image_file_name,tags,text\na.jpg,"cat,dog",x\nb.jpg,dog,y\n', {}),
        ("file_name,label,tags\na.jpg,1,cat dog\nb.jpg,2,dog\n", {"tag_column": "tags", "tag_separator": "space"}),
    ],
)
def test_csv(tmp_path: Path, text: str, options: dict[str, str]) -> None:
    root = _write(tmp_path, text, "metadata.csv")
    assert recognise(root) == ("imagefolder", "it holds metadata.csv with a column file_name")
    records = _read(root, unlisted="absent", **options)
    assert (records.classes, records.full_labels.tolist()) == (("cat", "dog"), [[1, 1], [-1, 1]])


def test_parquet(tmp_path: Path) -> None:
    table = pa.table({"file_name": ["a.jpg", "b.jpg"], "labels": [["cat", "dog"], None], "n": [1, 2]})
    parquet.write_table(table, _touch(tmp_path, "a.jpg", "b.jpg") / "metadata.parquet")
    assert recognise(tmp_path)[0] == "imagefolder"
    assert _read(tmp_path, unlisted="absent").full_labels.tolist() == [[1, 1], [0, 0]]


def test_images_in_another_folder_and_one_split_that_does_not_train(tmp_path: Path) -> None:
    _write(tmp_path, "")
    (tmp_path / "test").mkdir()
    (tmp_path / "metadata.jsonl").rename(tmp_path / "test/metadata.jsonl")
    rows = [{"file_name": "a.jpg", "labels": ["dog"]}, {"file_name": str(tmp_path / "b.jpg"), "labels": "cat"}]
    (tmp_path / "test/metadata.jsonl").write_text(_lines(rows))
    records = _read(tmp_path, unlisted="absent")
    assert (records.images, records.splits) == (("a.jpg", "b.jpg"), (UNASSIGNED, UNASSIGNED))


def test_a_plain_table_is_not_taken(tmp_path: Path) -> None:
    root = _write(tmp_path, "file_name,dog,cat\na.jpg,1,0\nb.jpg,0,1\n", "metadata.csv")
    assert recognise(root)[0] == "table"


@pytest.mark.parametrize(
    ("rows", "part"),
    [
        (
            [{"file_name": "a.jpg", "labels": [3, 0]}, {"file_name": "b.jpg", "labels": 1}],
            "numbers its labels (0, 1,",
        ),
        (
            [{"file_name": "a.jpg", "caption": "x"}],
            "name one with --tag-column, or write a table with a column for each class (--dataset table)",
        ),
        ([{"file_name": "a.jpg", "labels": [], "tags": []}], "has 2 columns of labels among file_name, labels, tags"),
        ([{"image": "a.jpg", "labels": []}], "has 0 columns of image files, only image, labels; call one file_name"),
        ([{"l_file_name": "a.jpg", "r_file_name": "b.jpg", "labels": []}], "has 2 columns of image files"),
        ([{"file_name": "a.jpg", "labels": [{"id": 3}]}], "lists {'id': 3}, which is no label"),
        ([{"file_name": "a.jpg", "labels": [None]}], "lists None, which is no label"),
        ([{"file_name": "a.jpg", "labels": "hot dog"}], "has spaces, as in 'hot dog' between its words"),
    ],
)
def test_what_is_not_clear_is_asked(tmp_path: Path, rows: Any, part: str) -> None:
    assert part in _problem(_write(tmp_path, _lines(rows)), unlisted="absent")


def test_another_column_may_be_named(tmp_path: Path) -> None:
    root = _write(tmp_path, _lines([{"file_name": "a.jpg", "labels": [3], "seen": ["dog"]}]))
    assert _read(root, unlisted="absent", tag_column="seen").classes == ("dog",)
    assert "has no column 'see'; did you mean 'seen'?" in _problem(root, unlisted="absent", tag_column="see")


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    rows = [
        {"file_name": name, "labels": ["dog"]} for name in ("a.jpg", "./a.jpg", "gone.jpg", "../x.jpg", "", "a" * 300)
    ]
    rows += [{"labels": ["cat"]}, {"file_name": "b.jpg", "labels": ["c" * 2000, "dog"]}]
    message = _problem(_write(tmp_path, _lines(rows)), unlisted="absent")
    for part in (
        "1 image is missing (gone.jpg)",
        "1 image name leads outside the image folder (../x.jpg)",
        "2 rows name no image (metadata.jsonl row 5, metadata.jsonl row 7)",
        "1 name is none that a file can have (aaa",
        "1 label has a name that no class can have (ccc",
    ):
        assert part in message, message
    rows = [{"file_name": 5, "labels": {"a": 1}}, {"file_name": "a.jpg", "labels": True}]
    message = _problem(_write(tmp_path, _lines(rows)), unlisted="absent")
    assert "2 labels are no list of names (metadata.jsonl row 1: {'a': 1}, metadata.jsonl row 2: True)" in message
    assert "1 name is none that a file can have (metadata.jsonl row 1: 5)" in message


@pytest.mark.parametrize(
    ("name", "data", "part"),
    [
        ("metadata.jsonl", b"", "1 file has no row (metadata.jsonl)"),
        ("metadata.jsonl", b'[]\n{"file_name"\n', "2 lines of metadata.jsonl are no JSON object (line 1: [], line 2: "),
        ("metadata.jsonl", b"[" * 100_000, "1 line of metadata.jsonl is no JSON object (line 1: [["),
        ("metadata.jsonl", b'{"file_name": 1' + b"0" * 5000 + b"}", "1 line of metadata.jsonl is no JSON object"),
        ("metadata.jsonl", b"\xff\xfe", "save it as UTF-8"),
        ("metadata.csv", b"", "has nothing in it"),
        ("metadata.parquet", b"PAR1", "is no readable Parquet file"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, name: str, data: bytes, part: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert ImageFolder.recognise(tmp_path) is None
    assert part in _problem(tmp_path, unlisted="absent")


def test_roots_without_metadata(tmp_path: Path) -> None:
    _touch(tmp_path, "dog/a.jpg", "cat/b.jpg")
    assert f"{tmp_path} has none of metadata.jsonl, metadata.csv, metadata.parquet" in _problem(tmp_path)
    for root in (tmp_path, tmp_path / "dog/a.jpg", tmp_path / "absent", Path("a" * 300)):
        assert ImageFolder.recognise(root) is None
