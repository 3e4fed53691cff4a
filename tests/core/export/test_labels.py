"""What the files of export-labels hold, read by the tests' own few lines, and what it refuses."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from mlrpl_cli.core.export.labels import Exported, export_labels
from mlrpl_cli.core.export.options import ExportOptions
from mlrpl_cli.core.io.errors import MlrplError
from mlrpl_cli.core.labels.records import Records
from mlrpl_cli.core.labels.writers.registry import FORMATS, Export, writer_of
from mlrpl_cli.core.prepared.folder import Prepared, read_prepared, write_manifest
from tests.core.export.data import BLANK, CLASSES, NEVER_SHOWN, SPLITS, write_data


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    monkeypatch.chdir(tmp_path)
    return write_data(tmp_path / "data")


def _export(prepared: Prepared, name: str, overwrite: bool = False, **options: Any) -> Exported:
    return export_labels(ExportOptions(format=name, data=prepared.folder, **options), overwrite=overwrite)


def _problem(prepared: Prepared, name: str, overwrite: bool = False, **options: Any) -> str:
    with pytest.raises(MlrplError) as caught:
        _export(prepared, name, overwrite, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _shown(prepared: Prepared) -> dict[str, set[str]]:
    """The present classes of each image."""
    rows = zip(prepared.images, prepared.full_labels, strict=True)
    return {image: {CLASSES[column] for column in np.flatnonzero(row == 1)} for image, row in rows}


def test_table_and_long_to_the_letter(tmp_path: Path) -> None:
    labels = np.array([[1, -1], [0, 0], [0, -1]], np.int8)
    records = Records(
        ("=1+2", "b, c"), tmp_path, ("x/ü.png", "y.png", "-z.png"), labels, ("train", "validation", "test")
    )
    written = writer_of("table")(Export(records), tmp_path / "table.csv")
    text = (tmp_path / "table.csv").read_text(encoding="utf-8")
    assert text == 'image,split,=1+2,"b, c"\nx/ü.png,train,1,0\ny.png,validation,?,?\n-z.png,test,?,0\n'
    told = "2 names begin as formulas do (=1+2, -z.png) and are written unchanged"
    assert written.notes == (f"{told}: let a spreadsheet import the columns as text, and open no table of strangers",)
    assert writer_of("long")(Export(records), tmp_path / "long.csv").flags == ()
    rows = list(csv.reader((tmp_path / "long.csv").open(encoding="utf-8")))
    assert rows == [
        ["image", "split", "label", "state"],
        ["x/ü.png", "train", "=1+2", "present"],
        ["x/ü.png", "train", "b, c", "absent"],
        ["y.png", "validation", "=1+2", "unknown"],
        ["-z.png", "test", "b, c", "absent"],
    ]


def test_labelstudio(prepared: Prepared) -> None:
    exported = _export(prepared, "labelstudio", prefix="/data/local-files/?d=photos/")
    tasks = json.loads(exported.path.read_text(encoding="utf-8"))
    assert [task["data"]["split"] for task in tasks] == list(SPLITS.values())
    names = [task["data"]["image"].removeprefix("/data/local-files/?d=photos/") for task in tasks]
    assert names == list(SPLITS)
    assert tasks[BLANK]["annotations"] == []
    for task, shown in zip(tasks, _shown(prepared).values(), strict=True):
        results = [result for annotation in task["annotations"] for result in annotation["result"]]
        assert {choice for result in results for choice in result["value"]["choices"]} == shown
        assert {(result["from_name"], result["to_name"], result["type"]) for result in results} <= {
            ("labels", "image", "choices")
        }
    configuration = exported.notes[0].removeprefix("the labelling configuration needs ")
    (choices,) = ElementTree.fromstring(configuration).iter("Choices")
    assert [choice.get("value") for choice in choices] == list(CLASSES)
    assert "1 image of which nothing is known has a task without annotation" in exported.notes
    assert "2 classes are present in no image and are not in the file: never shown, never said" in exported.notes
    assert exported.read_back is None
    assert exported.notes[-1].startswith("names of images begin with /data/local-files/?d=photos/, so mlrpl prepare")


def test_cvat(prepared: Prepared) -> None:
    root = ElementTree.parse(_export(prepared, "cvat").path).getroot()
    assert [name.text for name in root.iterfind("meta/task/labels/label/name")] == list(CLASSES)
    images = {image.get("name"): image for image in root.iter("image")}
    assert {name: image.get("subset") for name, image in images.items()} == SPLITS
    assert {name: {tag.get("label") for tag in image} for name, image in images.items()} == _shown(prepared)
    assert [(image.get("width"), image.get("height")) for image in images.values()][:2] == [("20", "30"), ("21", "30")]


def test_fiftyone(prepared: Prepared) -> None:
    exported = _export(prepared, "fiftyone")
    content = json.loads(exported.path.read_text(encoding="utf-8"))
    assert content["classes"] == list(CLASSES)
    named = {name.rpartition(".")[0]: shown for name, shown in _shown(prepared).items()}
    assert content["labels"]["blank"] is None
    shown = {key: {CLASSES[column] for column in target or ()} for key, target in content["labels"].items()}
    assert shown == named
    assert "fiftyone has no splits: which images are of test, train, validation is lost" in exported.notes


def test_coco(prepared: Prepared) -> None:
    exported = _export(prepared, "coco")
    assert exported.states == {
        name: int((prepared.full_labels == state).sum())
        for name, state in (("present", 1), ("absent", -1), ("unknown", 0))
    }
    ids = []
    for split in ("train", "validation", "test"):
        content = json.loads((exported.path / f"annotations/{split}.json").read_text(encoding="utf-8"))
        assert {image["file_name"] for image in content["images"]} == {n for n, s in SPLITS.items() if s == split}
        sizes = {image["id"]: [0, 0, image["width"], image["height"]] for image in content["images"]}
        assert all(box["bbox"] == sizes[box["image_id"]] for box in content["annotations"])
        ids += sizes
    assert sorted(ids) == list(range(1, len(SPLITS) + 1))


def test_predictions_carry_their_probabilities(tmp_path: Path) -> None:
    """The writers' part; tests/commands/test_run_commands.py has a run."""
    scores = np.array([[0.9, 0.2], [0.3, 0.1]], np.float32)
    labels = np.where(scores > 0.5, 1, -1).astype(np.int8)
    export = Export(Records(("a", "b"), tmp_path, ("x.png", "y.png"), labels, ("train", "test")), scores, "run epoch 3")
    writer_of("long")(export, tmp_path / "long.csv")
    rows = list(csv.DictReader((tmp_path / "long.csv").open()))
    assert [(row["state"], row["probability"]) for row in rows] == [
        ("present", "0.900000"), ("absent", "0.200000"), ("absent", "0.300000"), ("absent", "0.100000"),
    ]  # fmt: skip
    writer_of("labelstudio")(export, tmp_path / "tasks.json")
    first, second = json.loads((tmp_path / "tasks.json").read_text())
    assert "annotations" not in first
    assert first["predictions"][0]["model_version"] == "run epoch 3"
    assert first["predictions"][0]["result"][0]["value"] == {"choices": ["a"]}
    assert [task["predictions"][0]["score"] for task in (first, second)] == [0.9, 0.7]
    assert second["predictions"][0]["result"] == []
    writer_of("fiftyone")(export, tmp_path / "labels.json")
    content = json.loads((tmp_path / "labels.json").read_text())
    assert content["labels"] == {"x": [{"label": 0, "confidence": 0.9}], "y": []}


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_options_give_the_same_bytes(name: str, prepared: Prepared) -> None:
    def content() -> dict[str, bytes]:
        path = _export(prepared, name, overwrite=True).path
        return {str(file): file.read_bytes() for file in [path, *path.rglob("*")] if file.is_file()}

    assert content() == content()


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_there_is_replaced_only_when_asked(name: str, prepared: Prepared) -> None:
    path = _export(prepared, name).path
    refused = f"{path} is there already; --overwrite replaces it, and --out names another place"
    assert _problem(prepared, name) == refused
    _export(prepared, name, overwrite=True, split=("train",))
    assert _export(prepared, name, overwrite=True).images == len(SPLITS)


