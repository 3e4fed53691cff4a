"""Roboflow's tables of classes, by hand, and everything wrong at once."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from mlrpl_cli.core.labels.formats.registry import recognise
from mlrpl_cli.core.labels.formats.tools.roboflow import Roboflow
from mlrpl_cli.core.labels.records import UNASSIGNED
from tests.core.labels.formats.reading import problem, read, reading_of

_read, _problem = partial(read, Roboflow), partial(problem, Roboflow)
TABLES = {
    "train": "filename, Alert, eye closed\na_jpg.rf.1.jpg, 1, 0\nb.jpg, 1, 1\n",
    "valid": "filename, Alert, eye closed\nc.jpg, 0, 0\n",
    "test": "filename, Alert, eye closed\nd.jpg, 0, 1\n",
}
IMAGES = ("train/a_jpg.rf.1.jpg", "train/b.jpg", "valid/c.jpg", "test/d.jpg")


def _export(root: Path, **changed: str) -> Path:
    for split, text in {**TABLES, **changed}.items():
        (root / split).mkdir(exist_ok=True)
        (root / split / "_classes.csv").write_text(text, encoding="utf-8")
    for image in IMAGES:
        (root / image).touch()
    return root


def test_cells_and_splits_of_three_folders(tmp_path: Path) -> None:
    assert recognise(_export(tmp_path)) == ("roboflow", "it holds Roboflow's train/_classes.csv")
    records, reading = reading_of(Roboflow, tmp_path)
    assert records.classes == ("Alert", "eye closed")
    assert records.images == IMAGES
    assert records.splits == ("train", "train", "validation", "test")
    assert records.full_labels.tolist() == [[1, -1], [1, 1], [-1, -1], [-1, 1]]
    assert reading.notes == []


def test_classes_of_some_files_and_unlabelled_images_are_unknown(tmp_path: Path) -> None:
    _export(tmp_path, test="filename, Unlabeled, Alert, hat\nd.jpg, 0, 1, 1\ne.jpg, 1, 0, 0\n")
    (tmp_path / "test/e.jpg").touch()
    records, reading = reading_of(Roboflow, tmp_path)
    assert records.classes == ("Alert", "eye closed", "hat")
    assert records.full_labels.tolist() == [[1, -1, 0], [1, 1, 0], [-1, -1, 0], [1, 0, 1], [0, 0, 0]]
    assert reading.notes == [
        "1 image that Roboflow calls Unlabeled is of unknown classes",
        "classes that not every _classes.csv has are unknown where it has not: Unlabeled, eye closed, hat",
    ]
    assert _read(tmp_path, classes=["Unlabeled"]).full_labels.tolist() == [[0], [0], [0], [-1], [1]]


def test_one_file_alone_and_chosen_classes(tmp_path: Path) -> None:
    _export(tmp_path)
    for root in (tmp_path / "valid", tmp_path / "valid" / "_classes.csv"):
        assert recognise(root)[0] == "roboflow"
        assert _read(root, classes=["eye closed"], test_fraction=0.5).full_labels.tolist() == [[-1]]
    for split in ("train", "test"):
        (tmp_path / split / "_classes.csv").unlink()
    records, reading = reading_of(Roboflow, tmp_path)
    assert (records.images, records.splits) == (("valid/c.jpg",), (UNASSIGNED,))
    assert reading.notes == ["no folder below the root is one of train: test images are drawn"]


def test_images_in_another_folder(tmp_path: Path) -> None:
    _export(tmp_path)
    (tmp_path / "all").mkdir()
    for image in IMAGES:
        (tmp_path / image).rename(tmp_path / "all" / Path(image).name)
    assert _read(tmp_path, images=tmp_path / "all").images == ("a_jpg.rf.1.jpg", "b.jpg", "c.jpg", "d.jpg")


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = "filename, Alert, eye closed\nb.jpg, 1, 2\nb.jpg, , 0\n, 1, 1\nc\0.jpg, 1\n../x.jpg, 0, yes\n"
    _export(tmp_path, train=text, valid="file, Alert\nc.jpg, 1\n", test="filename, Alert, alert\nd.jpg, 1, 1\n")
    message = _problem(tmp_path)
    for part in (
        "1 row does not have the header's 3 cells (row 5: 2)",
        "3 cells are neither 1 nor 0 (train/_classes.csv row 3 'Alert': '', train/_classes.csv row 2 'eye closed': '2'",
        "1 row names no image (train/_classes.csv row 4)",
        "1 image name leads outside the image folder (../x.jpg)",
        "1 table has no column filename (valid/_classes.csv)",
        "1 name stands over several columns (test/_classes.csv: alert)",
    ):
        assert part in message, message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "has nothing in it"),
        ("filename, Alert\n", "has a header and no rows"),
        ("filename\na.jpg\n", ": there is no class that counts; "),
        ("filename, \0\na.jpg, 1\n", "1 label has a name that no class can have"),
    ],
)
def test_a_file_that_is_no_such_table(tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "_classes.csv").write_text(text)
    (tmp_path / "a.jpg").touch()
    assert part in _problem(tmp_path)


def test_several_files_without_training_and_roots_without_any(tmp_path: Path) -> None:
    assert f"{tmp_path} has no train/_classes.csv" in _problem(tmp_path)
    _export(tmp_path)
    (tmp_path / "train" / "_classes.csv").unlink()
    assert "1 folder of splits is none of train (test and validation)" in _problem(tmp_path)
    (tmp_path / "valid" / "_classes.csv").write_text("image, a\nc.jpg, 1\n")
    (tmp_path / "test" / "_classes.csv").write_text("")
    for root in (tmp_path, tmp_path / "train/a.jpg", tmp_path / "absent", Path("a" * 300)):
        assert Roboflow.recognise(root) is None
