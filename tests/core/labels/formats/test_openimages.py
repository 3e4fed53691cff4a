"""Open Images' human labels: 1 present, 0 absent, no row unknown; and everything wrong with them at once."""

from __future__ import annotations

import gzip
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlrpl_cli.core.io.errors import ConfigError, DataError
from mlrpl_cli.core.labels.formats.published import openimages
from mlrpl_cli.core.labels.formats.published.openimages import OpenImages
from mlrpl_cli.core.labels.formats.registry import recognise
from mlrpl_cli.core.labels.records import UNASSIGNED, PrepareOptions
from mlrpl_cli.core.prepared.build import prepare
from mlrpl_cli.core.prepared.folder import Prepared, read_prepared, read_proposals
from tests.core.labels.formats.reading import problem, read, reading_of

HEADER = "ImageID,Source,LabelName,Confidence\n"
TRAIN = "train-annotations-human-imagelabels.csv"
ROWS = {
    TRAIN: (
        "0a,verification,/m/dog,1\n0a,crowdsource-verification,/m/cat,0\n0b,verification,/m/cat,1\n"
        "0b,verification,/m/bow1,1\n0b,verification,/m/odd,1\nnot-here,verification,/m/dog,1\n"
    ),
    "validation-annotations-human-imagelabels.csv": "0c,verification,/m/dog,0\n",
    "test-annotations-human-imagelabels.csv": "0d,verification,/m/dog,1.0\n0d,verification,/m/bow2,0\n",
}
DESCRIPTIONS = '/m/cat,Cat\n/m/dog,"Dog, wet"\n/m/bow1,Bow\n/m/bow2,Bow\n/m/never,Never\n'
_read, _problem = partial(read, OpenImages), partial(problem, OpenImages)


def _release(root: Path, **changed: str) -> Path:
    """Labels of three splits, descriptions without a header, and images, one of which no row names."""
    for name, rows in (ROWS | changed).items():
        (root / name).write_text(HEADER + rows)
    (root / "class-descriptions.csv").write_text(DESCRIPTIONS)
    for file in ("train/0a.jpg", "train/0b.png", "validation/data/0c.jpg", "test/0d.jpg", "train/0e.jpg"):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def test_cells_splits_and_names(tmp_path: Path) -> None:
    """The table, by hand: no row is unknown, whatever other rows say of the image."""
    records, reading = reading_of(OpenImages, _release(tmp_path))
    expected = {
        ("train/0a.jpg", "train"): {"Dog, wet": 1, "Cat": -1},
        ("train/0b.png", "train"): {"Cat": 1, "Bow (/m/bow1)": 1},
        ("validation/data/0c.jpg", "validation"): {"Dog, wet": -1},
        ("test/0d.jpg", "test"): {"Dog, wet": 1, "Bow (/m/bow2)": -1},
    }
    # Files are read in the order of their names.
    assert set(zip(records.images, records.splits, strict=True)) == set(expected)
    for image, split, row in zip(records.images, records.splits, records.full_labels.tolist(), strict=True):
        cells = expected[image, split]
        assert row == [cells.get(name, 0) for name in records.classes]
    assert set(records.classes) == {"Dog, wet", "Cat", "Bow (/m/bow1)", "Bow (/m/bow2)"}
    assert reading.unlisted == "unknown: Open Images' documentation"
    assert reading.notes == [
        "rows of 1 class without a description are left out: /m/odd",
        "rows of images that are not in the folder are left out: 1",
        "images in the folder without a verified label of these classes are left out: 1",
    ]


def test_the_folders_that_fiftyone_downloads(tmp_path: Path) -> None:
    """SPLIT/data, SPLIT/labels/classifications.csv and SPLIT/metadata/classes.csv hold what a release does."""
    (tmp_path / "release").mkdir()
    expected = _read(_release(tmp_path / "release"))
    for name, rows in ROWS.items():
        split = tmp_path / "zoo" / name.partition("-")[0]
        for folder, file, text in (
            ("labels", "classifications.csv", HEADER + rows),
            ("labels", "detections.csv", "ImageID,Source,LabelName,Confidence,XMin\n"),
            ("metadata", "classes.csv", DESCRIPTIONS),
        ):
            (split / folder).mkdir(parents=True, exist_ok=True)
            (split / folder / file).write_text(text)
        (tmp_path / "release" / split.name).rename(split / "data")
    assert recognise(tmp_path / "zoo")[0] == "openimages"
    records = _read(tmp_path / "zoo")
    assert (records.classes, records.splits) == (expected.classes, expected.splits)
    assert records.full_labels.tolist() == expected.full_labels.tolist()
    assert [Path(image).name for image in records.images] == [Path(image).name for image in expected.images]


