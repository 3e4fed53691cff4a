from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlrpl_cli.core.io.errors import ConfigError, DataError
from mlrpl_cli.core.prepared.folder import (
    Prepared,
    is_prepared,
    newest_prepared,
    options_of,
    read_prepared,
    write_manifest,
)
from mlrpl_cli.core.reports.run_figures import _examples

ODD_NAMES = ("plain.jpg", 'comma, "quote".jpg', "line\nbreak.jpg", os.fsdecode(b"not-utf8-\xff.jpg"))


def make_prepared(folder: Path) -> Prepared:
    """Four images of two classes in folder/pictures, the last one for testing."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    full = np.array([[1, -1], [-1, 1], [1, 0], [-1, -1]], dtype=np.int8)
    observed = np.array([[1, 0], [0, 1], [0, 0], [-1, -1]], dtype=np.int8)
    return Prepared(
        folder=folder,
        dataset="toy",
        classes=("cat", "dög"),
        image_root=folder / "pictures",
        images=ODD_NAMES,
        splits=("train", "validation", "train", "test"),
        full_labels=full,
        observed_labels=observed,
        options={"keep": 0.5},
        mask_sha256="0" * 64,
    )


@pytest.fixture
def written(tmp_path: Path) -> Prepared:
    prepared = make_prepared(tmp_path / "toy")
    write_manifest(prepared.folder, prepared)
    return prepared


def assert_same(read: Prepared, written: Prepared) -> None:
    for name in ("dataset", "classes", "images", "splits", "options", "mask_sha256", "image_root", "folder"):
        assert getattr(read, name) == getattr(written, name)
    assert (read.full_labels == written.full_labels).all()
    assert (read.observed_labels == written.observed_labels).all()


def test_what_was_written_is_read(written: Prepared) -> None:
    assert_same(read_prepared(written.folder), written)


def test_writing_twice_gives_the_same_bytes(written: Prepared, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    write_manifest(again, written)
    names = sorted(path.name for path in again.iterdir())
    assert names == ["images.csv", "labels_full.npy", "labels_observed.npy", "manifest.json"]
    assert all((again / name).read_bytes() == (written.folder / name).read_bytes() for name in names)


def test_images_inside_the_folder_move_with_it(written: Prepared, tmp_path: Path) -> None:
    moved = written.folder.rename(tmp_path / "moved")
    assert read_prepared(moved).image_root == moved / "pictures"


def test_images_elsewhere_are_found_by_their_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Path("toy").mkdir()
    write_manifest(Path("toy"), replace(make_prepared(tmp_path / "other"), image_root=Path("photos")))
    assert read_prepared(Path("toy")).image_root == tmp_path / "photos"


def test_rows_and_paths_of_a_split(written: Prepared) -> None:
    rows = written.rows("train")
    assert rows.dtype == np.int64
    assert rows.tolist() == [0, 2]
    with pytest.raises(DataError, match=r"(?s)1 image is missing \(line.break.jpg\); put them back"):
        (written.image_root / "plain.jpg").touch()
        written.paths(rows)
    (written.image_root / "line\nbreak.jpg").touch()
    assert written.paths(rows) == [written.image_root / "plain.jpg", written.image_root / "line\nbreak.jpg"]


def test_unknown_split_is_told(written: Prepared) -> None:
    with pytest.raises(ConfigError, match=r"^no split is called 'tset'; did you mean 'test'\?$"):
        written.rows("tset")


def test_a_folder_that_was_moved_is_asked_for_as_the_command_takes_it(written: Prepared, tmp_path: Path) -> None:
    """With --data; `mlrpl visualize`, which has no such option, draws images that are named."""
    written.folder.rename(tmp_path / "moved")
    missing = f"{written.folder} is not a prepared folder (it has no manifest.json)"
    advice = {
        read_prepared: "run mlrpl prepare, or name a prepared folder",
        _examples: "name images to draw",
    }
    for reader, expected in advice.items():
        with pytest.raises(DataError) as error:
            reader(written.folder)
        assert str(error.value) == f"{missing}; {expected}"


def change_manifest(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def rewrite_labels(name: str, labels: np.ndarray) -> Callable[[Path], None]:
    """Labels of another content whose checksum is nevertheless the recorded one, as a buggy writer would leave."""

    def rewrite(folder: Path) -> None:
        prepared = read_prepared(folder)
        write_manifest(folder, replace(prepared, **{name: labels}))

    return rewrite


FULL = [[1, -1], [-1, 1], [1, 0], [-1, -1]]
DAMAGES = {
    "images.csv is missing": lambda folder: (folder / "images.csv").unlink(),
    "labels_observed.npy has changed since it was written": lambda folder: (folder / "labels_observed.npy").write_bytes(
        b"short"
    ),
    "manifest.json cannot be read": lambda folder: (folder / "manifest.json").write_text('{"kind": '),
    "manifest.json is not what mlrpl wrote (classes: expected a list of names, got 5)": change_manifest(classes=5),
    "labels_full.npy holds int8 (4, 2), expected int8 (4, 1) (images, classes)": change_manifest(classes=["cat"]),
    "labels_full.npy holds int64 (4, 2), expected int8 (4, 2) (images, classes)": rewrite_labels(
        "full_labels", np.array(FULL)
    ),
    "labels_observed.npy holds values other than 1, -1 and 0": rewrite_labels(
        "observed_labels", np.full((4, 2), 2, dtype=np.int8)
    ),
    "labels_observed.npy contradicts labels_full.npy": rewrite_labels(
        "observed_labels", -np.array(FULL, dtype=np.int8)
    ),
    "images.csv has {'train': 2, 'validation': 1, 'test': 1} images, manifest.json says {'train': 4}": change_manifest(
        counts={"train": 4}
    ),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_damage_is_named(what: str, written: Prepared) -> None:
    DAMAGES[what](written.folder)
    with pytest.raises(DataError) as error:
        read_prepared(written.folder)
    assert str(error.value) == f"{written.folder} is damaged: {what}; run mlrpl prepare again"


def test_a_manifest_that_is_nested_too_deeply_is_damage(written: Prepared) -> None:
    (written.folder / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"is damaged: manifest\.json cannot be read"):
        read_prepared(written.folder)


def test_hidden_test_labels_are_damage(written: Prepared) -> None:
    hidden = np.array(FULL, dtype=np.int8)
    hidden[3] = 0
    write_manifest(written.folder, replace(written, observed_labels=hidden))
    with pytest.raises(DataError, match=r"labels_observed\.npy contradicts labels_full\.npy"):
        read_prepared(written.folder)


def test_another_format_version_is_told(written: Prepared) -> None:
    change_manifest(version=99)(written.folder)
    with pytest.raises(DataError) as error:
        read_prepared(written.folder)
    expected = f"{written.folder} has format version 99, this mlrpl reads version 1; run mlrpl prepare again"
    assert str(error.value) == expected


def test_images_that_went_away_are_told(written: Prepared) -> None:
    written.image_root.rmdir()
    with pytest.raises(DataError) as error:
        read_prepared(written.folder)
    expected = f"the images of {written.folder} are not in {written.image_root}; put them back there"
    together = "since a prepared folder moves together with its images"
    assert str(error.value) == f"{expected}, {together}, or run mlrpl prepare again"


def test_the_newest_folder_is_the_one_prepared_last(tmp_path: Path) -> None:
    for name, seconds in (("first", 30), ("second", 50), ("third", 40)):
        folder = tmp_path / name
        write_manifest(folder, make_prepared(folder))
        os.utime(folder / "manifest.json", (seconds, seconds))
    incomplete = tmp_path / ".replaced-fourth"
    write_manifest(incomplete, make_prepared(incomplete))
    assert newest_prepared(tmp_path) == tmp_path / "second"


def test_no_prepared_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "extension").mkdir()
    (tmp_path / "extension" / "manifest.json").write_text('{"version": 1}')
    with pytest.raises(DataError) as error:
        newest_prepared(tmp_path)
    advice = "run mlrpl prepare, or name a prepared folder"
    assert str(error.value) == f"no prepared data below {tmp_path}; {advice}"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"classes": "ab"}, "classes: expected a list of names, got 'ab'"),
        ({"classes": [1, "b"]}, "classes: expected a list of names, got [1, 'b']"),
        ({"classes": ["a", "\ud800"]}, "classes: expected a list of names, got ['a', '\\ud800']"),
        ({"options": []}, "options: expected a mapping, got []"),
        ({"dataset": None}, "dataset: expected a name, got None"),
        ({"mask_sha256": 5}, "mask_sha256: expected text, got 5"),
        ({"sha256": "x"}, "sha256: expected a mapping, got 'x'"),
        ({"counts": [1]}, "counts: expected a mapping, got [1]"),
        ({"image_root": "a\0b"}, "image_root: expected a folder, got 'a\\x00b'"),
    ],
)
def test_a_field_of_another_type_is_named(written: Prepared, values: dict[str, object], problem: str) -> None:
    change_manifest(**values)(written.folder)
    with pytest.raises(DataError) as error:
        read_prepared(written.folder)
    what = f"manifest.json is not what mlrpl wrote ({problem})"
    assert str(error.value) == f"{written.folder} is damaged: {what}; run mlrpl prepare again"


def replace_file(prepared: Prepared, name: str, content: bytes) -> None:
    """Another content, with the checksum of it."""
    (prepared.folder / name).write_bytes(content)
    sums = json.loads((prepared.folder / "manifest.json").read_text())["sha256"]
    change_manifest(sha256={**sums, name: hashlib.sha256(content).hexdigest()})(prepared.folder)


@pytest.mark.parametrize(
    "row", ["other,a.jpg", "train,../a.jpg", "train,/a.jpg", "train,a\0.jpg", "train", "train,a,b"]
)
def test_a_row_that_is_no_split_and_image_is_named(written: Prepared, row: str) -> None:
    replace_file(written, "images.csv", f"split,image\n{row}\n".encode())
    with pytest.raises(DataError, match=r"row 2 of images\.csv is no split and image inside"):
        read_prepared(written.folder)


NO_ARRAY = "is no array that mlrpl wrote"
OTHER_SHAPE = r"holds int8 \(.*\), expected int8 \(4, 2\)"


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        ((1 << 40, 1 << 20), NO_ARRAY),
        ((-4, 2), NO_ARRAY),
        ((4, 3), NO_ARRAY),
        ((1, 1), OTHER_SHAPE),
        ((1,), OTHER_SHAPE),
        ((), OTHER_SHAPE),
    ],
)
def test_the_shape_of_labels_is_checked_before_anything_of_that_size_is_made(
    written: Prepared, shape: tuple[int, ...], what: str
) -> None:
    """Of a file with one cell."""
    header = repr({"descr": "|i1", "fortran_order": False, "shape": shape}).encode() + b"\n"
    replace_file(written, "labels_full.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\1")
    with pytest.raises(DataError, match=rf"labels_full\.npy {what}"):
        read_prepared(written.folder)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"\x93NUMPY\x02\x00", b"\x93NUMPY\x01\x00\x10\x27" + b"(" * 10_000]
)
def test_a_file_that_is_no_array_is_named(written: Prepared, content: bytes) -> None:
    replace_file(written, "labels_observed.npy", content)
    with pytest.raises(DataError, match=rf"labels_observed\.npy {NO_ARRAY}"):
        read_prepared(written.folder)


def test_labels_that_stand_column_by_column_are_read(written: Prepared) -> None:
    write_manifest(written.folder, replace(written, full_labels=np.asfortranarray(written.full_labels)))
    assert (read_prepared(written.folder).full_labels == written.full_labels).all()


def test_deep_values_and_a_pipe_are_no_manifest(written: Prepared) -> None:
    path = written.folder / "manifest.json"
    path.write_text("[" * 100_000)
    assert not is_prepared(written.folder)
    path.unlink()
    os.mkfifo(path)
    assert not is_prepared(written.folder)
    assert options_of(written.folder) is None
