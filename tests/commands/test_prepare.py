from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlrpl_cli.core.prepared.folder import read_prepared
from mlrpl_cli.core.scenes.rendering import SCENE_CLASSES
from tests import reference

NO_ROOT = (
    "voc needs --root, VOCdevkit, a folder that holds it, VOC2007 or VOC2012 itself, or a folder with XML annotations "
    "of this form; it is not in VOCdevkit, datasets/voc or $MLRPL_DATASETS, and mlrpl prepare --dataset voc --download "
    "fetches it"
)
SMALL = ("--train-images", 20, "--test-images", 5)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_a_data_set_scenes_are_prepared(mlrpl: Callable) -> None:
    outcome = mlrpl("prepare", *SMALL)
    prepared = read_prepared(Path("prepared/scenes-keep30-seed0"))
    mask = np.random.RandomState(0).random_sample((20, len(SCENE_CLASSES))) < 0.3
    assert outcome.code == 0
    assert prepared.classes == SCENE_CLASSES
    assert ((prepared.observed_labels[:20] != 0) == mask).all()


def test_tables_tell_what_was_prepared_and_what_comes_next(mlrpl: Callable) -> None:
    outcome = mlrpl("prepare", *SMALL, "--keep", 1, "--out", "my data")
    prepared = read_prepared(Path("my data"))
    train = prepared.observed_labels[prepared.rows("train")]
    present, absent = (train == 1).sum(), (train == -1).sum()
    cells = [line.replace("│", " ").split() for line in outcome.out.splitlines()]
    assert ["train", "18", str(present), str(absent), "0", "100.0%"] in cells
    assert outcome.out.splitlines()[-3:] == [
        f"mask SHA-256: {prepared.mask_sha256}",
        "prepared folder: my data",
        "next: mlrpl train --data 'my data'",
    ]


def test_json_holds_the_same_and_nothing_else(mlrpl: Callable) -> None:
    outcome = mlrpl("prepare", *SMALL, "--json")
    shown = json.loads(outcome.out)
    prepared = read_prepared(Path("prepared/scenes-keep30-seed0"))
    assert shown["folder"] == "prepared/scenes-keep30-seed0"
    assert shown["mask_sha256"] == prepared.mask_sha256
    assert shown["classes"] == list(SCENE_CLASSES)
    assert {name: part["images"] for name, part in shown["splits"].items()} == {"train": 18, "validation": 2, "test": 5}
    assert shown["splits"]["test"]["unknown"] == 0
    assert len(shown["rarest"]) == 5
    assert shown["options"] == prepared.options


def test_progress_goes_to_stderr_in_a_few_lines(mlrpl: Callable) -> None:
    lines = mlrpl("prepare", *SMALL).err.splitlines()
    assert 1 <= len(lines) <= 10
    assert lines[-1] == "Rendering scenes: 25/25 images"


def test_the_seed_of_the_mask_leaves_the_images_alone(mlrpl: Callable) -> None:
    for seed, out in ((0, "a"), (1, "b")):
        mlrpl("prepare", *SMALL, "--seed", seed, "--out", out)
    mlrpl("prepare", *SMALL, "--scenes-seed", 1, "--out", "c")
    first = [Path(name, "images/train/00000.png").read_bytes() for name in "abc"]
    assert first[0] == first[1] != first[2]
    assert read_prepared(Path("a")).mask_sha256 != read_prepared(Path("b")).mask_sha256


def test_options_reach_the_reader(mlrpl: Callable) -> None:
    mlrpl("prepare", *SMALL, "--classes", "fish, car", "--validation-fraction", 0.5, "--keep", 0.5, "--out", "x")
    prepared = read_prepared(Path("x"))
    assert set(prepared.classes) == {"car", "fish"}
    assert prepared.splits.count("validation") == 10
    assert prepared.options["keep"] == 0.5


def test_a_tables_test_images_are_drawn_by_a_seed_of_their_own(mlrpl: Callable, tmp_path: Path) -> None:
    """By the hash of their names; the seed of the mask changes nothing."""
    names = [f"{row}.jpg" for row in range(20)]
    for name in names:
        (tmp_path / name).touch()
    Path("labels.csv").write_text("image,cat\n" + "".join(f"{name},1\n" for name in names))
    for given, seed in (([], 0), (["--seed", 5], 0), (["--split-seed", 5], 5)):
        arguments = ["--dataset", "table", "--root", "labels.csv", "--no-check-images", "--out", "data", "--replace"]
        assert mlrpl("prepare", *arguments, *given).code == 0
        expected = [row for row, name in enumerate(names) if reference.hash_place("test", seed, name) < 0.2]
        assert read_prepared(Path("data")).rows("test").tolist() == expected


def test_an_option_that_formats_share_reaches_the_chosen_one(mlrpl: Callable, tmp_path: Path) -> None:
    outcome = mlrpl("prepare", "--dataset", "coco", "--root", tmp_path, "--year", 2017)
    assert "holds no annotations/instances_train2017.json" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--keep", 0], "the keep proportion must be above 0 and at most 1, not 0; for 30% type --keep 0.3"),
        (["--dataset", "cocoa"], "no data set is called 'cocoa'; did you mean 'coco'?"),
        ([*SMALL, "--classes", "hous"], "no class is called 'hous'; did you mean 'house'?"),
        ([*SMALL, "--classes", " ,"], "--classes names no class; give some, separated by commas"),
        (
            ["--difficult", "unknown"],
            "--difficult is an option of voc, not of scenes; leave it out, or choose the format with --dataset",
        ),
        (["--dataset", "voc"], NO_ROOT),
        (["--download"], "'scenes' cannot be downloaded; known: voc, coco"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: list[object], sentence: str, mlrpl: Callable) -> None:
    outcome = mlrpl("prepare", *arguments)
    assert outcome.code == 1
    assert outcome.out == ""
    assert outcome.err.splitlines()[-1] == f"mlrpl: error: {sentence}"
    assert not any(path.is_file() for path in Path().rglob("*"))


