"""VOC's form with the user's own classes, images, lists and tools, on small folders with the cells written down."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from mlrpl_cli.core.labels.formats.published.voc import CLASSES, Voc
from mlrpl_cli.core.labels.formats.registry import recognise
from mlrpl_cli.core.labels.records import UNASSIGNED
from tests.core.labels.formats.reading import problem, read, reading_of

_read, _problem = partial(read, Voc), partial(problem, Voc)
HOME = "VOC2007"


def _xml(*names: str, difficult: str = "<difficult>0</difficult>") -> str:
    objects = "".join(f"<object><name>{name}</name>{difficult}</object>" for name in names)
    return f"<annotation><filename>other</filename>{objects}</annotation>"


def _write(path: Path, data: str | bytes = b"") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def _own(root: Path, objects: dict[str, str | bytes], suffix: str = ".jpg", **lists: str) -> Path:
    """VOC's layout with an XML of each id, and its image."""
    for identifier, data in objects.items():
        _write(root / "Annotations" / f"{identifier}.xml", data)
        _write(root / "JPEGImages" / f"{identifier}{suffix}")
    for name, text in lists.items():
        _write(root / "ImageSets/Main" / f"{name}.txt", text)
    return root


OWN = {"p0": _xml("vest", "helmet"), "p1": _xml("person"), "p2": _xml()}
LISTS = {"trainval": "p0\np1\n", "test": "p2\n"}


def test_own_classes_are_those_found_and_a_published_one_may_be_among_them(tmp_path: Path) -> None:
    root = _own(tmp_path / HOME, OWN, **LISTS)
    records, reading = reading_of(Voc, root)
    assert recognise(root) == ("voc", "it holds Annotations and ImageSets/Main")
    assert recognise(tmp_path) == ("voc", "it holds VOC2007/Annotations and ImageSets/Main")
    assert records.classes == ("helmet", "person", "vest")
    assert records.full_labels.tolist() == [[1, -1, 1], [-1, 1, -1], [-1, -1, -1]]
    assert records.splits == ("train", "train", "test")
    told = "objects are of classes that VOC has not (helmet, vest), so the classes are those found"
    assert reading.notes == ["image-set files say the splits: trainval.txt is train, test.txt is test", told]
    assert reading.unlisted == "absent: VOC's documentation says that every object of its classes is annotated"


def test_subsets_and_folders_of_cvat(tmp_path: Path) -> None:
    """A project's subsets are called Train, Validation and Test; images in folders have annotations in such."""
    objects: dict[str, str | bytes] = {f"day 1/{name}": data for name, data in OWN.items()}
    lists = {"Train": "day 1/p0\n", "Validation": "day 1/p1\n", "Test": "day 1/p2\n"}
    root = _own(tmp_path, objects, **lists)
    records, reading = reading_of(Voc, root)
    assert records.images == ("JPEGImages/day 1/p0.jpg", "JPEGImages/day 1/p1.jpg", "JPEGImages/day 1/p2.jpg")
    assert records.splits == ("train", "validation", "test")
    assert records.full_labels.tolist() == [[1, -1, 1], [-1, 1, -1], [-1, -1, -1]]
    said = "Train.txt is train, Validation.txt is validation, Test.txt is test"
    assert reading.notes[0] == f"image-set files say the splits: {said}"
    (root / "ImageSets/Main/Test.txt").unlink()
    assert _read(root).splits == ("train", "test")
    (root / "JPEGImages").rename(root / "images")
    assert _read(root).images[0] == "images/day 1/p0.jpg"


def test_published_classes_of_own_images_are_all_read_and_this_is_said(tmp_path: Path) -> None:
    records, reading = reading_of(Voc, _own(tmp_path / HOME, {"p0": _xml("car"), "p1": _xml("cat")}, trainval="p0\np1"))
    assert records.classes == CLASSES
    assert reading.notes[-1].startswith("objects are of VOC's classes alone, so all 20 are read; --classes")


def test_a_release_with_a_foreign_class_asks_whose_images_they_are(tmp_path: Path) -> None:
    objects = {"000001": _xml("person", "persn"), "000002": _xml("car")}
    root = _own(tmp_path / HOME, objects, trainval="000001\n", test="000002\n")
    message = _problem(root)
    assert message.startswith(f"VOC 2007 in {root}: 1 object is of no VOC class ('persn' in 000001.xml); restore ")
    assert message.endswith("or, if the images are your own, name their classes with --classes")
    assert _read(root, classes=["persn", "car"]).full_labels.tolist() == [[-1, 1], [1, -1]]
    merged = _read(root, merged={"persn": "person"})
    assert merged.classes == CLASSES
    assert [row.tolist().index(1) for row in merged.full_labels] == [CLASSES.index("person"), CLASSES.index("car")]