@pytest.mark.parametrize("asked", [["Cat", "/m/never"], ["/m/cat", "Never"]])
def test_classes_are_chosen_by_name_or_id_and_keep_the_order_of_the_descriptions(
    tmp_path: Path, asked: list[str]
) -> None:
    """A class that no row names is there, and unknown everywhere; images without a row of the chosen ones are not."""
    records, reading = reading_of(OpenImages, _release(tmp_path), classes=asked)
    assert records.classes == ("Cat", "Never")
    assert reading.classes == [{"/m/cat": "Cat", "/m/never": "Never"}.get(name, name) for name in asked]
    assert records.full_labels.tolist() == [[-1, 0], [1, 0]]
    assert records.images == ("train/0a.jpg", "train/0b.png")


def test_an_id_that_is_not_described_can_be_chosen(tmp_path: Path) -> None:
    assert _read(_release(tmp_path), classes=["/m/odd"]).classes == ("/m/odd",)


def test_merged_classes_are_named_either_way(tmp_path: Path) -> None:
    records, _ = reading_of(OpenImages, _release(tmp_path), ["Pet"], {"/m/cat": "Pet", "Dog, wet": "Pet"})
    assert records.classes == ("Pet",)
    assert dict(zip(records.images, records.full_labels[:, 0].tolist(), strict=True)) == {
        "train/0a.jpg": 1, "train/0b.png": 1, "validation/data/0c.jpg": -1, "test/0d.jpg": 1,
    }  # fmt: skip


def test_a_name_that_no_class_has_is_told_before_the_pass(tmp_path: Path) -> None:
    _release(tmp_path, **{TRAIN: "0a,verification\n"})
    with pytest.raises(ConfigError, match="no class is called 'Catt'; did you mean 'Cat'"):
        reading_of(OpenImages, tmp_path, classes=["Catt"])
    (tmp_path / "class-descriptions.csv").unlink()
    with pytest.raises(ConfigError, match="to say which class 'Cat' is; name the file with --class-descriptions"):
        reading_of(OpenImages, tmp_path, classes=["Cat"])


def test_one_file_without_descriptions_and_split(tmp_path: Path) -> None:
    """It is recognised by its columns; classes are ids, which is said, and test images are drawn."""
    (tmp_path / "subset.csv").write_text(HEADER + "0a,verification,/m/cat,1\n0b,verification,/m/cat,0\n")
    (tmp_path / "0a.jpg").touch()
    (tmp_path / "0b.jpg").touch()
    dataset, why = recognise(tmp_path / "subset.csv")
    assert (dataset, why) == ("openimages", "subset.csv has Open Images' columns")
    records, reading = reading_of(OpenImages, tmp_path / "subset.csv")
    assert records.classes == ("/m/cat",)
    assert set(records.splits) == {UNASSIGNED}
    assert "classes are called by their ids, which mean nothing to CLIP; --class-descriptions names" in reading.notes[0]
    (tmp_path / "names").write_text("LabelName,DisplayName\n/m/cat,Cat\n")
    assert _read(tmp_path / "subset.csv", class_descriptions=tmp_path / "names").classes == ("Cat",)