def test_an_output_that_cannot_be_written_is_one_line(mlrpl: Callable, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    outcome = mlrpl("prepare", *SMALL, "--out", file / "data")
    reason = "File exists; choose another place or free this one"
    assert (outcome.code, outcome.err) == (1, f"mlrpl: error: cannot write {file}: {reason}\n")


def test_a_root_is_recognised_and_what_was_found_out_is_kept(mlrpl: Callable, tmp_path: Path) -> None:
    """What `--root` names is never left unread: its format is found, or the command stops."""
    for image in ("0.jpg", "1.jpg", "2.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / image)
    (tmp_path / "labels.csv").write_text("id,image,Car,car,mug,hat\n7,0.jpg,1,0,,1\n8,1.jpg,,1,0,1\n9,2.jpg,0,1,1,\n")
    refused = mlrpl("prepare", "--root", "labels.csv")
    assert refused.code == 1
    assert "classes have names that are one to CLIP: 'Car' and 'car'; --merge-classes 'car=Car'" in refused.err
    arguments = ("prepare", "--root", "labels.csv", "--merge-classes", "car=Car", "--out", "data")
    shown = json.loads(mlrpl(*arguments, "--json").out)
    assert shown["dataset"] == "table"
    assert shown["classes"] == ["Car", "mug", "hat"]
    assert shown["without_absent"] == ["Car", "hat"]
    assert shown["without_present"] == []
    assert shown["unlisted"] == "unknown: an empty cell of a table"
    assert shown["notes"] == [
        "read as table: labels.csv is a table with a column per class",
        "columns that are no classes by their names: id; --label-columns takes them as classes",
    ]
    prepared = read_prepared(Path("data"))
    assert (prepared.notes, prepared.unlisted) == (shown["notes"], shown["unlisted"])
    assert prepared.full_labels.tolist() == [[1, 0, 1], [1, -1, 1], [1, 1, 0]]
    told = mlrpl(*arguments)
    for line in (*shown["notes"], "a cell that the labels say nothing of is unknown: an empty cell of a table"):
        assert line in told.out
    assert "no cell is known to be absent for 2 of 3 classes: Car, hat" in told.out


def test_a_root_of_no_format_is_refused(mlrpl: Callable, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    assert "notes.txt is of no format that is recognised" in mlrpl("prepare", "--root", "notes.txt").err
    assert "there is no missing" in mlrpl("prepare", "--root", "missing").err


def table_of(names: list[str], **marked: str) -> None:
    """A table of images that are there, `marked` with another cell than 1."""
    for name in names:
        Image.new("RGB", (8, 8)).save(name)
    cells = "".join(f"{name},{marked.get(name[0], '1')},0\n" for name in names)
    Path("owls.csv").write_text("image,barn,snowy\n" + cells)


def test_next_months_table_keeps_what_was_test(mlrpl: Callable) -> None:
    """Prepared, prepared again, grown, refused, and updated, by what the commands print."""
    names = [f"{letter}{n}.png" for letter in "abcd" for n in range(10)]
    table_of(names)
    first = mlrpl("prepare", "--root", "owls.csv")
    assert first.out.splitlines()[-1] == "next: mlrpl train --data prepared/owls-keep100-seed0"
    folder = Path("prepared/owls-keep100-seed0")
    before = dict(zip(names, read_prepared(folder).splits, strict=True))
    again = mlrpl("prepare", "--root", "owls.csv")
    assert (again.code, again.out) == (0, first.out)
    assert f"{folder} is up to date: nothing was written" in again.err
    table_of([f"e{n}.png" for n in range(5)] + names[1:][::-1], b="?")
    refused = mlrpl("prepare", "--root", "owls.csv")
    assert (refused.code, refused.out) == (1, "")
    assert "5 images added" in refused.err
    assert f"10 cells flipped (10 present → unknown); mlrpl prepare --update {folder} takes it" in refused.err
    refused = mlrpl("prepare", "--update", folder, "--root", "owls.csv", "--keep", 0.5)
    assert (refused.code, refused.out) == (1, "")
    assert "beside which --keep, --root cannot be given" in refused.err
    shown = json.loads(mlrpl("prepare", "--update", folder, "--json").out)
    assert shown["written"]
    assert shown["changed"]["flipped"] == {"present → unknown": 10}
    assert shown["changed"]["removed"] == {before["a0.png"]: 1}
    assert sum(shown["changed"]["added"].values()) == 5
    prepared = read_prepared(folder)
    after = dict(zip(prepared.images, prepared.splits, strict=True))
    assert all(after[name] == split for name, split in before.items() if name != "a0.png")
    told = mlrpl("prepare", "--update", folder)
    assert "changed: nothing" in told.out.splitlines()
    assert mlrpl("prepare", "--root", "owls.csv", "--seed", 0, "--replace").code == 0


def test_no_test_image_and_no_validation_image_are_asked_for(mlrpl: Callable) -> None:
    table_of([f"a{n}.png" for n in range(12)])
    outcome = mlrpl("prepare", "--root", "owls.csv", "--test-fraction", 0, "--validation-fraction", 0)
    assert outcome.code == 0
    assert set(read_prepared(Path("prepared/owls-keep100-seed0")).splits) == {"train"}
    assert outcome.err.splitlines()[-2:] == [
        "mlrpl: warning: there are no test images: mlrpl eval will have nothing to measure",
        "mlrpl: warning: there are no validation images: mlrpl train keeps its last epoch, since it cannot choose the "
        "best",
    ]
