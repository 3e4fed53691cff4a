"""NUS-WIDE's two forms of labels, by hand, and everything wrong at once."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from mlrpl_cli.core.labels.formats.published.nuswide import NusWide
from mlrpl_cli.core.labels.formats.registry import recognise
from tests.core.labels.formats.reading import problem, read, reading_of

_read, _problem = partial(read, NusWide), partial(problem, NusWide)
LISTS = {
    "ImageList/TrainImagelist.txt": "actor\\1_11.jpg\r\nzebra\\2_12.jpg\r\n",
    "ImageList/TestImagelist.txt": "actor\\3_13.jpg\r\n",
    "ImageList/Imagelist.txt": "actor\\1_11.jpg \r\nactor\\3_13.jpg \r\nzebra\\2_12.jpg \r\n",
    "ConceptsList/Concepts81.txt": "sky\nlake\n",
}
PARTS = {
    "Groundtruth/TrainTestLabels/Labels_sky_Train.txt": "1\n0\n",
    "Groundtruth/TrainTestLabels/Labels_sky_Test.txt": "1\n",
    "Groundtruth/TrainTestLabels/Labels_lake_Train.txt": "0\n0\n",
    "Groundtruth/TrainTestLabels/Labels_lake_Test.txt": "1\n",
}
WHOLE = {"Groundtruth/AllLabels/Labels_sky.txt": "1\n1\n0\n", "Groundtruth/AllLabels/Labels_lake.txt": "0\n1\n0\n"}
IMAGES = ("Flickr/actor/1_11.jpg", "Flickr/zebra/2_12.jpg", "Flickr/actor/3_13.jpg")


def _release(root: Path, *groups: dict[str, str]) -> Path:
    for name, text in {name: text for group in (LISTS, *groups) for name, text in group.items()}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())
    for image in IMAGES:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / image).touch()
    return root


def test_labels_of_training_and_test(tmp_path: Path) -> None:
    why = "it holds ConceptsList/Concepts81.txt and TrainImagelist.txt"
    assert recognise(_release(tmp_path, PARTS)) == ("nuswide", why)
    records, reading = reading_of(NusWide, tmp_path)
    assert (records.classes, records.images) == (("sky", "lake"), IMAGES)
    assert records.splits == ("train", "train", "test")
    assert records.full_labels.tolist() == [[1, -1], [-1, -1], [1, 1]]
    assert reading.notes == ["1 image shows none of the concepts and is kept"]


def test_labels_of_all_images_count_where_both_are_there(tmp_path: Path) -> None:
    broken = dict.fromkeys(PARTS, "x\n")
    records = _read(_release(tmp_path, broken, WHOLE), classes=["lake"])
    assert records.images == (IMAGES[0], IMAGES[2], IMAGES[1])
    assert records.splits == ("train", "test", "train")
    assert records.full_labels.tolist() == [[-1], [1], [-1]]
    assert _read(tmp_path, classes=["lake"], merged={"sky": "lake"}).full_labels.tolist() == [[1], [1], [-1]]


def test_lists_without_folders_and_images_elsewhere(tmp_path: Path) -> None:
    _release(tmp_path, WHOLE)
    for name in LISTS:
        (tmp_path / name).rename(tmp_path / Path(name).name)
    (tmp_path / "Groundtruth/AllLabels").rename(tmp_path / "AllLabels")
    assert recognise(tmp_path)[0] == "nuswide"
    assert _read(tmp_path, images=tmp_path / "Flickr").images == ("actor/1_11.jpg", "actor/3_13.jpg", "zebra/2_12.jpg")


def test_images_that_are_not_there_are_counted(tmp_path: Path) -> None:
    (_release(tmp_path, PARTS) / IMAGES[0]).unlink()
    records, reading = reading_of(NusWide, tmp_path)
    assert records.full_labels.tolist() == [[-1, -1], [1, 1]]
    assert "1 missing image is left out; 2 are there" in reading.notes
    for image in IMAGES[1:]:
        (tmp_path / image).unlink()
    assert "1 image is missing, all that the lists name (actor/1_11.jpg)" in _problem(tmp_path)


def test_the_known_error_of_the_release_is_unknown(tmp_path: Path) -> None:
    name = "Groundtruth/TrainTestLabels/Labels_lake_Train.txt"
    records, reading = reading_of(NusWide, _release(tmp_path, PARTS, {name: "0\n-1130179\n"}))
    assert records.full_labels.tolist() == [[1, -1], [-1, 0], [1, 1]]
    assert "line 2 of Labels_lake_Train.txt is -1130179, an error of the release: unknown" in reading.notes


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    changed = {
        "ImageList/Imagelist.txt": "actor\\1_11.jpg\nactor\\3_13.jpg\nzebra\\2_12.jpg\nzebra/2_12.jpg\nx.jpg\n",
        "ImageList/TestImagelist.txt": "actor\\3_13.jpg\nactor\\1_11.jpg\n",
        "ConceptsList/Concepts81.txt": "sky\nlake\n" + "a" * 2000 + "\nsky\n",
        "Groundtruth/AllLabels/Labels_sky.txt": "1\n2\nyes\n0\n",
    }
    _release(tmp_path, WHOLE, changed)
    (tmp_path / "Groundtruth/AllLabels/Labels_lake.txt").unlink()
    message = _problem(tmp_path)
    for part in (
        "1 name is twice in Concepts81.txt (sky)",
        "1 name is twice in Imagelist.txt (zebra/2_12.jpg)",
        "1 label has a name that no class can have (aaa",
        "2 images are not in one of the lists of training and test (actor/1_11.jpg: in 2, x.jpg: in 0)",
        "1 file of labels has cells that are neither 0 nor 1 (Labels_sky.txt: 2, the first in line 2: '2')",
        "1 file is missing (Labels_lake.txt)",
    ):
        assert part in message, message
    assert "do not have a line for each image" not in message


@pytest.mark.parametrize(
    ("file", "data", "part"),
    [
        ("ImageList/TrainImagelist.txt", b"\xff\xfe", "1 file cannot be read (TrainImagelist.txt: 'utf-8'"),
        (
            "ImageList/TestImagelist.txt",
            b"",
            "2 files of labels do not have a line for each image (Labels_sky_T",
        ),
        ("ConceptsList/Concepts81.txt", b"", ": there is no class that counts; "),
        ("ConceptsList/Concepts81.txt", b"a/../../x\n", "1 concept is no part of a file's name (a/../../x)"),
        ("ConceptsList/Concepts81.txt", b"\xef\xbb\xbfa\0\n", "1 label has a name that no class can have (a"),
        ("Groundtruth/TrainTestLabels/Labels_sky_Test.txt", b"", "Labels_sky_Test.txt: 0 lines, 1 image)"),
        ("Groundtruth/TrainTestLabels/Labels_sky_Test.txt", b"1 1 1", "Labels_sky_Test.txt: 3 lines, 1 image)"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, file: str, data: bytes, part: str) -> None:
    (_release(tmp_path, PARTS) / file).write_bytes(data)
    assert part in _problem(tmp_path)


def test_missing_files_are_told(tmp_path: Path) -> None:
    message = _problem(tmp_path)
    assert "3 files are missing (Concepts81.txt, TrainImagelist.txt, TestImagelist.txt)" in message
    for root in (tmp_path, tmp_path / "x.txt", Path("a" * 300)):
        assert NusWide.recognise(root) is None
