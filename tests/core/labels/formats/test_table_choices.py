"""What a table leaves open is asked about, and an option that it has no use for is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.labels.formats.registry import recognise
from mlrpl_cli.core.labels.formats.tabular.long import Long
from mlrpl_cli.core.labels.formats.tabular.table import Table
from mlrpl_cli.core.labels.formats.tabular.tags import Tags
from mlrpl_cli.core.labels.formats.tools.imagefolder import ImageFolder
from tests.core.labels.formats.reading import problem, reading_of


def write(folder: Path, name: str, text: str) -> Path:
    for image in ("a.jpg", "b.jpg", "c.jpg"):
        (folder / image).touch()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    ("flags", "rows", "splits"),
    [
        ("is_valid,is_train", ("1,0", "0,1", "0,0"), ("validation", "train", "test")),
        ("is_train,is_valid", ("0,1", "1,0", "0,0"), ("validation", "train", "test")),
        ("is_train,is_test", ("1,0", "0,1", "0,0"), ("train", "test", "validation")),
        ("is_train,is_valid,is_test", ("1,0,0", "0,1,0", "0,0,1"), ("train", "validation", "test")),
    ],
)
def test_flags_say_the_same_in_any_order(
    tmp_path: Path, flags: str, rows: tuple[str, ...], splits: tuple[str, ...]
) -> None:
    text = "".join(f"{image}.jpg,1,{row}\n" for image, row in zip("abc", rows, strict=True))
    records, _ = reading_of(Table, write(tmp_path, "labels.csv", f"image,dog,{flags}\n{text}"))
    assert records.splits == splits


def test_an_image_of_two_splits_or_of_none_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "labels.csv", "image,dog,is_test,is_valid\na.jpg,1,1,1\nb.jpg,0,0,0\n")
    assert "1 row is of two splits or of none, by is_test, is_valid (row 2)" in problem(Table, path)
    write(tmp_path, "labels.csv", "image,dog,is_train,is_valid,is_test\na.jpg,1,1,0,0\nb.jpg,0,0,0,0\n")
    assert "of none, by is_train, is_valid, is_test (row 3)" in problem(Table, path)


def test_two_columns_of_splits_are_asked_about(tmp_path: Path) -> None:
    path = write(tmp_path, "labels.csv", "image,dog,split,subset\na.jpg,1,train,test\nb.jpg,0,test,train\n")
    assert "columns split, subset of" in problem(Table, path)
    assert reading_of(Table, path, ignore_columns=("split",))[0].splits == ("test", "train")


def test_a_flag_that_contradicts_the_splits_is_asked_about(tmp_path: Path) -> None:
    path = write(tmp_path, "labels.csv", "image,dog,split,is_test\na.jpg,1,train,1\nb.jpg,0,test,1\n")
    assert "columns split and is_test of" in problem(Table, path)
    assert reading_of(Table, path, ignore_columns=("is_test",))[0].splits == ("train", "test")


def test_two_columns_of_labels_or_answers_are_asked_about(tmp_path: Path) -> None:
    path = write(tmp_path, "labels.csv", "image,category,tags\na.jpg,1,dog\nb.jpg,2,cat\n")
    assert "columns category, tags of" in problem(Tags, path, unlisted="absent")
    for options in ({"tag_column": "tags"}, {"ignore_columns": ("category",)}):
        assert reading_of(Tags, path, unlisted="absent", **options)[0].classes == ("cat", "dog")
    path = write(tmp_path, "labels.csv", "image,label,confidence,present\na.jpg,dog,1,0\nb.jpg,dog,1,1\n")
    assert "columns confidence, present of" in problem(Long, path)
    assert reading_of(Long, path, state_column="present")[0].full_labels.tolist() == [[-1], [1]]
    path = write(tmp_path, "labels.csv", "image,label,class,present\na.jpg,1,dog,0\nb.jpg,1,dog,1\n")
    assert "leave all but one out with --ignore-columns" in problem(Long, path)
    assert reading_of(Long, path, ignore_columns=("label",))[0].classes == ("dog",)


def test_an_ignored_column_names_no_image(tmp_path: Path) -> None:
    path = write(tmp_path, "labels.csv", "filename,path,dog\nold1,a.jpg,1\nold2,b.jpg,0\n")
    assert reading_of(Table, path, ignore_columns=("filename",))[0].images == ("a.jpg", "b.jpg")


@pytest.mark.parametrize(
    ("kind", "text", "options", "told"),
    [
        (Table, "image,dog,fold_id\na.jpg,1,0\nb.jpg,0,1\n", {"test_fold": "1"}, "--test-fold needs a column that"),
        (Table, "image,dog,fold\na.jpg,1,train\nb.jpg,0,test\n", {"test_fold": "1"}, "leave --test-fold out"),
        (Tags, "image,tags\na.jpg,dog\n", {"ignore_columns": ("tag",)}, "is called 'tag'; did you mean 'tags'?"),
        (Long, "image,label\na.jpg,dog\n", {"ignore_columns": ("nothing",)}, "no column of"),
    ],
)
def test_an_option_without_use_is_refused(
    tmp_path: Path, kind: type[Table], text: str, options: dict[str, Any], told: str
) -> None:
    assert told in problem(kind, write(tmp_path, "labels.csv", text), unlisted="absent", **options)


@pytest.mark.parametrize("option", [{"separator": "comma"}, {"encoding": "cp1252"}])
def test_only_text_has_a_separator_and_an_encoding(tmp_path: Path, option: dict[str, str]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    write(tmp_path, "metadata.jsonl", '{"file_name": "a.jpg", "tags": ["dog"]}\n')
    assert "is of tables of text, and" in problem(ImageFolder, tmp_path, unlisted="absent", **option)
    parquet.write_table(pa.table({"image": ["a.jpg", "b.jpg"], "dog": [1, 0]}), tmp_path / "labels.parquet")
    assert "is of tables of text, and" in problem(Table, tmp_path / "labels.parquet", **option)


def test_a_word_for_no_label_is_none_of_an_image_folder_either(tmp_path: Path) -> None:
    write(tmp_path, "metadata.csv", "file_name,tags\na.jpg,Edema\nb.jpg,No Finding\n")
    records, reading = reading_of(ImageFolder, tmp_path, unlisted="absent", tag_separator="none")
    assert (records.classes, records.full_labels.tolist()) == (("Edema",), [[1], [-1]])
    assert reading.notes == ["1 row says 'No Finding', which is read as no label; --classes takes it as a class"]


def test_an_image_folder_has_no_folds(tmp_path: Path) -> None:
    write(tmp_path, "metadata.csv", "file_name,tags\na.jpg,dog\n")
    assert "--test-fold is of no use to an image folder" in problem(ImageFolder, tmp_path, test_fold="1")


@pytest.mark.parametrize("text", ["", "\n", "image,dog\n"])
def test_a_file_without_a_row_is_left_out(tmp_path: Path, text: str) -> None:
    write(tmp_path, "train.csv", "image,dog\na.jpg,1\nb.jpg,0\n")
    write(tmp_path, "test.csv", text)
    records, reading = reading_of(Table, tmp_path)
    assert (records.images, reading.notes) == (("a.jpg", "b.jpg"), ["test.csv has no row and is left out"])
    write(tmp_path, "train.csv", text)
    assert "train.csv has" in problem(Table, tmp_path)


def test_a_file_whose_labels_are_called_otherwise_is_not_left_out(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", "image,Dog\na.jpg,1\nb.jpg,0\n")
    write(tmp_path, "test.csv", "image,dog\nc.jpg,1\n")
    assert "lacks Dog, and has dog beside" in problem(Table, tmp_path)


def test_answers_beside_tags_are_asked_about(tmp_path: Path) -> None:
    """Read as tags, a no would be a yes, also where no image repeats."""
    path = write(tmp_path, "labels.csv", "image,label,target\na.jpg,dog,1\nb.jpg,dog,0\n")
    assert "--dataset long --state-column target if it says whether" in problem(Tags, path, unlisted="absent")


@pytest.mark.parametrize(
    ("kind", "options"), [(Table, {"label_columns": ("image", "dog")}), (Tags, {"tag_column": "image"})]
)
def test_names_of_images_are_no_labels(tmp_path: Path, kind: type[Table], options: dict[str, Any]) -> None:
    path = write(tmp_path, "labels.csv", "image,dog\na.jpg,1\nb.jpg,0\n")
    assert "image, which names the images" in problem(kind, path, unlisted="absent", **options)


@pytest.mark.parametrize("test", [",image,dog\n0,c.jpg,1\n", "image,dog\nc.jpg,1\n"])
def test_each_file_may_have_its_index(tmp_path: Path, test: str) -> None:
    write(tmp_path, "train.csv", ",image,dog\n0,a.jpg,1\n1,b.jpg,0\n")
    write(tmp_path, "test.csv", test)
    records = reading_of(Table, tmp_path)[0]
    assert (records.classes, records.full_labels.tolist()) == (("dog",), [[1], [-1], [1]])


def test_a_file_without_the_column_of_answers_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", "image,label,present\na.jpg,dog,1\nb.jpg,dog,0\n")
    write(tmp_path, "test.csv", "image,label\nc.jpg,dog\n")
    assert "need the same columns: the first lacks present" in problem(Long, tmp_path)


def test_an_empty_workbook_is_left_out(tmp_path: Path) -> None:
    import openpyxl

    write(tmp_path, "train.csv", "image,dog\na.jpg,1\nb.jpg,0\n")
    openpyxl.Workbook().save(tmp_path / "test.xlsx")
    assert reading_of(Table, tmp_path)[1].notes == ["test.xlsx has no row and is left out"]
    assert "test.xlsx has nothing in it" in problem(Table, tmp_path / "test.xlsx")


def test_a_column_of_bytes_is_told(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    write(tmp_path, "labels.csv", "")
    path = tmp_path / "labels.parquet"
    parquet.write_table(pa.table({"image": ["a.jpg", "b.jpg"], "thumb": [b"\xff\xd8", None], "dog": [1, 0]}), path)
    assert recognise(path)[0] == "table"
    assert "column holds no label: --ignore-columns leaves one out (thumb: 'b'" in problem(Table, path)
    assert reading_of(Table, path, ignore_columns=("thumb",))[0].full_labels.tolist() == [[1], [-1]]


def test_a_folder_of_masks_is_no_folder_of_images(tmp_path: Path) -> None:
    for name in ("train/1.png", "train_masks/1.png", "test_jpg/1.png", "test_jpg/2.png", "test_masks/2.png"):
        write(tmp_path, name, "")
    write(tmp_path, "train.csv", "image,dog\n1.png,1\n")
    write(tmp_path, "test.csv", "image,dog\n1.png,0\n")
    assert reading_of(Table, tmp_path)[0].images == ("train/1.png", "test_jpg/1.png")
    write(tmp_path, "test.csv", "image,dog\n2.png,0\n")
    assert "1 image name fits several files (test_jpg/2.png, test_masks/2.png)" in problem(Table, tmp_path)


@pytest.mark.parametrize("name", ["x", "yes", "1"])
def test_the_name_of_a_column_is_none_of_its_ticks(tmp_path: Path, name: str) -> None:
    """A blank in the column of ticks is asked about, whatever another column is called."""
    path = write(tmp_path, "labels.csv", f"image,dog,{name}\na.jpg,{name},0\nb.jpg,,0\n")
    assert "lists what is there in dog and leaves the other cells empty" in problem(Table, path)


def test_each_file_says_for_itself_what_its_blanks_are(tmp_path: Path) -> None:
    """Ticks of training are asked about, although the test file says absent in the same words."""
    write(tmp_path, "train.csv", "image,dog,cat\na.jpg,1,\nb.jpg,,1\n")
    write(tmp_path, "test.csv", "image,dog,cat\nc.jpg,1,0\n")
    assert "lists what is there, leaves the other cells empty, and does not say" in problem(Table, tmp_path)
    labels = reading_of(Table, tmp_path, unlisted="absent")[0].full_labels
    assert labels.tolist() == [[1, -1], [-1, 1], [1, -1]]


def test_a_flag_that_only_one_file_has_can_be_left_out(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", "image,dog,is_valid\na.jpg,1,0\nb.jpg,0,1\n")
    write(tmp_path, "test.csv", "image,dog\nc.jpg,1\n")
    assert "--ignore-columns is_valid takes those of the files" in problem(Table, tmp_path)
    records, _ = reading_of(Table, tmp_path, ignore_columns=("is_valid",))
    assert records.splits == ("train", "train", "test")


@pytest.mark.parametrize("option", [{"classes": ("dog",)}, {"label_columns": ("dog",)}])
def test_a_class_cannot_be_ignored(tmp_path: Path, option: dict[str, Any]) -> None:
    path = write(tmp_path, "labels.csv", "image,dog,cat\na.jpg,1,0\nb.jpg,0,1\n")
    told = problem(Table, path, ignore_columns=("dog",), **option)
    assert told == "--ignore-columns names dog, which is asked for as a class; leave it out"


def test_a_form_of_predictions_is_no_table_of_labels(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", "image,dog\na.jpg,1\nb.jpg,0\n")
    write(tmp_path, "sample_submission.csv", "image,dog\nc.jpg,0.5\n")
    assert recognise(tmp_path)[0] == "table"
    assert reading_of(Table, tmp_path)[0].images == ("a.jpg", "b.jpg")
    write(tmp_path, "more.csv", "image,dog\nc.jpg,1\n")
    with pytest.raises(ConfigError, match=r"holds 3 tables, of which several or none .*; name the file itself"):
        recognise(tmp_path)


def test_a_table_called_after_a_split_has_its_images_in_its_folder(tmp_path: Path) -> None:
    write(tmp_path, "train-jpg/1.jpg", "")
    path = write(tmp_path, "train_v2.csv", "image_name,tags\n1,clear\n")
    assert reading_of(Tags, path, unlisted="absent")[0].images == ("train-jpg/1.jpg",)


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("dog:0.9,cat:0.1", "lists labels with scores (cat:0.1, dog:0.9); list those that are there"),
        ("dog (0.75)", "lists labels with scores (dog (0.75)); list"),
        ("['dog', nan]", "lists nan beside labels, which is no name of one"),
    ],
)
def test_scores_and_missing_values_are_no_labels(tmp_path: Path, cell: str, told: str) -> None:
    path = write(tmp_path, "labels.tsv", f"image\ttags\na.jpg\t{cell}\nb.jpg\tcow\n")
    assert told in problem(Tags, path, unlisted="absent", tag_separator="comma")


def test_a_backslash_in_a_list_is_no_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = write(tmp_path, "labels.tsv", "image\ttags\na.jpg\t['and\\or']\nb.jpg\t['cow']\n")
    assert reading_of(Tags, path, unlisted="absent")[0].classes == ("and\\or", "cow")
    assert not recwarn.list


def test_a_list_of_a_missing_value_alone_says_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, "labels.tsv", "image\ttags\na.jpg\t[nan]\nb.jpg\t[]\nc.jpg\t['cow']\n")
    assert reading_of(Tags, path, unlisted="absent")[0].full_labels.tolist() == [[0], [-1], [1]]


def test_the_column_of_images_may_be_named(tmp_path: Path) -> None:
    """As in Kaggle's protein atlas, where no name says it, and beside links, which are not images."""
    path = write(tmp_path, "labels.csv", "Id,Target\na.jpg,7 1\nb.jpg,7\n")
    options = {"image_column": "Id", "tag_column": "Target", "tag_separator": "space", "unlisted": "absent"}
    records, _ = reading_of(Tags, path, **options)
    assert dict(zip(records.classes, records.full_labels.T.tolist(), strict=True)) == {"7": [1, 1], "1": [1, -1]}
    assert "or say which they are with --image-column and --label-columns" in problem(Table, path)
    path = write(tmp_path, "links.csv", "url,cat,dog\na.jpg,1,0\nb.jpg,0,1\n")
    records, _ = reading_of(Table, path, image_column="url")
    assert (records.classes, records.full_labels.tolist()) == (("cat", "dog"), [[1, -1], [-1, 1]])
    told = problem(Table, path, image_column="urls")
    assert "has no column 'urls' (--image-column)" in told
    assert "both name url" in problem(Table, path, image_column="url", ignore_columns=("url",))
    merged = {"classes": ["pet"], "merged": {"cat": "pet"}}
    told = problem(Table, path, image_column="url", ignore_columns=("cat",), **merged)
    assert "--ignore-columns names cat, which is asked for as a class" in told
    write(tmp_path, "metadata.csv", "file_name,labels\na.jpg,dog\n")
    assert "--image-column is of no use" in problem(ImageFolder, tmp_path, image_column="file_name")