@pytest.mark.parametrize(
    "name",
    [
        TRAIN,
        "oidv6-train-annotations-human-imagelabels.csv",
        "train-annotations-human-imagelabels-boxable.csv",
        "annotations/train-annotations-verification-imagelabels.csv.gz",
        "train/train-annotations-human-imagelabels.csv",
    ],
)
def test_where_releases_put_files_and_what_they_call_them(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    text = (HEADER + "0a,verification,/m/cat,1\n").encode()
    path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    (tmp_path / "0a.jpg").touch()
    assert recognise(tmp_path) == ("openimages", f"it holds {name}")
    records = _read(tmp_path)
    assert (records.images, records.splits, records.full_labels.tolist()) == (("0a.jpg",), ("train",), [[1]])


def test_labels_of_machines_are_never_labels(tmp_path: Path) -> None:
    machine = "train-annotations-machine-imagelabels.csv"
    _release(tmp_path, **{machine: "0a,machine,/m/cat,0.9\n"})
    records, reading = reading_of(OpenImages, tmp_path)
    assert records.full_labels[records.images.index("train/0a.jpg"), records.classes.index("Cat")] == -1
    assert reading.notes[0] == f"labels of machines, which nobody verified, are not read: {machine}"
    message = _problem(tmp_path / machine)
    assert f"has only {machine}, which nobody verified; download them, or name one with --root" in message
    (tmp_path / "other.csv").write_text(HEADER + "0a,machine,/m/cat,0.9\n0a,machine,/m/dog,0.8\n")
    message = _problem(tmp_path / "other.csv")
    assert "2 confidences are neither 1 nor 0, as those of machine labels are ('0.9', '0.8')" in message


MACHINE = "train-annotations-machine-imagelabels.csv"
MACHINE_ROWS = (
    "0a,machine,/m/cat,0.9\n0b,machine,/m/dog,0.25\n0b,machine,/m/dog,.75\n0a,machine,/m/bow1,0\n"
    "0e,machine,/m/cat,1\n0b,machine,/m/never,1\n0b,machine,/m/odd,1\nnot-here,machine,/m/dog,1\n"
)


def _prepare(root: Path, **options: Any) -> Prepared:
    return prepare(
        PrepareOptions(out=root.parent / "out", reading={"root": root, **options}, check_images=False, replace=True)
    )


def test_labels_of_machines_are_proposals_when_asked_for(tmp_path: Path) -> None:
    """By hand: verified cells, images and classes that are not there have none; of two the surer one counts."""
    root = tmp_path / "release"
    root.mkdir()
    _release(root, **{MACHINE: MACHINE_ROWS})
    plain = _prepare(root)
    assert plain.proposals is None
    assert read_proposals(plain).size == 0
    before = {path.name: path.read_bytes() for path in plain.folder.iterdir()}
    assert b"machine_labels" not in before["manifest.json"]
    assert b"proposals" not in before["manifest.json"]
    for machine in (root, root / MACHINE):
        prepared = _prepare(root, machine_labels=machine)
        assert prepared.proposals == {"train": 2, "validation": 0, "test": 0}
        found = read_proposals(read_prepared(prepared.folder))
        names = [(prepared.images[row], prepared.classes[column], sure) for row, column, sure in found.tolist()]
        assert names == [("train/0a.jpg", "Bow (/m/bow1)", 0.0), ("train/0b.png", "Dog, wet", 0.75)]
        after = {path.name: path.read_bytes() for path in prepared.folder.iterdir()}
        assert after.keys() - before.keys() == {"proposals.npy"}
        assert all(after[name] == before[name] for name in before if name != "manifest.json")


def test_what_is_wrong_with_proposals_is_told(tmp_path: Path) -> None:
    root = tmp_path / "release"
    root.mkdir()
    _release(root)
    assert "and has none; name one with --machine-labels" in _problem(root, machine_labels=root)
    (root / MACHINE).write_text(HEADER + "0a,machine,/m/bow1,2\n0a,machine,/m/bow1,nan\n0a,machine,/m/bow1,x\n")
    told = "3 confidences of machine labels are no fraction from 0 to 1 ('2', 'nan', 'x')"
    assert told in _problem(root, machine_labels=root)
    (root / MACHINE).write_text(HEADER + MACHINE_ROWS)
    prepared = _prepare(root, machine_labels=root)
    path = prepared.folder / "proposals.npy"
    good = np.load(path)
    for change in (good[:1], np.zeros(2), good.astype([*good.dtype.descr[:2], ("confidence", "<f8")])):
        np.save(path, change)
        with pytest.raises(DataError, match=r"is damaged: proposals\.npy holds"):
            read_proposals(prepared)
    cat = prepared.classes.index("Cat")
    for name, value in (("image", 99), ("image", -1), ("class", 99), ("confidence", np.nan), ("class", cat)):
        wrong = good.copy()
        wrong[name] = value
        np.save(path, wrong)
        with pytest.raises(DataError, match=r"is damaged: proposals\.npy holds cells"):
            read_proposals(prepared)
    with pytest.raises(DataError, match=r"proposals\.npy has changed since it was written"):
        read_prepared(prepared.folder)


def test_sources_that_disagree_leave_a_cell_unknown_and_are_counted(tmp_path: Path) -> None:
    rows = "0a,verification,/m/cat,1\n0a,crowdsource-verification,/m/cat,0\n0a,verification,/m/dog,1\n"
    records, reading = reading_of(OpenImages, _release(tmp_path, **{TRAIN: rows}), classes=["Cat", "Dog, wet"])
    assert records.full_labels[records.images.index("train/0a.jpg")].tolist() == [0, 1]
    assert "cells that rows say to be present and absent are unknown: 1" in reading.notes
    records, reading = reading_of(OpenImages, _release(tmp_path, **{TRAIN: rows}), merged={"Dog, wet": "Dog"})
    row = records.images.index("train/0a.jpg")
    assert records.full_labels[row, [records.classes.index("Cat"), records.classes.index("Dog")]].tolist() == [0, 1]


@pytest.mark.parametrize(
    "write",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace("\n", "\r\n").replace(",", ";").encode(),
        lambda text: "\n".join(",".join(f'"{cell}"' for cell in row.split(",")) for row in text.split()).encode(),
        lambda text: b"sep=,\n" + text.encode(),
    ],
    ids=["mark", "utf-16", "semicolons", "quotes", "sep"],
)
def test_a_file_that_was_saved_again(tmp_path: Path, write) -> None:
    _release(tmp_path)
    expected = _read(tmp_path)
    (tmp_path / TRAIN).write_bytes(write(HEADER + ROWS[TRAIN]))
    again = _read(tmp_path)
    assert again.images == expected.images
    assert again.full_labels.tolist() == expected.full_labels.tolist()


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    rows = "0a,verification,/m/cat,maybe\n,verification,/m/cat,1\n0a,verification,,1\n0a,verification\n0c,v,/m/dog,1\n"
    _release(tmp_path, **{TRAIN: rows})
    (tmp_path / "test" / "0a.jpg").touch()
    (tmp_path / "class-descriptions.csv").write_text(DESCRIPTIONS + "/m/cat,Katze\n/m/x\n")
    (tmp_path / "class-descriptions-boxable.csv").write_text("/m/dog,Hund\n")
    message = _problem(tmp_path)
    for part in (
        "1 confidence is neither 1 nor 0, as those of machine labels are ('maybe')",
        "1 row names no image",
        "1 row names no class",
        "1 row does not have the header's 4 cells (row 5: 2)",
        "1 image is in two splits (validation/data/0c.jpg: train, validation)",
        "1 image id fits several files (0a: test/0a.jpg, train/0a.jpg)",
        "1 id has two names in class-descriptions.csv (row 6: /m/cat)",
        "1 class id has two names, name one file with --class-descriptions (/m/dog: Hund, Dog, wet)",
        "1 row of class-descriptions.csv is no id and name (row 7: /m/x)",
        "--images",
    ):
        assert part in message, message


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "has no column ImageID, LabelName, Confidence, only nothing; check the file"),
        (b"ImageID,LabelName\n0a,/m/cat\n", "has no column Confidence, only ImageID, LabelName; check the file"),
        (HEADER.encode(), ": there is no class that counts; "),
        (HEADER.encode() + b'0a,v,/m/cat,"1\n0b,v,/m/cat,1\n', "is no readable table: "),
        (HEADER.encode() + b"0a,v,/m/\xff,1\n", "is no readable table: "),
    ],
)
def test_a_file_that_is_no_such_table(tmp_path: Path, content: bytes, part: str) -> None:
    (tmp_path / TRAIN).write_bytes(content)
    (tmp_path / "0a.jpg").touch()
    assert part in _problem(tmp_path)