@pytest.mark.parametrize(
    ("objects", "keep"),
    [
        ({"000001": _xml("dog")}, 0.3),
        ({"2008_000001": _xml("dog")}, 0.3),
        ({"000001": _xml("hat")}, 1),
        ({"p1": _xml("dog")}, 1),
    ],
)
def test_the_usual_keep_is_the_benchmarks_for_a_release_alone(
    tmp_path: Path, objects: dict[str, str | bytes], keep: float
) -> None:
    lists = dict.fromkeys(("trainval", "test"), next(iter(objects)))
    assert Voc(root=_own(tmp_path / HOME, objects, **lists)).usual_keep() == keep
    assert Voc(root=tmp_path / "to be downloaded").usual_keep() == 0.3


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".png", ".bmp"])
def test_images_have_any_suffix(tmp_path: Path, suffix: str) -> None:
    assert _read(_own(tmp_path, OWN, suffix, **LISTS)).images == tuple(f"JPEGImages/{i}{suffix}" for i in OWN)


HAT = "<annotation><source>中</source><object><name>帽子</name></object></annotation>"


@pytest.mark.parametrize(
    "data",
    [
        HAT.encode("utf-8-sig"),
        *(f'<?xml version="1.0" encoding="{name}"?>{HAT}'.encode(name) for name in ("gb2312", "GBK", "big5", "utf-16")),
        f"<?xml version='1.0' encoding='UTF8'?>\n{HAT}".encode(),
        f'<?xml version="1.0" encoding="gb2312"?>{HAT.replace("中", "镕")}'.encode("gb18030"),
        f"<!DOCTYPE annotation>\n{HAT}".encode(),
    ],
)
def test_encodings_that_the_xml_declares(tmp_path: Path, data: bytes) -> None:
    assert _read(_own(tmp_path, {"p0": data}, trainval="p0")).classes == ("帽子",)


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (f'<!DOCTYPE annotation SYSTEM "a.dtd">{HAT}'.encode(), "a document type is not allowed"),
        (f"<!DOCTYPE annotation []>{HAT}".encode(), "a document type is not allowed"),
        (f'<?xml version="1.0" encoding="gb2312"?>{HAT}'.encode()[:-40] + b"\xff", "p0.xml: "),
        (b'<?xml version="1.0" encoding="zip"?><annotation/>', "p0.xml: "),
        (b"", "p0.xml: no element found"),
        (_xml("hat", difficult="<difficult>maybe</difficult>"), "neither 0 nor 1 ('maybe' in p0.xml)"),
        (_xml("hat", difficult="<difficult>nan</difficult>"), "neither 0 nor 1 ('nan' in p0.xml)"),
        (_xml("hat", " "), "1 object has no name (p0.xml)"),
        (_xml("x" * 2000), "1 label has a name that no class can have"),
    ],
)
def test_annotations_that_are_refused(tmp_path: Path, data: bytes | str, part: str) -> None:
    message = _problem(_own(tmp_path, {"p0": data, "p1": _xml("hat")}, trainval="p0\np1"))
    assert part in message
    assert "published archives" not in message
    assert len(message) < 1000


@pytest.mark.parametrize(
    ("text", "state"),
    [("0", 1), ("False", 1), ("0.0", 1), ("Unspecified", 1), (" ", 1), ("1", 0), ("True", 0), ("1.0", 0), ("\n1\n", 0)],
)
def test_difficult_in_every_spelling(tmp_path: Path, text: str, state: int) -> None:
    data = _xml("hat", difficult=f"<difficult>{text}</difficult>")
    root = _own(tmp_path, {"p0": data, "p1": _xml("hat", difficult="")}, trainval="p0\np1")
    assert _read(root, difficult="unknown").full_labels.tolist() == [[state], [1]]


