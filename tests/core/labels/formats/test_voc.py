"""The VOC reader on small devkits, whose labels are written down beside the objects they come from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mlrpl_cli.core.labels.formats.published import voc_files, voc_xml
from mlrpl_cli.core.labels.formats.published.voc import CLASSES, Voc
from tests.core.labels.formats.reading import problem, read

Object = tuple[str, int]


def _write_release(folder: Path, sets: dict[str, Sequence[str]], objects: dict[str, list[Object]]) -> Path:
    for name in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    for name, ids in sets.items():
        (folder / "ImageSets" / "Main" / f"{name}.txt").write_text("".join(f"{i}\n" for i in ids))
    for identifier, found in objects.items():
        (folder / "JPEGImages" / f"{identifier}.jpg").touch()
        elements = "".join(
            f"<object><part><name>head</name></part><name>{name}</name><difficult>{d}</difficult></object>"
            for name, d in found
        )
        (folder / "Annotations" / f"{identifier}.xml").write_text(f"<annotation>{elements}</annotation>")
    return folder


OBJECTS: dict[str, list[Object]] = {
    "000009": [("person", 0), ("person", 1)],
    "000002": [("train", 1), ("dog", 0)],
    "000005": [("cat", 1), ("cat", 0), ("cat", 1)],
    "000001": [],
}
SETS = {"trainval": ["000009", "000002"], "test": ["000005", "000001"]}
DIFFICULT_ONLY = ("000002", "train")


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    _write_release(tmp_path / "VOCdevkit" / "VOC2007", SETS, OBJECTS)
    return tmp_path / "VOCdevkit"


_read, _problem = partial(read, Voc), partial(problem, Voc)


@pytest.mark.parametrize(("difficult", "state"), [("absent", -1), ("unknown", 0)])
def test_labels_order_and_splits(devkit: Path, difficult: str, state: int) -> None:
    records = _read(devkit, difficult=difficult)
    order = ["000009", "000002", "000005", "000001"]
    expected = np.full((4, 20), -1)
    for row, identifier in enumerate(order):
        for name, hard in OBJECTS[identifier]:
            if not hard:
                expected[row, sorted(CLASSES).index(name)] = 1
    expected[1, sorted(CLASSES).index("train")] = state
    np.testing.assert_array_equal(records.full_labels, expected)
    assert records.full_labels.dtype == np.int8
    assert records.images == tuple(f"JPEGImages/{identifier}.jpg" for identifier in order)
    assert records.splits == ("train", "train", "test", "test")
    assert records.image_root == devkit / "VOC2007"


def test_the_twenty_classes_are_in_alphabetical_order() -> None:
    assert list(CLASSES) == sorted(set(CLASSES))
    assert len(CLASSES) == 20


@pytest.mark.parametrize("where", [".", "VOCdevkit", "VOCdevkit/VOC2007"])
def test_every_way_to_name_the_folder_reads_the_same(devkit: Path, where: str) -> None:
    assert _read(devkit.parent / where).images == _read(devkit).images


def test_release_of_2012_has_val_for_test_and_2007_comes_first(devkit: Path) -> None:
    sets = {"train": ["000001"], "val": ["000002"], "trainval": ["000001", "000002"], "test": ["000005"]}
    _write_release(devkit / "VOC2012", sets, OBJECTS)
    assert _read(devkit).image_root == devkit / "VOC2007"
    for records in (_read(devkit, year="2012"), _read(devkit / "VOC2012")):
        assert records.images == ("JPEGImages/000001.jpg", "JPEGImages/000002.jpg")
        assert records.splits == ("train", "test")


def test_renamed_release_is_read_by_the_asked_year(devkit: Path) -> None:
    (devkit / "VOC2007").rename(devkit / "mine")
    assert _read(devkit / "mine").splits == ("train", "train", "test", "test")
    assert "train.txt, val.txt" in _problem(devkit / "mine", year="2012")


def test_all_that_is_wrong_is_reported_together(devkit: Path) -> None:
    folder = devkit / "VOC2007"
    (folder / "JPEGImages" / "000009.jpg").unlink()
    (folder / "Annotations" / "000002.xml").unlink()
    (folder / "Annotations" / "000005.xml").write_text("<annotation><object>")
    (folder / "Annotations" / "000001.xml").write_text("<annotation><object><name>unicorn</name></object></annotation>")
    (folder / "ImageSets" / "Main" / "test.txt").write_text("000005\n000001\n000009\n../x\n")
    message = _problem(devkit)
    for part in (
        "1 id holds a path, no name (../x)",
        "1 image is listed twice (000009)",
        "image is missing (JPEGImages/000009)",
        "1 annotation is missing (000002.xml)",
        "1 annotation is no readable XML (000005.xml: ",
        "1 object is of no VOC class ('unicorn' in 000001.xml)",
    ):
        assert part in message


@pytest.mark.parametrize(
    "declaration",
    ['<!ENTITY a "dog"><!ENTITY b "&a;&a;">', '<!ENTITY b SYSTEM "file:///etc/passwd">'],
)
def test_entities_are_never_expanded(devkit: Path, declaration: str) -> None:
    text = f"<!DOCTYPE x [{declaration}]><annotation><object><name>&b;</name></object></annotation>"
    (devkit / "VOC2007" / "Annotations" / "000001.xml").write_text(text)
    assert "1 annotation is no readable XML (000001.xml: a document type is not allowed)" in _problem(devkit)


def test_xml_of_another_kind_and_of_an_unknown_encoding(devkit: Path) -> None:
    annotations = devkit / "VOC2007" / "Annotations"
    (annotations / "000001.xml").write_text("<html/>")
    (annotations / "000002.xml").write_text('<?xml version="1.0" encoding="klingon"?><annotation/>')
    message = _problem(devkit)
    assert "1 annotation is XML of another kind (000001.xml: <html>)" in message
    assert "1 annotation is no readable XML (000002.xml: " in message


def test_missing_test_set_and_empty_training_set_say_what_to_do(devkit: Path) -> None:
    sets = devkit / "VOC2007" / "ImageSets" / "Main"
    (sets / "test.txt").unlink()
    (sets / "trainval.txt").write_text("\n")
    message = _problem(devkit)
    assert "image-set file is missing, unpack the archive that has them into the same VOCdevkit (test.txt)" in message
    assert "1 image-set file lists no image (trainval.txt)" in message


def test_folder_without_a_release_names_what_was_looked_for(devkit: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no VOC2007 or VOC2012 with ImageSets/Main and Annotations" in _problem(tmp_path / "empty")
    assert "is no folder" in _problem(tmp_path / "absent")
    assert "holds no VOC2012" in _problem(devkit, year="2012")
    assert "is VOC 2007, not 2012" in _problem(devkit / "VOC2007", year="2012")


def test_attributes_that_a_document_type_adds_are_refused(devkit: Path) -> None:
    """A thousand characters for each of a thousand elements, from two thousand bytes and more: quadratic growth."""
    declared = f'<!DOCTYPE annotation [<!ATTLIST object x CDATA "{"A" * 1000}">]>'
    text = f"{declared}<annotation>{'<object><name>dog</name></object>' * 1000}</annotation>"
    (devkit / "VOC2007" / "Annotations" / "000001.xml").write_text(text)
    assert "(000001.xml: a document type is not allowed)" in _problem(devkit)


def test_files_that_are_too_large_or_no_files_are_named(devkit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voc_xml, "MOST_OF_AN_ANNOTATION", 200)
    monkeypatch.setattr(voc_files, "MOST_OF_AN_IMAGE_SET", 20)
    folder = devkit / "VOC2007"
    (folder / "Annotations" / "000002.xml").write_text("<annotation/>" + " " * 200)
    (folder / "Annotations" / "000009.xml").unlink()
    os.mkfifo(folder / "Annotations" / "000009.xml")
    (folder / "ImageSets" / "Main" / "test.txt").write_text("000005\n" * 3)
    message = _problem(devkit)
    assert "000002.xml has 213 bytes, expected at most 200" in message
    assert "000009.xml is a folder, a pipe or a device" in message
    assert "test.txt has 21 bytes, expected at most 20" in message


def test_ids_that_no_file_has_and_long_names_are_told_short(devkit: Path) -> None:
    folder = devkit / "VOC2007"
    (folder / "ImageSets" / "Main" / "test.txt").write_text("000005\n000001\n" + "a" * 300 + "\na\0b\n")
    text = "<annotation><object><name>" + "x\n" * 5000 + "</name></object></annotation>"
    (folder / "Annotations" / "000001.xml").write_text(text)
    message = _problem(devkit)
    assert "2 ids hold a path, no name" in message
    assert "1 object is of no VOC class" in message
    assert len(message) < 1000


def test_a_root_whose_name_is_too_long_holds_nothing() -> None:
    assert "is no folder, so it holds no VOC2007" in _problem(Path("a" * 300))
