"""Long tables, a row a label, and tables with all labels of an image in one cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.labels.formats.registry import recognise
from mlrpl_cli.core.labels.formats.tabular.long import Long
from mlrpl_cli.core.labels.formats.tabular.table import Table
from mlrpl_cli.core.labels.formats.tabular.tags import Tags
from tests.core.labels.formats.reading import problem, reading_of


def write(folder: Path, text: str, name: str = "labels.csv") -> Path:
    for image in ("a.jpg", "b.jpg"):
        (folder / image).touch()
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_rows_that_say_absent_leave_the_others_unknown(tmp_path: Path) -> None:
    text = "image,label,confidence\na.jpg,dog,1\nb.jpg,dog,0\nb.jpg,cat,1\n"
    records, reading = reading_of(Long, write(tmp_path, text))
    assert (records.classes, records.images) == (("cat", "dog"), ("a.jpg", "b.jpg"))
    assert records.full_labels.tolist() == [[0, 1], [1, -1]]
    assert reading.unlisted == "unknown: no row of a long table says"


@pytest.mark.parametrize(
    "text", ["image,label\na.jpg,dog\nb.jpg,cat\n", "image,label,score\na.jpg,dog,1\nb.jpg,cat,1\n"]
)
def test_rows_of_what_is_there_alone_are_asked_about(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    assert "--unlisted absent" in problem(Long, path)
    assert reading_of(Long, path, unlisted="absent")[0].full_labels.tolist() == [[-1, 1], [1, -1]]
    assert reading_of(Long, path, unlisted="unknown")[0].full_labels.tolist() == [[0, 1], [1, 0]]


def test_everything_wrong_with_a_long_table_is_told_at_once(tmp_path: Path) -> None:
    text = "image,label,confidence,split\na.jpg,dog,1,train\na.jpg,dog,0,test\nb.jpg,,1,train\nc.jpg,cat,0.7,other\n"
    message = problem(Long, write(tmp_path, text))
    for part in (
        "1 row names no label (row 4)",
        "1 split is none of train, validation, test (row 5: 'other')",
        "1 image is in two splits (a.jpg: train, test)",
        "1 image is missing (c.jpg)",
        "1 cell holds a score, no label: write 1, 0 or nothing instead, by a threshold of yours (row 5: '0.7')",
        "1 cell is said to be present and absent (a.jpg 'dog')",
    ):
        assert part in message, message


@pytest.mark.parametrize(
    ("cells", "options"),
    [
        (('"dog,cat"', "dog"), {}),
        (("dog|cat", "dog"), {}),
        (("dog; cat;", "dog"), {}),
        (('"dog\ncat"', "dog"), {}),
        (("['dog' 'cat']", "['dog']"), {}),
        (('"[dog, cat]"', "[dog]"), {}),
        (('"{dog,cat}"', "{dog}"), {}),
        (("\"('dog', 'cat')\"", "\"('dog',)\""), {}),
        (("\"'dog','cat'\"", "dog"), {}),
        (("dog cat", "dog"), {"tag_separator": "space"}),
        (('"[""dog"", ""cat""]"', '"[""dog""]"'), {}),
        (("\"['dog', 'cat']\"", "['dog']"), {}),
    ],
)
def test_labels_in_one_cell(tmp_path: Path, cells: tuple[str, str], options: dict[str, str]) -> None:
    path = write(tmp_path, f"image,tags\na.jpg,{cells[0]}\nb.jpg,{cells[1]}\n")
    records, _ = reading_of(Tags, path, unlisted="absent", **options)
    assert (records.classes, records.full_labels.tolist()) == (("cat", "dog"), [[1, 1], [-1, 1]])


@pytest.mark.parametrize(
    ("cell", "part"), [("hot dog", "has spaces, as in 'hot dog'"), ("a|b;c", "has semicolon, pipe")]
)
def test_a_separator_is_not_guessed(tmp_path: Path, cell: str, part: str) -> None:
    path = write(tmp_path, f"image,tags\na.jpg,{cell}\nb.jpg,dog\n")
    message = problem(Tags, path, unlisted="absent")
    assert part in message
    assert "say with --tag-separator" in message
    assert reading_of(Tags, path, unlisted="absent", tag_separator="none")[0].classes == tuple(sorted((cell, "dog")))


def test_an_image_without_a_tag_stays_and_tags_are_asked_about(tmp_path: Path) -> None:
    path = write(tmp_path, "image,labels,is_valid\na.jpg,dog,True\nb.jpg,,False\n")
    assert "--unlisted unknown" in problem(Tags, path)
    records, _ = reading_of(Tags, path, unlisted="unknown")
    assert (records.full_labels.tolist(), records.splits) == ([[1], [0]], ("validation", "train"))


@pytest.mark.parametrize(
    ("text", "dataset"),
    [
        ("image,dog,cat\na.jpg,1,0\n", "table"),
        ("image,label,confidence\na.jpg,dog,1\n", "long"),
        ("image,tags\na.jpg,dog\n", "tags"),
        ("fname,labels,is_valid\na.jpg,dog,True\n", "tags"),
    ],
)
def test_a_table_is_recognised_by_its_columns(tmp_path: Path, text: str, dataset: str) -> None:
    path = write(tmp_path, text)
    assert recognise(path)[0] == dataset
    assert recognise(tmp_path)[0] == dataset


def test_what_is_not_recognised_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing\n")
    with pytest.raises(ConfigError, match="is of no format that is recognised; name it with --dataset"):
        recognise(tmp_path / "notes.txt")
    with pytest.raises(ConfigError, match=r"there is no .*missing"):
        recognise(tmp_path / "missing")


@pytest.mark.parametrize("column", ["is_present", "answer", "presence", "confidence"])
def test_a_column_of_answers_makes_a_long_table(tmp_path: Path, column: str) -> None:
    path = write(tmp_path, f"image,label,{column}\na.jpg,dog,yes\nb.jpg,dog,no\na.jpg,cat,\n")
    assert recognise(path)[0] == "long"
    assert reading_of(Long, path)[0].full_labels.tolist() == [[0, 1], [0, -1]]


def test_an_answer_in_a_column_of_another_name_is_asked_about(tmp_path: Path) -> None:
    """Read as tags, every no would be a yes."""
    path = write(tmp_path, "image,label,visible\na.jpg,dog,1\na.jpg,cat,0\nb.jpg,dog,0\n")
    assert "--dataset long --state-column visible if it says whether" in problem(Tags, path, unlisted="absent")
    assert reading_of(Long, path, state_column="visible")[0].full_labels.tolist() == [[-1, 1], [0, -1]]
    ignored, _ = reading_of(Tags, path, unlisted="absent", ignore_columns=("visible",))
    assert ignored.full_labels.tolist() == [[1, 1], [-1, 1]]


@pytest.mark.parametrize(
    ("column", "cells", "splits"),
    [
        ("is_test", ("1", "0"), ("test", "train")),
        ("is_train", ("0", "1"), ("test", "train")),
        ("fold", ("1.0", "0.0"), ("test", "train")),
        ("split", ("val", "train"), ("validation", "train")),
    ],
)
def test_every_table_reads_the_same_columns_of_splits(
    tmp_path: Path, column: str, cells: tuple[str, str], splits: tuple[str, str]
) -> None:
    for kind, header, rows, options in (
        (Table, "image,dog", ("a.jpg,1", "b.jpg,0"), {}),
        (Long, "image,label,present", ("a.jpg,dog,1", "b.jpg,dog,0"), {}),
        (Tags, "image,tags", ("a.jpg,dog", "b.jpg,dog"), {"unlisted": "absent"}),
    ):
        text = "".join(f"{row},{cell}\n" for row, cell in zip((header, *rows), (column, *cells), strict=True))
        test_fold = "1" if column == "fold" else None
        records, reading = reading_of(kind, write(tmp_path, text), test_fold=test_fold, **options)
        assert records.splits == splits
        assert any(f"column {column} says which images" in note for note in reading.notes)


def test_no_answer_is_no_class_and_flags_are_no_names(tmp_path: Path) -> None:
    path = write(tmp_path, "image,tags\na.jpg,dog\nb.jpg,nan\n")
    records, reading = reading_of(Tags, path, unlisted="absent")
    assert (records.classes, records.full_labels.tolist()) == (("dog",), [[1], [0]])
    assert "1 image without a label (nan, none or the like) is unknown in every class" in reading.notes
    path = write(tmp_path, 'image,tags\na.jpg,"[1, 0]"\nb.jpg,"[0, 1]"\n')
    assert "lists 0 and 1, which are no names of labels" in problem(Tags, path, unlisted="absent")


@pytest.mark.parametrize("cell", ['{"dog": true, "cat": false}', "{'dog': 0.9, 'cat': 0.1}", "(5)", "(None)"])
def test_an_object_is_no_list_of_its_keys(tmp_path: Path, cell: str) -> None:
    """What is false there would be a label."""
    path = write(tmp_path, "image\ttags\na.jpg\t" + cell + "\nb.jpg\t[]\n")
    assert "which lists no names; write the labels that are there" in problem(
        Tags, path, unlisted="absent", separator="tab"
    )


@pytest.mark.parametrize("cells", [("yes", "no"), ("True", "False"), ("[1.0, 0.0]", "[0.0, 1.0]"), ("1", "-1")])
def test_answers_are_no_names_of_labels(tmp_path: Path, cells: tuple[str, str]) -> None:
    path = write(tmp_path, f"image\tlabel\na.jpg\t{cells[0]}\nb.jpg\t{cells[1]}\n")
    assert "which are no names of labels; put the names there, or read columns of answers with --dataset table" in (
        problem(Tags, path, unlisted="absent", separator="tab")
    )


def test_a_missing_list_of_parquet_says_nothing(tmp_path: Path) -> None:
    """An empty list says that there is no label."""
    import pyarrow as pa
    from pyarrow import parquet

    write(tmp_path, "")
    (tmp_path / "c.jpg").touch()
    table = pa.table({"image": ["a.jpg", "b.jpg", "c.jpg"], "tags": [["dog"], None, []]})
    parquet.write_table(table, tmp_path / "labels.parquet")
    records = reading_of(Tags, tmp_path / "labels.parquet", unlisted="absent")[0]
    assert records.full_labels.tolist() == [[1], [0], [-1]]