@pytest.mark.parametrize(
    ("trainval", "ids"),
    [
        ("p 0\np 1\n", ["p 0", "p 1"]),
        ("p 0  1\np 1 -1\n", ["p 0", "p 1"]),
        ("p.jpg\np 1.JPG\n", ["p", "p 1"]),
        ("p 1\n p 0 \n\n", ["p 1", "p 0"]),
        ("\ufeffp 0\r\np 1\r\n", ["p 0", "p 1"]),
    ],
)
def test_lines_of_image_sets(tmp_path: Path, trainval: str, ids: list[str]) -> None:
    """An id may end in a number, as the ids of `p 0` and `p 1` do beside `p`."""
    objects: dict[str, str | bytes] = {name: _xml("hat") for name in ("p", "p 0", "p 1")}
    root = _own(tmp_path, objects, trainval=trainval)
    expected = tuple(f"JPEGImages/{name}.jpg" for name in ids)
    assert _read(root).images == expected
    (root / "ImageSets/Main/trainval.txt").write_bytes(trainval.lstrip("\ufeff").encode("utf-16"))
    assert _read(root).images == expected


@pytest.mark.parametrize(
    ("lists", "splits"),
    [
        ({"train": "p0", "val": "p1", "test": "p2"}, ["train", "validation", "test"]),
        ({"train": "p0\np1", "val": "p2"}, ["train", "train", "test"]),
        ({"train": "p0\np1", "test": "p2"}, ["train", "train", "test"]),
        ({"trainval": "p0\np1", "train": "p0", "val": "p1", "test": "p2"}, ["train", "train", "test"]),
    ],
)
@pytest.mark.parametrize("folder", ["mine", "VOC2007"])
def test_splits_of_own_lists(tmp_path: Path, lists: dict[str, str], splits: list[str], folder: str) -> None:
    assert list(_read(_own(tmp_path / folder, OWN, **lists)).splits) == splits


def test_without_lists_images_are_of_no_split_and_this_is_said(tmp_path: Path) -> None:
    root = _own(tmp_path, {f"p{n}": _xml("hat") for n in range(10)})
    _write(root / "JPEGImages" / "alone.jpg")
    records, reading = reading_of(Voc, root)
    assert recognise(root) == ("voc", "Annotations/p0.xml is an annotation as VOC's are")
    assert set(records.splits) == {UNASSIGNED}
    assert reading.notes[:2] == [
        "no image-set file says which images test: some are drawn",
        f"1 image in {root / 'JPEGImages'} has no annotation and is left out",
    ]
    _write(root / "ImageSets/Main/train.txt", "p0\np1\n")
    records, reading = reading_of(Voc, root)
    assert set(records.splits) == {UNASSIGNED}
    assert "8 annotations are left out that they do not list" in reading.notes


def test_other_layouts(tmp_path: Path) -> None:
    """Images beside the XML, as labelImg saves it; a folder for each split, as Roboflow exports; and --images."""
    for name in OWN:
        for folder in ("beside", "apart/Annotations", "splits/train", "splits/valid", "splits/test"):
            _write(tmp_path / folder / f"{name}.xml", OWN[name])
        _write(tmp_path / "beside" / f"{name}.png")
        _write(tmp_path / "pictures" / f"{name}.jpg")
        for folder in ("train", "valid", "test"):
            _write(tmp_path / "splits" / folder / f"{name}.jpg")
    beside, splits = _read(tmp_path / "beside"), _read(tmp_path / "splits")
    assert beside.images == ("p0.png", "p1.png", "p2.png")
    assert recognise(tmp_path / "beside") == ("voc", "p0.xml is an annotation as VOC's are")
    assert splits.images[::3] == ("test/p0.jpg", "train/p0.jpg", "valid/p0.jpg")
    assert splits.splits[::3] == ("test", "train", "validation")
    apart = _read(tmp_path / "apart", images=tmp_path / "pictures")
    assert apart.images == ("p0.jpg", "p1.jpg", "p2.jpg")
    assert apart.full_labels.tolist() == beside.full_labels.tolist() == splits.full_labels[:3].tolist()


def test_what_is_of_another_form_is_not_recognised(tmp_path: Path) -> None:
    _write(tmp_path / "cvat" / "annotations.xml", "<annotations><image/></annotations>")
    _write(tmp_path / "empty" / "Annotations" / "._p.xml")
    for root in (tmp_path, tmp_path / "cvat", tmp_path / "empty", Path("a" * 300), tmp_path / "cvat/annotations.xml"):
        assert Voc.recognise(root) is None
