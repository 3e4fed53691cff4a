"""The table reader: every spelling of a cell, both codings of −1, and everything wrong with a table at once."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mlrpl_cli.core.labels.formats.tabular import sheets
from mlrpl_cli.core.labels.formats.tabular.columns import ASK_FOR_CODING
from mlrpl_cli.core.labels.formats.tabular.table import Table
from mlrpl_cli.core.labels.records import UNASSIGNED
from tests.core.labels.formats.reading import problem, read


def _write(folder: Path, text: str, name: str = "labels.csv", images: str = "a.jpg b.jpg c.jpg") -> Path:
    for image in images.split():
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        (folder / image).touch()
    (folder / name).write_bytes(text.encode())
    return folder / name


_read, _problem = partial(read, Table), partial(problem, Table)


def test_labels_classes_and_order_of_rows(tmp_path: Path) -> None:
    records = _read(_write(tmp_path, "image,stop sign,dog\nc.jpg,1,0\na.jpg,?,yes\nb.jpg,absent,\n"))
    assert records.classes == ("stop sign", "dog")
    assert records.images == ("c.jpg", "a.jpg", "b.jpg")
    assert records.image_root == tmp_path
    np.testing.assert_array_equal(records.full_labels, [[1, -1], [0, 1], [-1, 0]])
    assert records.full_labels.dtype == np.int8


@pytest.mark.parametrize(
    ("cells", "state"),
    [
        ("1 1.0 yes YES y True present Present", 1),
        ("0 0.0 no No n FALSE absent", -1),
        ("? unknown NaN nan NA n/a None null", 0),
    ],
)
def test_every_spelling_of_a_state_in_any_case(tmp_path: Path, cells: str, state: int) -> None:
    for cell in cells.split():
        assert _read(_write(tmp_path, f"image,dog,cat\na.jpg, {cell} ,1\n")).full_labels.tolist() == [[state, 1]]


@pytest.mark.parametrize(("coding", "minus_one", "zero"), [("minus-one-absent", -1, 0), ("minus-one-unknown", 0, -1)])
def test_each_coding_says_what_minus_one_and_zero_mean(tmp_path: Path, coding: str, minus_one: int, zero: int) -> None:
    """HCP-MLR-PL: 1 present, 0 unknown, −1 absent. DualCoOp: 1 present, 0 absent, −1 unknown. Words stay words."""
    path = _write(tmp_path, "image,p,q,r,s,t,u,v\na.jpg,-1,-1.0,−1,0,0.0,1,no\n")
    expected = [minus_one, minus_one, minus_one, zero, zero, 1, -1]
    assert _read(path, coding=coding).full_labels.tolist() == [expected]


def test_minus_one_without_a_coding_is_refused_with_both_codings(tmp_path: Path) -> None:
    message = _problem(_write(tmp_path, "image,dog,cat\na.jpg,1,0\nb.jpg,-1,1\nc.jpg,0,-1\n"))
    assert "2 cells hold -1 (row 3 'dog': '-1', row 4 'cat': '-1')" in message
    assert message.endswith(ASK_FOR_CODING)
    assert "in HCP-MLR-PL's -1 is absent and 0 unknown, in DualCoOp's -1 is unknown and 0 absent" in ASK_FOR_CODING


@pytest.mark.parametrize(
    ("name", "delimiter"), [("t.csv", ","), ("t.csv", ";"), ("t.csv", "\t"), ("t.txt", ";"), ("t.tsv", "\t")]
)
def test_delimiter_and_byte_order_mark(tmp_path: Path, name: str, delimiter: str) -> None:
    rows = [("cat", '"dog, wet; big"', "image"), ("0", "1", "a.jpg")]
    text = "\ufeff" + "".join(delimiter.join(row) + "\r\n" for row in rows)
    if name.endswith("tsv"):
        text = text.replace('"', "")
    records = _read(_write(tmp_path, text, name))
    assert records.classes == ("cat", "dog, wet; big")
    assert records.full_labels.tolist() == [[-1, 1]]


@pytest.mark.parametrize(
    ("header", "classes"),
    [
        ("dog,Filename,cat", ("dog", "cat")),
        ("dog,PATH,split,cat", ("dog", "cat")),
        ("dog,file_path,cat,Split", ("dog", "cat")),
    ],
)
def test_image_and_split_columns_are_found_by_name(tmp_path: Path, header: str, classes: tuple[str, ...]) -> None:
    cells = {"dog": "1", "cat": "0", "split": "test"}
    row = ",".join(cells.get(name.lower(), "a.jpg") for name in header.split(","))
    records = _read(_write(tmp_path, f"{header}\n{row}\n"))
    assert (records.classes, records.images) == (classes, ("a.jpg",))
    assert records.full_labels.tolist() == [[1, -1]]


def test_without_a_known_name_the_first_column_is_the_image(tmp_path: Path) -> None:
    assert _read(_write(tmp_path, "photo,dog\na.jpg,1\n")).images == ("a.jpg",)


def test_split_column_keeps_validation(tmp_path: Path) -> None:
    text = "image,split,dog\na.jpg,Train,1\nb.jpg,val,1\nc.jpg,TEST,1\n"
    assert _read(_write(tmp_path, text)).splits == ("train", "validation", "test")
    message = _problem(_write(tmp_path, text.replace("val", "other").replace("TEST", "?")))
    assert "2 splits are none of train, validation, test (row 3: 'other', row 4: '?')" in message


@pytest.mark.parametrize("blank", ["", " ", "NaN", "<NA>"])
def test_a_blank_cell_of_a_split_column_says_none(tmp_path: Path, blank: str) -> None:
    text = f"image,split,dog\na.jpg,train,1\nb.jpg,{blank},1\nc.jpg,test,1\n"
    assert _read(_write(tmp_path, text)).splits == ("train", UNASSIGNED, "test")
    text = f"image,is_test,dog\na.jpg,0,1\nb.jpg,{blank},1\nc.jpg,1,1\n"
    assert _read(_write(tmp_path, text)).splits == ("train", UNASSIGNED, "test")


def test_ticks_of_a_flag_do_not_show_what_a_blank_is(tmp_path: Path) -> None:
    message = _problem(_write(tmp_path, "image,is_test,dog\na.jpg,1,1\nb.jpg,,1\n"))
    assert "1 cell of is_test is neither yes nor no (row 3: '')" in message


def test_rows_of_an_image_that_say_its_split_count_for_those_that_do_not(tmp_path: Path) -> None:
    text = "image,split,dog,cat\na.jpg,,1,\na.jpg,test,,1\na.jpg,,,1\nb.jpg,train,0,0\n"
    assert _read(_write(tmp_path, text)).splits == ("test", "train")


def test_image_folder_absolute_names_and_backslashes(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (tmp_path / "tables").mkdir()
    text = f"image,dog\nx/a.jpg,1\nx\\b.jpg,0\n{photos}/c.jpg,1\n./d.jpg,0\n"
    path = _write(tmp_path / "tables", text, images="")
    _write(photos, "", "unused.csv", images="x/a.jpg x/b.jpg c.jpg d.jpg")
    records = _read(path, images=photos)
    assert records.images == ("x/a.jpg", "x/b.jpg", "c.jpg", "d.jpg")
    assert records.image_root == photos


def test_all_that_is_wrong_is_reported_together(tmp_path: Path) -> None:
    text = (
        "image,dog,dog,,cat\n"
        "a.jpg,1,0,1,maybe\n"
        "\n"
        "./a.jpg,2,0,1,1\n"
        "gone.jpg,1,0,1,1\n"
        "../../evil.jpg,1,0,1,1\n"
        "/else/a.jpg,1,0,1,1\n"
        "C:\\else\\b.jpg,1,0,1,1\n"
        ",1,0,1,1\n"
        "b.jpg,1,0\n"
        "c.jpg,1,0,1,1,1\n"
        ",,,,\n"
    )
    message = _problem(_write(tmp_path, text))
    for part in (
        f"{tmp_path / 'labels.csv'} (images in column 'image', below {tmp_path}): ",
        "2 rows do not have the header's 5 cells (row 10: 3, row 11: 6)",
        "1 column has no name (column 4)",
        "1 name stands over several columns (dog)",
        "1 row names no image (row 9)",
        "1 image name leads outside the image folder (../../evil.jpg)",
        "2 image names are an absolute path that is not below the image folder: paths relative to it are read "
        "(/else/a.jpg, C:",
        "1 image is missing (gone.jpg)",
        "2 cells are none of 1/yes/present, 0/no/absent, empty/?/unknown (row 4 'dog': '2', row 2 'cat': 'maybe')",
        "--images",
    ):
        assert part in message, message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "has nothing in it"),
        ("\n,,\n", "has nothing in it"),
        ("image,dog\n", "has a header and no rows"),
        ("image\na.jpg\n", "has no class column, only image"),
        ("image,split\na.jpg,test\n", "has no class column, only image, split"),
        ('image,dog\n"a.jpg,1\n', "is no readable table"),
    ],
)
def test_table_that_holds_nothing_to_read(tmp_path: Path, text: str, part: str) -> None:
    assert part in _problem(_write(tmp_path, text))


def test_file_that_is_no_text_and_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes("image,hond\na.jpg,ja\n".encode("utf-16-le"))
    assert "is no UTF-8 text; name its encoding with --encoding" in _problem(tmp_path / "labels.csv")
    assert "cannot read" in _problem(tmp_path / "absent.csv")


def test_folder_means_its_only_table(tmp_path: Path) -> None:
    _write(tmp_path, "image,dog\na.jpg,1\n")
    assert _read(tmp_path).images == ("a.jpg",)
    _write(tmp_path, "image\tdog\na.jpg\t1\n", "more.tsv")
    assert "is a folder with 2 tables (labels.csv, more.tsv)" in _problem(tmp_path)


def test_a_pipe_a_large_file_and_a_long_name_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    assert "is a folder, a pipe or a device" in _problem(tmp_path / "pipe.csv")
    assert "cannot read" in _problem(Path("a" * 300))
    assert "cannot be the name of a file" in _problem(tmp_path / "a\0b")
    monkeypatch.setattr(sheets, "MOST_BYTES", 10)
    assert "expected at most 10" in _problem(_write(tmp_path, "image,dog\na.jpg,1\n"))


def test_a_folder_that_cannot_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)
    message = f"cannot list {tmp_path}: Permission denied; name the file itself with --root"
    assert _problem(tmp_path) == message


def test_names_that_no_class_or_file_has_are_told_short(tmp_path: Path) -> None:
    long, path = "d" * 100_000, "p" * 300
    text = f"image,do\0g,{long},cat\na.jpg,1,0,{long}\n{path}/b.jpg,1,0,1\nb\0.jpg,1,0,1\n"
    message = _problem(_write(tmp_path, text))
    assert "2 columns have a name that no class can have" in message
    assert "2 names are none that a file can have" in message
    assert "1 cell is none of" in message
    assert len(message) < 2000
