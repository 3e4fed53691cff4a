"""What goes out comes in again: export, then the command that the export itself names, then the same cells."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlrpl_cli.core.export.labels import Exported, export_labels
from mlrpl_cli.core.export.options import ExportOptions
from mlrpl_cli.core.labels.states import UNKNOWN
from mlrpl_cli.core.prepared.folder import Prepared, read_prepared, write_manifest
from tests.core.export.data import BLANK, CLASSES, NEVER_SHOWN, SPLITS, cells, splits_of, write_data, write_labels

LOST: dict[str, set[str]] = {
    "table": set(),
    "long": set(),
    "coco": set(),
    "tags": {"unknown cells", "classes"},
    "cvat": {"unknown cells"},
    "fiftyone": {"unknown cells", "splits"},
    "labelstudio": {"unknown cells", "classes"},
}
"""What each format that `prepare` reads loses, and nothing else: which of the cells that are not present are unknown,
classes without positives, and splits."""
UNLABELLED = {"labelstudio", "fiftyone"}
"""Formats that tell an image that nobody has looked at from one without any class."""
COMPLETE = [name for name, lost in LOST.items() if "unknown cells" not in lost]


def _export(prepared: Prepared, name: str, **options) -> Exported:
    return export_labels(ExportOptions(format=name, data=prepared.folder, **options))


def _read_back(exported: Exported, mlrpl, out: Path) -> Prepared:
    assert exported.read_back is not None
    program, *command = shlex.split(exported.read_back)
    outcome = mlrpl(*command, f"--out={out}")
    assert (program, outcome.code) == ("mlrpl", 0), outcome.err
    return read_prepared(out)


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("labels", ["full", "observed"])
@pytest.mark.parametrize("name", COMPLETE)
def test_present_absent_and_unknown_come_back(name: str, labels: str, tmp_path: Path, mlrpl) -> None:
    prepared = write_data(tmp_path / "data")
    back = _read_back(_export(prepared, name, labels=labels), mlrpl, tmp_path / "back")
    if labels == "observed":
        prepared = write_labels(tmp_path / "data", prepared.observed_labels)
    assert cells(back) == cells(prepared)
    assert splits_of(back) == SPLITS
    assert sorted(back.classes) == sorted(CLASSES)
    assert (back.observed_labels == back.full_labels).all()


@pytest.mark.parametrize("name", LOST)
def test_data_without_an_unknown_cell_come_back(name: str, tmp_path: Path, mlrpl) -> None:
    prepared = write_data(tmp_path / "data", unknown=False)
    exported = _export(prepared, name)
    back = _read_back(exported, mlrpl, tmp_path / "back")
    assert cells(back) == cells(prepared, [CLASSES[NEVER_SHOWN]] if "classes" in LOST[name] else [])
    assert ("1 class is present in no image and is not in the file: never shown" in exported.notes) == (
        "classes" in LOST[name]
    )
    if "splits" in LOST[name]:
        assert any("has no splits" in note for note in exported.notes)
    else:
        assert splits_of(back) == SPLITS


@pytest.mark.parametrize("name", sorted(LOST.keys() - COMPLETE))
def test_what_a_format_cannot_tell_from_unknown_becomes_unknown_and_is_said(name: str, tmp_path: Path, mlrpl) -> None:
    """Nothing that is read back is wrong: what was absent is unknown then."""
    prepared = write_data(tmp_path / "data")
    exported = _export(prepared, name)
    labels = np.delete(prepared.full_labels, [BLANK] if name in UNLABELLED else [], axis=0)
    absent, unknown = ((labels == state).sum() for state in (-1, 0))
    lost = f"{name} lists only what is present: {absent} absent and {unknown} unknown cells look alike in it"
    assert f"{lost}; table, long and coco tell them apart" in exported.notes
    back = _read_back(exported, mlrpl, tmp_path / "back")
    assert {cell for cell in cells(back) if cell[2] != UNKNOWN} == {cell for cell in cells(prepared) if cell[2] == 1}


@pytest.mark.parametrize("name", LOST)
def test_positives_alone_come_back(name: str, tmp_path: Path, mlrpl) -> None:
    prepared = write_data(tmp_path / "data")
    prepared = write_labels(tmp_path / "data", prepared.full_labels.clip(0, 1))
    back = _read_back(_export(prepared, name), mlrpl, tmp_path / "back")
    named = set(back.classes) if "classes" in LOST[name] else set(CLASSES)
    assert cells(back) == cells(prepared, set(CLASSES) - named)
    assert named >= {cell[1] for cell in cells(prepared) if cell[2] == 1}


@pytest.mark.parametrize("name", COMPLETE)
def test_the_second_export_is_the_first(name: str, tmp_path: Path, mlrpl) -> None:
    """But for the order that a format gives to classes (long) and to images (coco)."""
    prepared = write_data(tmp_path / "data")
    once = _read_back(_export(prepared, name), mlrpl, tmp_path / "once")
    twice = _read_back(_export(once, name), mlrpl, tmp_path / "twice")
    assert (once.classes, once.images, once.splits) == (twice.classes, twice.images, twice.splits)
    assert (once.full_labels == twice.full_labels).all()


def test_an_image_of_which_nothing_is_known_is_there_again(tmp_path: Path, mlrpl) -> None:
    prepared = write_data(tmp_path / "data")
    assert not prepared.full_labels[BLANK].any()
    for name in COMPLETE:
        back = _read_back(_export(prepared, name), mlrpl, tmp_path / f"back-{name}")
        assert not back.full_labels[back.images.index("blank.png")].any()


def test_truncated_images_and_images_without_suffix_come_back(tmp_path: Path, mlrpl) -> None:
    """As far as the format can name them: they are read with the option that took them."""
    prepared = write_data(tmp_path / "data")
    photos, images = prepared.image_root, list(prepared.images)
    path = photos / "-5.jpg"
    path.write_bytes(path.read_bytes()[:-20])
    (photos / "plain.png").rename(photos / "plain")
    images[images.index("plain.png")] = "plain"
    changed = replace(prepared, images=tuple(images), options={"allow_truncated": True})
    write_manifest(prepared.folder, changed)
    for name in sorted(LOST):
        back = _read_back(_export(read_prepared(prepared.folder), name), mlrpl, tmp_path / f"back-{name}")
        assert sorted(back.images) == sorted(images)


def test_lvis_validation_images_that_test_are_told(tmp_path: Path, mlrpl) -> None:
    prepared = write_data(tmp_path / "data")
    exported = _export(prepared, "coco", split=("train", "validation"))
    assert "without test images, LVIS's validation images test when they are read back" in exported.notes
    back = _read_back(exported, mlrpl, tmp_path / "back")
    assert {splits_of(back)[name] for name, split in SPLITS.items() if split == "validation"} == {"test"}


def test_coco_of_known_cells_is_recognised_as_coco_and_of_unknown_ones_as_lvis(tmp_path: Path, mlrpl) -> None:
    for unknown, dataset in ((False, "coco"), (True, "lvis")):
        exported = _export(write_data(tmp_path / dataset, unknown), "coco", out=tmp_path / f"{dataset}-out")
        outcome = mlrpl("prepare", f"--root={exported.path}", f"--images={tmp_path / dataset / 'photos'}", "--json")
        assert json.loads(outcome.out)["dataset"] == dataset


@pytest.mark.parametrize("name", COMPLETE)
def test_classes_that_are_called_like_other_columns_come_back(name: str, tmp_path: Path, mlrpl) -> None:
    """Or as tables write cells: a reader of tables takes none of them for a class by itself."""
    names = ("image", "Split", "is_test", "fold", "label", "confidence", "index", "NaN", "1")
    prepared = write_data(tmp_path / "data")
    write_manifest(prepared.folder, replace(prepared, classes=names))
    prepared = read_prepared(prepared.folder)
    back = _read_back(_export(prepared, name), mlrpl, tmp_path / "back")
    assert cells(back) == cells(prepared)
    assert splits_of(back) == SPLITS