def test_nothing_of_others_is_replaced(prepared: Prepared, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    held = "full holds more than label files (mine.txt); name another folder with --out"
    assert held in _problem(prepared, "coco", True, out=tmp_path / "full")
    (tmp_path / "folder.csv").mkdir()
    assert "folder.csv is there and no regular file" in _problem(prepared, "table", True, out=tmp_path / "folder.csv")
    (tmp_path / "file").write_text("mine")
    assert "file is there and no folder" in _problem(prepared, "coco", True, out=tmp_path / "file")
    inside = _problem(prepared, "table", True, out=prepared.folder / "x.csv")
    assert inside.endswith(f"x.csv is in the prepared folder {prepared.folder}; name another place with --out")
    os.mkfifo(tmp_path / "pipe.csv")
    assert "pipe.csv is there and no regular file" in _problem(prepared, "table", True, out=tmp_path / "pipe.csv")
    (tmp_path / "empty").mkdir()
    assert _export(prepared, "coco", out=tmp_path / "empty").path == tmp_path / "empty"
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


def test_what_a_link_leads_to_is_replaced(prepared: Prepared, tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("old.csv")
    assert _export(prepared, "table", True, out=Path("link.csv")).path == tmp_path / "old.csv"
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "old.csv").read_text(encoding="utf-8").startswith("image,subset,")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"format": "tabel"}, "no format to write is called 'tabel'; did you mean 'table'?"),
        ({"threshold": 0.5}, "--threshold is for predictions; name a run with --run, or leave it out"),
        ({"run": Path("r"), "labels": "full"}, "--labels chooses among prepared labels, and --run predicts others"),
        ({"out": Path("x.parquet")}, "--out x.parquet: table is a file that ends in .csv; name one"),
        ({"format": "coco", "out": Path("x.json")}, "--out x.json: coco is a folder with a file for each split"),
        ({"split": ("tests",)}, "expected one of train, validation, test, got 'tests'"),
        ({"run": Path("nowhere")}, "nowhere has no best.safetensors: expected a run folder"),
        ({"data": Path("nowhere")}, "nowhere is not a prepared folder (it has no manifest.json); run mlrpl prepare"),
    ],
)
def test_wrong_options(options: dict[str, Any], sentence: str, prepared: Prepared) -> None:
    with pytest.raises(MlrplError) as caught:
        export_labels(ExportOptions(**{"format": "table", "data": prepared.folder, **options}))
    assert sentence in str(caught.value)
    assert not Path("exports").exists()


