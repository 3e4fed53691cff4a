"""What every format promises of its options, and the sentences for options that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.labels.formats.published.voc import Voc
from mlrpl_cli.core.labels.formats.registry import DATASETS, find_root, format_of, make_format, recognise
from mlrpl_cli.core.labels.records import Format


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_format_says_what_its_options_mean(dataset: str) -> None:
    kind = format_of(dataset)
    assert issubclass(kind, Format)
    assert all(field.description for field in kind.model_fields.values())


def test_a_format_is_made_of_what_is_given() -> None:
    made = make_format("voc", {"root": "kit", "difficult": "unknown"})
    assert made == Voc(root=Path("kit"), year=None, difficult="unknown")
    with pytest.raises(ValidationError, match="frozen"):
        made.year = "2012"  # type: ignore[attr-defined]


def test_a_root_of_bytes_that_are_no_text_is_taken() -> None:
    """Linux names are bytes; Python writes those that are no UTF-8 as lone surrogates."""
    assert make_format("table", {"root": Path("bilder-\udcfc")}) == format_of("table")(root=Path("bilder-\udcfc"))


@pytest.mark.parametrize(
    ("dataset", "given", "sentence"),
    [
        (
            "voc",
            {},
            "voc needs --root, VOCdevkit, a folder that holds it, VOC2007 or VOC2012 itself, or a folder with XML ",
        ),
        ("voc", {"root": ".", "year": "2010"}, "--year: expected one of 2007, 2012, got '2010'"),
        ("voc", {"root": ".", "difficult": "present"}, "--difficult: expected one of absent, unknown, got 'present'"),
        ("coco", {}, "coco needs --root, the folder that holds annotations/"),
        ("coco", {"root": ".", "year": "2007"}, "--year: expected one of 2014, 2017, got '2007'"),
        ("table", {}, "table needs --root, a CSV, TSV, Parquet or XLSX file with a column per class, or a folder with"),
        (
            "table",
            {"root": ".", "coding": "x"},
            "--coding: expected one of minus-one-absent, minus-one-unknown",
        ),
        ("table", {"root": ".", "test_fraction": 1.0}, "--test-fraction: expected a number from 0 to below 1, got 1.0"),
        ("table", {"root": 5}, "--root: expected a path, got 5"),
        ("scenes", {"train_images": 1}, "--train-images: expected a whole number of at least 2, got 1"),
        ("scenes", {"test_images": "many"}, "--test-images: expected a whole number of at least 0, got 'many'"),
        ("scenes", {"year": "2007"}, "--year is an option of voc, coco, not of scenes; leave it out, or "),
        ("scenes", {"train_image": 5}, "scenes has no option 'train_image'; did you mean 'train_images'?"),
        ("cocoa", {}, "no data set is called 'cocoa'; did you mean 'coco'?"),
    ],
)
def test_options_that_cannot_be(dataset: str, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_format(dataset, given)
    assert str(error.value).startswith(sentence)


def test_everything_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        make_format("voc", {"year": "2010", "difficult": "no", "coding": "x"})
    for part in ("voc needs --root", "--year: ", "--difficult: ", "--coding is an option of table, not of voc"):
        assert part in str(error.value)


def _voc(folder: Path) -> None:
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / "VOC2007" / name).mkdir(parents=True)


def test_a_published_data_set_is_found_where_it_usually_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder comes first, then where --download puts it, then the folder that the variable names."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("MLRPL_DATASETS", str(tmp_path / "shelf"))
    assert find_root("voc") is None
    for place in (tmp_path / "shelf" / "voc", Path("datasets/voc"), Path("VOCdevkit")):
        _voc(place)
        assert find_root("voc") == place
    assert find_root("scenes") is None
    assert find_root("table") is None


def test_what_is_not_recognised_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names:\n- cat\n- dog\n")
    (tmp_path / "export.zip").write_bytes(b"PK\3\4")
    (tmp_path / "empty").mkdir()
    for root, advice in (
        (tmp_path, "it looks like YOLO's, which is not read: export it as COCO"),
        (tmp_path / "data.yaml", "it looks like YOLO's"),
        (tmp_path / "export.zip", "unpack it, and name the folder"),
        (tmp_path / "empty", "name it with --dataset (voc, coco, "),
    ):
        with pytest.raises(ConfigError) as error:
            recognise(root)
        assert f"{root} is of no format that is recognised; {advice}" in str(error.value)


def test_what_could_be_two_formats_is_asked_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "labels.csv").write_text("image,label\na.jpg,dog\n")
    monkeypatch.setattr(format_of("long"), "recognise", classmethod(lambda kind, root: "it looks long"))
    message = "can be read as long (it looks long), or tags (labels.csv is a table with all labels of an image in one"
    with pytest.raises(ConfigError) as error:
        recognise(tmp_path / "labels.csv")
    assert message in str(error.value)
    assert str(error.value).endswith("; choose one with --dataset")
