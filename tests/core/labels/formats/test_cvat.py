"""CVAT's XML for images as cells, by hand, and everything wrong at once."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from mlrpl_cli.core.labels.formats.registry import recognise
from mlrpl_cli.core.labels.formats.tools.cvat import Cvat
from mlrpl_cli.core.labels.records import UNASSIGNED
from tests.core.labels.formats.reading import problem, read, reading_of

_read, _problem = partial(read, Cvat, unlisted="absent"), partial(problem, Cvat, unlisted="absent")
META = """<meta><task><name>x</name><subset>{subset}</subset><labels><label><name>hat</name><attributes>
<attribute><name>colour</name></attribute></attributes></label><label><name>vest</name></label>
<label><name>person</name><type>skeleton</type></label><label><name>nose</name><parent>person</parent></label>
</labels></task></meta>"""
IMAGES = """<image id="0" name="a.jpg" subset="Train" width="8" height="8"><tag label="hat" source="manual">
<attribute name="colour">vest</attribute></tag><tag label="vest"/></image>
<image id="1" name="b.jpg" subset="Train"><box label="vest" xtl="1"/><skeleton label="person"><points label="nose"/>
</skeleton></image><image id="2" name="c.jpg" subset="test"/><image id="3" name="ü d.jpg" subset="Validation"/>"""


def _export(
    root: Path, images: str = IMAGES, meta: str = META, folder: str = "images", encoding: str = "utf-8"
) -> Path:
    start = f'<?xml version="1.0" encoding="{encoding}"?>\n<annotations><version>1.1</version>'
    text = f"{start}{meta}{images}</annotations>"
    (root / "annotations.xml").write_bytes(text.encode(encoding))
    (root / folder).mkdir(exist_ok=True, parents=True)
    for name in ("a.jpg", "b.jpg", "c.jpg", "ü d.jpg"):
        (root / folder / name).touch()
    return root


def test_tags_and_shapes_are_present_and_subsets_are_the_splits(tmp_path: Path) -> None:
    assert recognise(_export(tmp_path)) == ("cvat", "annotations.xml has the XML element <annotations> of CVAT")
    records, reading = reading_of(Cvat, tmp_path / "annotations.xml", unlisted="absent")
    assert records.classes == ("hat", "vest", "person")
    assert records.images == ("images/a.jpg", "images/b.jpg", "images/c.jpg", "images/ü d.jpg")
    assert records.full_labels.tolist() == [[1, 1, -1], [-1, 1, 1], [-1, -1, -1], [-1, -1, -1]]
    assert records.splits == ("train", "train", "test", "validation")
    assert reading.notes == ["labels of shapes count as present, too: 1 box, 1 skeleton"]
    assert reading.unlisted == "absent: --unlisted"
    unknown = read(Cvat, tmp_path, unlisted="unknown")
    assert unknown.full_labels.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0], [0, 0, 0]]


def test_what_a_missing_tag_means_is_asked(tmp_path: Path) -> None:
    message = problem(Cvat, _export(tmp_path))
    assert message.startswith(f"{tmp_path / 'annotations.xml'} lists tags and does not say what a missing one means: ")


@pytest.mark.parametrize("folder", [".", "images", "images/default", "elsewhere"])
def test_places_of_images(tmp_path: Path, folder: str) -> None:
    images = '<image id="0" name="a.jpg" subset="default"><tag label="hat"/></image><image name="b.jpg"/>'
    _export(tmp_path, images + images, META.format(subset="default"), folder)
    options = {"images": tmp_path / folder} if folder == "elsewhere" else {}
    records, reading = reading_of(Cvat, tmp_path, unlisted="absent", **options)
    assert set(records.splits) == {UNASSIGNED}
    assert reading.notes == [
        "subsets that are no split are left to --test-fraction: default (4 images)",
        "2 images are listed several times: tags are put together",
    ]


def test_the_subset_of_the_task_labels_without_meta_and_chosen_classes(tmp_path: Path) -> None:
    images = (
        '<image name="a.jpg"><tag label="new"/></image><image name="b.jpg" subset="test"><tag label="hat"/></image>'
    )
    _export(tmp_path, images, META.format(subset="train"), encoding="utf-16")
    assert _read(tmp_path).classes == ("hat", "vest", "person", "new")
    assert _read(tmp_path).splits == ("train", "test")
    assert _read(tmp_path, classes=["new"]).full_labels.tolist() == [[1], [-1]]
    assert _read(tmp_path, merged={"new": "hat"}).full_labels.tolist() == [[1, -1, -1], [1, -1, -1]]
    assert recognise(tmp_path)[0] == "cvat"


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    images = (
        '<image id="7"><tag label="hat"/></image><image name="a.jpg"><tag/><box/></image><image name="lost.jpg"/>'
        '<image name="../a.jpg"/><image name="b.jpg" subset="test"/><image name="b.jpg" subset="train"/>'
        '<image name="c.jpg"><tag label=" "/></image>'
    )
    message = _problem(_export(tmp_path, images))
    for part in (
        "1 image has no name (id 7)",
        "2 tags have no label (<tag> in a.jpg, <box> in a.jpg)",
        "1 image is missing (lost.jpg)",
        "1 image name leads outside the image folder (../a.jpg)",
        "1 image is in two splits (images/b.jpg: test, train)",
        "1 label has a name that no class can have (an empty one)",
    ):
        assert part in message, message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is no readable XML: no element found"),
        ("<annotations><image", "is no readable XML: "),
        ("<annotation/>", "is XML of another kind, <annotation>; export the task as"),
        ("<annotations><meta/><track id='0'/></annotations>", "has tracks of a video; export the task as"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><annotations>&b;</annotations>", "a document type is not allowed"),
        ("<?xml version='1.0' encoding='klingon'?><annotations/>", "is no readable XML: "),
        ("<annotations><version>1.1</version></annotations>", ": there is no class that counts; "),
        (f"<annotations>{META}</annotations>", ": there is no image that counts; "),
    ],
)
def test_a_file_that_is_no_such_xml(tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "labels.xml").write_text(text)
    assert part in _problem(tmp_path / "labels.xml")


def test_what_is_no_export(tmp_path: Path) -> None:
    assert f"there is no {tmp_path / 'annotations.xml'}; name the XML" in _problem(tmp_path)
    (tmp_path / "voc.xml").write_text("<annotation/>")
    for root in (tmp_path, tmp_path / "voc.xml", tmp_path / "absent", Path("a" * 300)):
        assert Cvat.recognise(root) is None