def _rewritten(prepared: Prepared, **changes: Any) -> Prepared:
    write_manifest(prepared.folder, replace(prepared, **changes))
    return read_prepared(prepared.folder)


def test_a_split_without_images_and_data_without_training_images(prepared: Prepared) -> None:
    prepared = _rewritten(prepared, splits=("train",) * 8 + ("validation",))
    assert "has no image in test; choose others with --split" in _problem(prepared, "table", split=("test",))
    exported = _export(prepared, "table", split=("validation",))
    assert (exported.images, exported.read_back) == (1, None)
    assert "it has no training image, and mlrpl prepare needs some" in exported.notes


def test_names_that_a_format_cannot_hold(prepared: Prepared) -> None:
    odd = _rewritten(prepared, images=("\udcff.png", *prepared.images[1:]))
    for name in FORMATS:
        assert "1 image name is not UTF-8, which label files are (" in _problem(odd, name)
    bell = _rewritten(prepared, classes=("bell\a", *CLASSES[1:]))
    assert "1 name has characters that XML cannot hold (" in _problem(bell, "cvat")
    alike = _rewritten(prepared, images=("a.png", "a.jpg", *prepared.images[2:]))
    assert "by which 1 are the same (a.png and a.jpg)" in _problem(alike, "fiftyone")
    assert not Path("exports").exists()


def test_all_images_that_cannot_be_read_are_told_at_once(prepared: Prepared) -> None:
    for name in ("plain.png", "blank.png"):
        (prepared.image_root / name).write_text("no image")
    for name in ("coco", "cvat"):
        message = _problem(prepared, name)
        assert "2 images cannot be read (" in message
        assert message.endswith("restore them, or write a table, which needs no sizes")
    assert not list(Path().glob("exports/*"))
    assert _export(prepared, "table").images == len(SPLITS)


def test_a_class_that_no_image_shows_is_in_the_files_that_list_classes(prepared: Prepared) -> None:
    assert CLASSES[NEVER_SHOWN] in _export(prepared, "table").path.read_text(encoding="utf-8").splitlines()[0]
