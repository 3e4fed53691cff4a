"""VG-200's indices as cells, by hand, and everything wrong at once."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlrpl_cli.core.labels.formats.published.vg import Vg200
from mlrpl_cli.core.labels.formats.registry import recognise
from tests.core.labels.formats.reading import problem, read, reading_of

_read, _problem = partial(read, Vg200), partial(problem, Vg200)
NAMES = [f"class number {number}" for number in range(200)]
INDEX = {"1.jpg": [0, 199], "2.jpg": [], "3.jpg": [7, 7, 8], "9.jpg": [1]}


def _release(root: Path, index: Any = INDEX, test: str = "3.jpg\n") -> Path:
    (root / "train_list_500.txt").write_text("2.jpg\n1.jpg\n")
    (root / "test_list_500.txt").write_text(test)
    (root / "vg_category_200_labels_index.json").write_text(json.dumps(index))
    (root / "names.txt").write_text("\n".join(NAMES))
    for image in ("VG_100K/1.jpg", "VG_100K_2/2.jpg", "VG_100K/3.jpg"):
        (root / image).parent.mkdir(exist_ok=True)
        (root / image).touch()
    return root


def test_indices_are_present_and_the_rest_is_absent(tmp_path: Path) -> None:
    why = "it holds vg_category_200_labels_index.json"
    assert recognise(_release(tmp_path)) == ("vg", why)
    assert Vg200(root=tmp_path).usual_keep() == 0.3
    records, reading = reading_of(Vg200, tmp_path, class_descriptions=tmp_path / "names.txt")
    assert (list(records.classes), records.splits) == (NAMES, ("train", "train", "test"))
    assert records.images == ("VG_100K_2/2.jpg", "VG_100K/1.jpg", "VG_100K/3.jpg")
    assert np.argwhere(records.full_labels == 1).tolist() == [[1, 0], [1, 199], [2, 7], [2, 8]]
    assert (records.full_labels == -1).sum() == 3 * 200 - 4
    assert reading.notes == ["1 image of vg_category_200_labels_index.json is in neither list and left out"]


def test_names_as_json_chosen_classes_and_images_elsewhere(tmp_path: Path) -> None:
    path = _release(tmp_path) / "names.json"
    path.write_text(json.dumps(NAMES))
    for folder in ("VG_100K", "VG_100K_2"):
        (tmp_path / "vg" / folder).parent.mkdir(exist_ok=True)
        (tmp_path / folder).rename(tmp_path / "vg" / folder)
    records = _read(tmp_path, class_descriptions=path, classes=[NAMES[7]], images=tmp_path / "vg")
    assert records.full_labels.tolist() == [[-1], [-1], [1]]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (
            None,
            "does not name them: give a file with their names, one a line in the order of the indices, with --",
        ),
        ("dog\ncat\n", "should hold 200 names of classes, got 2 different ones; check --class-descriptions"),
        ("dog\n" * 200, "should hold 200 names of classes, got 1 different ones"),
        ("\n".join(["x" * 2000, *NAMES[1:]]), "1 label has a name that no class can have (xxx"),
        ("", "got 0 different ones"),
    ],
)
def test_names_are_asked_for(tmp_path: Path, content: str | None, part: str) -> None:
    _release(tmp_path)
    options = {} if content is None else {"class_descriptions": tmp_path / "names.txt"}
    (tmp_path / "names.txt").write_text(content or "")
    assert part in _problem(tmp_path, **options)


@pytest.mark.parametrize(
    ("name", "data", "part"),
    [("absent.txt", None, "cannot read "), ("names.json", b"{}", "got {}; check"), ("names.json", b"[", "Expecting")],
)
def test_files_of_names_that_are_none(tmp_path: Path, name: str, data: bytes | None, part: str) -> None:
    path = _release(tmp_path) / name
    if data is not None:
        path.write_bytes(data)
    assert part in _problem(tmp_path, class_descriptions=path)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    index = {"1.jpg": [200, -1], "2.jpg": "dog", "3.jpg": [True], "5.jpg": {}}
    _release(tmp_path, index, "3.jpg\n4.jpg\n1.jpg\n5.jpg\n../x.jpg\n")
    (tmp_path / "VG_100K_2" / "3.jpg").touch()
    message = _problem(tmp_path, class_descriptions=tmp_path / "names.txt")
    for part in (
        "5 images have no list of indices from 0 to 199 (2.jpg: 'dog', 1.jpg: [200, -1], 3.jpg: [True], …)",
        "2 images are not in vg_category_200_labels_index.json (4.jpg, ../x.jpg)",
        "3 images are missing (4.jpg, 5.jpg, ../x.jpg)",
        "1 image id fits several files (3: VG_100K/3.jpg, VG_100K_2/3.jpg)",
        "1 image is in two splits (VG_100K/1.jpg: train, test)",
    ):
        assert part in message, message


@pytest.mark.parametrize(
    ("file", "data", "part"),
    [
        (
            "vg_category_200_labels_index.json",
            b"[]",
            "1 file holds no lists of indices by image (vg_category_200_la",
        ),
        (
            "vg_category_200_labels_index.json",
            b"{",
            "1 file cannot be read (vg_category_200_labels_index.json: ",
        ),
        ("vg_category_200_labels_index.json", b"[" * 100_000, "values are nested too deeply"),
        ("train_list_500.txt", b"\xff\xfe", "1 file cannot be read (train_list_500.txt: 'utf-8'"),
        ("train_list_500.txt", None, "1 file is missing (train_list_500.txt)"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, file: str, data: bytes | None, part: str) -> None:
    path = _release(tmp_path) / file
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    assert part in _problem(tmp_path, class_descriptions=tmp_path / "names.txt")


def test_empty_lists_and_roots_without_the_index(tmp_path: Path) -> None:
    _release(tmp_path, {}, "")
    (tmp_path / "train_list_500.txt").write_text("\n")
    assert ": there is no image that counts; " in _problem(tmp_path, class_descriptions=tmp_path / "names.txt")
    for root in (tmp_path / "names.txt", tmp_path / "absent", Path("a" * 300)):
        assert Vg200.recognise(root) is None