def test_a_damaged_archive_a_missing_file_and_a_folder_of_nothing(tmp_path: Path) -> None:
    packed = gzip.compress((HEADER + ROWS[TRAIN]).encode() * 50)
    for data in (packed[:-9], packed[:20] + b"xxxx" + packed[24:], b"no gzip"):
        (tmp_path / f"{TRAIN}.gz").write_bytes(data)
        assert "is no readable table: " in _problem(tmp_path)
    assert "cannot read" in _problem(tmp_path / "absent.csv")
    (tmp_path / f"{TRAIN}.gz").unlink()
    assert "needs files that are called like train-annotations-human-imagelabels.csv and has none" in _problem(tmp_path)
    _release(tmp_path)
    assert "is no folder; name the one with the images with --images" in _problem(tmp_path, images=tmp_path / "no")
    assert "check the path after --class-descriptions" in _problem(tmp_path, class_descriptions=tmp_path / "no")
    (tmp_path / "class-descriptions.csv").write_bytes(b"/m/cat,\xff\n")
    assert "is no CSV in UTF-8" in _problem(tmp_path)
    (tmp_path / "class-descriptions.csv").write_bytes(b"\n")
    assert "1 file describes no class (class-descriptions.csv)" in _problem(tmp_path)


def test_more_cells_than_memory_holds_are_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openimages, "MOST_CELLS", 3)
    message = _problem(_release(tmp_path))
    assert message.endswith("so far, more than memory holds; choose classes with --classes, by name or id")
    assert _read(tmp_path, classes=["Cat"]).full_labels.shape == (2, 1)


@pytest.mark.parametrize("content", [b"", b"image,label\n", b"\0\1", b"x" * 2000])
def test_other_files_are_not_recognised(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    assert OpenImages.recognise(tmp_path / "labels.csv") is None
    assert OpenImages.recognise(tmp_path) is None
    assert OpenImages.recognise(tmp_path / "absent") is None
    assert OpenImages.recognise(Path("a" * 300)) is None
