"""The COCO reader on what tools export: other layouts, ids and names than those of the published releases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlrpl_cli.core.io.errors import ConfigError, DataError
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.formats.coco.coco import Coco
from mlrpl_cli.core.labels.formats.coco.release import CATEGORIES
from mlrpl_cli.core.labels.formats.registry import recognise
from mlrpl_cli.core.labels.records import UNASSIGNED, Reading
from mlrpl_cli.core.prepared.build import PrepareOptions, prepare
from tests.core.labels.formats.reading import problem, read

_read, _problem = partial(read, Coco), partial(problem, Coco)
FISH, CRAB = {"id": 1, "name": "fish"}, {"id": 2, "name": "crab"}
ROOT_CATEGORY = {"id": 0, "name": "sea-life", "supercategory": "none"}
UNDER = [{**FISH, "supercategory": "sea-life"}, {**CRAB, "supercategory": "sea-life"}]


def _content(names: list[Any], marks: list[tuple[Any, Any]], categories: list[Any] | None = None) -> dict[str, Any]:
    """Images with ids from 0 and annotations (image, category) with nothing but these."""
    images = [{"id": n, "file_name": name} if isinstance(name, str) else name for n, name in enumerate(names)]
    annotations = [{"image_id": image, "category_id": category} for image, category in marks]
    return {"images": images, "annotations": annotations, "categories": categories or [FISH, CRAB]}


def _save(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def _touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def _one(root: Path, content: dict[str, Any]) -> Path:
    """One file beside a.jpg and b.jpg."""
    _touch(root, "a.jpg", "b.jpg")
    return _save(root / "labels.json", content)


def _asked(root: Path, **asked: Any) -> tuple[Any, Reading]:
    """What is read when classes are chosen or merged, and the reading with its notes."""
    reading = Reading(root, Silent(), **asked)
    return Coco(root=root).read(reading), reading


@pytest.mark.parametrize(
    ("files", "folders"),
    [
        (("train/_annotations.coco.json", "valid/_annotations.coco.json", "test/_annotations.coco.json"), None),
        (("annotations/train.json", "annotations/val.json", "annotations/test.json"), None),
        (
            ("annotations/instances_train.json", "annotations/instances_Val.json", "annotations/instances_test.json"),
            ("images/train", "images/val", "images/test"),
        ),
        (
            ("annotations/my_train_1.json", "annotations/my_dev_1.json", "annotations/my_test_1.json"),
            ("train2021", "val2021", "test2021"),
        ),
        (("train.json", "valid.json", "test.json"), ("", "", "")),
        (
            ("train/labels.json", "validation/labels.json", "test/labels.json"),
            ("train/data", "validation/data", "test/data"),
        ),
    ],
)
def test_every_layout_gives_the_same_rows(tmp_path: Path, files: tuple[str], folders: tuple[str] | None) -> None:
    places = folders or ("train", "valid", "test")
    for file, folder, name, marks in zip(files, places, "abc", ([(0, 1)], [(0, 2)], []), strict=True):
        _touch(tmp_path / folder, f"{name}.jpg")
        _save(tmp_path / file, _content([f"{name}.jpg"], marks))
    assert recognise(tmp_path)[0] == "coco"
    records, reading = _asked(tmp_path)
    assert records.classes == ("fish", "crab")
    np.testing.assert_array_equal(records.full_labels, [[1, -1], [-1, 1], [-1, -1]])
    assert records.images == tuple(
        f"{folder}/{name}.jpg".lstrip("/") for folder, name in zip(places, "abc", strict=True)
    )
    assert records.splits == ("train", "validation", "test")
    assert any(files[1] + " is of validation" in note for note in reading.notes)
    assert Coco(root=tmp_path).usual_keep() == 1


@pytest.mark.parametrize(
    ("file", "folder", "root"),
    [
        ("annotations/instances_default.json", "images", "."),
        ("annotations/instances_default.json", "images/default", "annotations/instances_default.json"),
        ("labels.json", "data", "."),
        ("result.json", "", "result.json"),
        ("export.of.coco", "", "export.of.coco"),
    ],
)
def test_a_file_without_a_split_says_none(tmp_path: Path, file: str, folder: str, root: str) -> None:
    names = [f"{n}.jpg" for n in range(10)]
    _touch(tmp_path / folder, *names)
    _save(tmp_path / file, _content(names, [(3, 1)]))
    assert recognise(tmp_path / root)[0] == "coco"
    records = _read(tmp_path / root)
    assert set(records.splits) == {UNASSIGNED}
    assert records.image_root.resolve() == tmp_path.resolve()
    np.testing.assert_array_equal(np.argwhere(records.full_labels == 1), [[3, 0]])


def test_a_lone_file_of_another_split_is_drawn_from_and_said_so(tmp_path: Path) -> None:
    _touch(tmp_path / "val2017", "a.jpg", "b.jpg")
    _save(tmp_path / "annotations" / "instances_val2017.json", _content(["a.jpg", "b.jpg"], [(0, 1)]))
    records, reading = _asked(tmp_path / "annotations" / "instances_val2017.json")
    assert set(records.splits) == {UNASSIGNED}
    assert (
        "annotations/instances_val2017.json is the only file and not of train: test images are drawn" in reading.notes
    )


def test_files_whose_splits_do_not_fit_together(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "b.jpg")
    for name in ("train", "more"):
        _save(tmp_path / f"{name}.json", _content(["a.jpg"], []))
    assert "1 annotation file says no split by name, beside others that do (more.json)" in _problem(tmp_path)
    (tmp_path / "more.json").rename(tmp_path / "test.json")
    assert "1 image is in two splits (a.jpg: train, test)" in _problem(tmp_path)
    (tmp_path / "train.json").rename(tmp_path / "val.json")
    assert "annotation file is of no split that trains (test.json, val.json)" in _problem(tmp_path)


def test_an_id_is_the_same_as_number_float_and_text(tmp_path: Path) -> None:
    content = _content([], [("1", 1), (1.0, 2.0), ("x y", "1.0"), (7.0, "b"), ("007", 1)])
    content["images"] = [
        {"id": identifier, "file_name": name}
        for identifier, name in ((1, "a.jpg"), ("1.0", "a.jpg"), ("x y ", "b.jpg"), ("7", "c.jpg"), ("007", "d.jpg"))
    ]
    content["categories"] = [{"id": "2", "name": "two"}, {"id": "b", "name": "text"}, {"id": 1.0, "name": "one"}]
    _touch(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    records = _read(_save(tmp_path / "labels.json", content))
    assert records.classes == ("one", "two", "text")
    assert records.images == ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
    np.testing.assert_array_equal(records.full_labels, [[1, 1, -1], [1, -1, -1], [-1, -1, 1], [1, -1, -1]])


def test_ids_that_mean_two_things_are_told(tmp_path: Path) -> None:
    content = _content(["a.jpg", {"id": "0", "file_name": "b.jpg"}], [("5", 1), (0, None)])
    assert "got None" in _problem(_one(tmp_path, content))
    content["annotations"].pop()
    content["categories"] = [FISH, CRAB, {"id": "1", "name": "whale"}]
    message = _problem(_one(tmp_path, content))
    assert "1 image id is repeated (0 in labels.json)" in message
    assert "1 category id or name is repeated (1 in labels.json)" in message
    assert "1 annotation is of unknown images ('5' in labels.json)" in message
    assert message.endswith("; correct the labels, or name the images' folder with --images")


@pytest.mark.parametrize(
    "before", ["../../label-studio/data/media/upload/1/", "C:\\Users\\me\\photos\\", "/home/me/sub/"]
)
def test_folders_of_another_machine_are_left_out_and_this_is_said(tmp_path: Path, before: str) -> None:
    names = [f"{before}{name}" for name in ("a.jpg", "b.jpg")]
    path = _one(tmp_path, _content(names, [(0, 1)]))
    reading = Reading(path, Silent())
    records = Coco(root=path).read(reading)
    assert (records.images, records.full_labels.tolist()) == (("a.jpg", "b.jpg"), [[1, -1], [-1, -1]])
    dropped = len([*filter(None, before.replace("\\", "/").split("/"))])
    assert reading.notes == [f"file_name of labels.json begins with {dropped} folders that are left out"]


def test_names_with_backslashes_folders_and_without_a_file_name(tmp_path: Path) -> None:
    _touch(tmp_path / "images", "one/a.jpg", "b.jpg", "two/c d.jpg", "Ä.jpg")
    url = "https://a.b/images/two/c%20d.jpg?x=1"
    names = [r"images\one\a.jpg", "images/./b.jpg", {"id": 2, "coco_url": url}, "images/A\u0308.jpg"]
    records = _read(_save(tmp_path / "labels.json", _content(names, [(2, 1)])))
    assert records.images == ("images/one/a.jpg", "images/b.jpg", "images/two/c d.jpg", "images/Ä.jpg")
    np.testing.assert_array_equal(records.full_labels[2], [1, -1])


@pytest.mark.parametrize("folder", ["train2017", "deep/er/train2017", "elsewhere"])
def test_a_url_leads_to_the_folders_that_are_there(tmp_path: Path, folder: str) -> None:
    _touch(tmp_path / folder, "a.jpg", "b.jpg")
    images = [{"id": name, "coco_url": f"http://host/{'deep/er/'}train2017/{name}.jpg"} for name in "ab"]
    path = _save(tmp_path / "labels.json", _content(images, [("b", 1)]))
    base = tmp_path / folder if folder == "elsewhere" else tmp_path
    records = _read(path, images=base)
    assert [os.path.relpath(records.image_root / name, tmp_path) for name in records.images] == [
        f"{folder}/a.jpg",
        f"{folder}/b.jpg",
    ]


def test_utf8_whatever_the_locale_and_a_byte_order_mark(tmp_path: Path) -> None:
    content = _content(["a.jpg", "b.jpg"], [(0, 1)], [{"id": 1, "name": "Böe"}])
    path = _one(tmp_path, content)
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(content, ensure_ascii=False).encode())
    assert recognise(path)[0] == "coco"
    program = (
        "import sys; from tests.core.labels.formats.test_coco_exports import _read, Path;"
        "print(ascii(_read(Path(sys.argv[1])).classes))"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", program, str(path)]
    assert subprocess.run(command, env=environment, capture_output=True, text=True).stdout == "('B\\xf6e',)\n"


def test_a_parent_that_nothing_uses_is_named_and_left_out(tmp_path: Path) -> None:
    path = _one(tmp_path, _content(["a.jpg", "b.jpg"], [(0, 1)], [ROOT_CATEGORY, *UNDER]))
    records, reading = _asked(path)
    assert records.classes == ("fish", "crab")  # crab has no annotation, and is no parent
    assert any("'sea-life' (id 0); --keep-unused keeps them" in note for note in reading.notes)
    assert _read(path, keep_unused=True).classes == ("sea-life", "fish", "crab")
    assert _asked(path, classes=("sea-life", "crab"))[0].classes == ("sea-life", "crab")
    used = _one(tmp_path, _content(["a.jpg", "b.jpg"], [(0, 0)], [ROOT_CATEGORY, *UNDER]))
    assert _read(used).classes == ("sea-life", "fish", "crab")
    alone = [{**FISH, "supercategory": "fish"}, CRAB]
    assert _read(_one(tmp_path, _content(["a.jpg", "b.jpg"], [], alone))).classes == ("fish", "crab")


def test_a_parent_of_the_name_of_its_only_child(tmp_path: Path) -> None:
    categories = [{"id": 0, "name": "fire"}, {"id": 1, "name": "fire", "supercategory": "fire"}, CRAB]
    path = _one(tmp_path, _content(["a.jpg", "b.jpg"], [(1, 1)], categories))
    records = _read(path)
    assert records.classes == ("fire", "crab")
    np.testing.assert_array_equal(records.full_labels, [[-1, -1], [1, -1]])
    assert "'fire' with ids 0 and 1: --merge-classes 'fire=fire'" in _problem(path, keep_unused=True)


def test_categories_of_one_name_are_refused_until_they_are_merged(tmp_path: Path) -> None:
    categories = [{"id": 4, "name": "crab"}, {"id": "x", "name": " crab "}, FISH]
    path = _one(tmp_path, _content(["a.jpg", "b.jpg"], [(0, 4), (1, "x")], categories))
    assert "1 category name is repeated ('crab' with ids 4 and 'x': --merge-classes 'crab=crab'" in _problem(path)
    records, _ = _asked(path, merged={"crab": "crab"})
    assert records.classes == ("fish", "crab")
    np.testing.assert_array_equal(records.full_labels, [[-1, 1], [-1, 1]])
    assert _asked(path, classes=("fish",))[0].classes == ("fish",)


def test_names_that_are_one_to_clip_are_refused_by_prepare(tmp_path: Path) -> None:
    content = _content(["a.jpg", "b.jpg", "a.jpg"], [(0, 1), (1, 2)], [FISH, {"id": 2, "name": "Fish"}])
    content["images"].pop()
    path = _one(tmp_path, content)
    _touch(tmp_path, "c.jpg")
    content["images"].append({"id": 2, "file_name": "c.jpg"})
    path = _one(tmp_path, content)
    options = PrepareOptions(out=tmp_path / "out", reading={"root": path}, check_images=False)
    with pytest.raises(DataError, match="'fish' and 'Fish'; --merge-classes 'Fish=fish'"):
        prepare(options)
    merged = replace(options, merge_classes={"Fish": "fish"}, reading={"root": path, "test_fraction": 0})
    assert prepare(merged).classes == ("fish",)


def test_what_only_another_file_lists_was_not_looked_for(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "b.jpg")
    _save(tmp_path / "train.json", _content(["a.jpg"], [(0, 1)], [FISH, CRAB]))
    _save(tmp_path / "test.json", _content(["b.jpg"], [(0, 3)], [{"id": 3, "name": "whale"}, FISH]))
    records, reading = _asked(tmp_path)
    assert records.classes == ("fish", "crab", "whale")
    np.testing.assert_array_equal(records.full_labels, [[1, -1, 0], [-1, 0, 1]])
    told = "classes that only other files list are unknown: 1 in the images of train.json, 1 in the images of test.json"
    assert told in reading.notes


def test_an_id_of_another_name_in_another_file_is_told(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "b.jpg")
    _save(tmp_path / "train.json", _content(["a.jpg"], [], [FISH, CRAB]))
    _save(tmp_path / "test.json", _content(["b.jpg"], [], [{"id": 1, "name": "crab"}]))
    assert "1 file differs in categories (1 is 'fish' and 'crab' in test.json)" in _problem(tmp_path)


def test_files_that_say_what_was_checked_are_refused_as_coco(tmp_path: Path) -> None:
    content = _content(["a.jpg", "b.jpg"], [(0, 1)])
    content["images"][0] |= {"neg_category_ids": [2], "not_exhaustive_category_ids": []}
    path = _one(tmp_path, content)
    assert "read it with --dataset lvis" in _problem(path)
    assert recognise(path)[0] == "lvis"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff",
        b"[]",
        b'[{"images": [], "categories": []}]',
        b'{"images": [{"id": 1}], "dataset": "coco"}',  # Karpathy's splits
        b'{"images": [], "annotations": [{"image_id": 1, "caption": "a"}]}',
        b'{"classes": ["a"], "labels": {"a": 0}}',
        json.dumps(_content(["a.jpg"], [])).encode("utf-16"),
    ],
)
def test_json_of_another_form_is_not_recognised(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "labels.json").write_bytes(content)
    (tmp_path / "a.jpg").touch()
    for root in (tmp_path, tmp_path / "labels.json", tmp_path / "absent", Path("a" * 300)):
        assert Coco.recognise(root) is None
    assert "labels.json" in _problem(tmp_path / "labels.json")


def test_recognition_looks_at_the_ends_of_a_file_only(tmp_path: Path) -> None:
    """As published: images at the beginning, categories at the end, and a long way between."""
    content = _content(["a.jpg", "b.jpg"], [])
    text = json.dumps(content).replace('"annotations"', f'"info": "{"x" * 2_000_000}", "annotations"')
    (tmp_path / "labels.json").write_text(text)
    assert recognise(tmp_path)[0] == "coco"
    os.mkfifo(tmp_path / "pipe.json")
    assert Coco.recognise(tmp_path / "pipe.json") is None
    with pytest.raises(ConfigError, match="there is no"):
        recognise(tmp_path / "absent")


def test_a_folder_of_several_kinds_takes_the_files_that_fit(tmp_path: Path) -> None:
    """Captions and key points lie beside the instances of a release."""
    _touch(tmp_path / "images", "a.jpg", "b.jpg")
    for name in ("captions_train", "person_keypoints_train", "image_info"):
        _save(tmp_path / "annotations" / f"{name}.json", {**_content([], []), "categories": []})
    _save(tmp_path / "annotations" / "instances_train.json", _content(["a.jpg", "b.jpg"], [(0, 1)]))
    assert _read(tmp_path).splits == ("train", "train")


def test_the_folder_of_annotations_itself(tmp_path: Path) -> None:
    _touch(tmp_path / "images" / "train", "a.jpg", "b.jpg")
    _save(tmp_path / "annotations" / "train.json", _content(["a.jpg", "b.jpg"], [(0, 1)]))
    assert recognise(tmp_path / "annotations")[0] == "coco"
    records, reading = _asked(tmp_path / "annotations")
    assert records.image_root == tmp_path
    assert records.images == ("images/train/a.jpg", "images/train/b.jpg")
    assert "the images of train.json are in images/train" in reading.notes


def test_a_folder_with_a_file_for_each_image_is_not_searched(tmp_path: Path) -> None:
    for number in range(101):
        _save(tmp_path / f"{number}.json", _content([], []))
    assert Coco.recognise(tmp_path) is None


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"images": {"a": 1}}, "1 annotation file cannot be read (labels.json: expected a list as images, got {}"),
        (
            {"annotations": [7]},
            "1 annotation file cannot be read (labels.json: expected objects in annotations, got 7",
        ),
        (
            {"categories": [[]]},
            "1 annotation file cannot be read (labels.json: expected objects in categories, got []",
        ),
    ],
)
def test_lists_of_another_kind(tmp_path: Path, changes: dict[str, Any], part: str) -> None:
    assert part in _problem(_one(tmp_path, {**_content(["a.jpg"], []), **changes}))


def test_a_file_of_another_encoding_is_told(tmp_path: Path) -> None:
    path = _one(tmp_path, _content(["a.jpg"], []))
    path.write_bytes(path.read_text().encode("utf-16"))
    assert "1 annotation file is no UTF-8 text (labels.json)" in _problem(path)


def test_advice_to_restore_is_for_files_of_the_release_only(tmp_path: Path) -> None:
    for part, name in (("train", "000000000009.jpg"), ("val", "000000000139.jpg")):
        _save(tmp_path / "annotations" / f"instances_{part}2017.json", _content([name], []))
    assert _problem(tmp_path).endswith("restore these files from the published archives")
    _save(tmp_path / "annotations" / "instances_val2017.json", _content(["mine.jpg"], []))
    assert _problem(tmp_path).endswith("correct the labels, or name the images' folder with --images")


@pytest.mark.parametrize(
    ("image", "changed", "keep"),
    [
        ("000000000139.jpg", {}, 0.3),
        ("COCO_val2014_000000000139.jpg", {}, 0.3),
        ("mine.jpg", {}, 1),
        ("000000000139.jpg", {90: "brush"}, 1),
        ("000000000139.jpg", {91: "brush"}, 1),
        ("000000000139.jpg", {90: []}, 1),
    ],
)
@pytest.mark.parametrize("year", ["2014", "2017"])
def test_labels_are_hidden_by_default_of_the_published_content_alone(
    tmp_path: Path, image: str, changed: dict[int, object], keep: float, year: str
) -> None:
    """Files of one's own may be called as the releases are. Outlines between images and categories may be long."""
    categories = [{"id": number, "name": name} for number, name in (CATEGORIES | changed).items()]
    content = {"images": [{"id": 1, "file_name": image}], "annotations": [{"segmentation": [0] * 400_000}]}
    _save(tmp_path / "annotations" / f"instances_val{year}.json", {**content, "categories": categories})
    assert Coco(root=tmp_path).usual_keep() == keep
    assert Coco(root=tmp_path / "annotations" / f"instances_val{year}.json").usual_keep() == 1
    (tmp_path / "annotations" / f"instances_train{year}.json").write_bytes(b'{"file_name": "000000000139.jpg"')
    assert Coco(root=tmp_path).usual_keep() == keep


def test_the_80_categories_of_coco() -> None:
    """As its site lists them: 80 of the ids from 1 to 90, the last of them a toothbrush."""
    assert len(CATEGORIES) == len(set(CATEGORIES.values())) == 80
    ids = {1: "person", 13: "stop sign", 27: "backpack", 44: "bottle", 67: "dining table", 90: "toothbrush"}
    assert {number: CATEGORIES[number] for number in ids} == ids


def test_a_release_that_is_not_there_yet_hides_labels(tmp_path: Path) -> None:
    assert Coco(root=tmp_path / "to-download").usual_keep() == 0.3


def test_chosen_images_are_those_with_an_annotation_of_any_class(tmp_path: Path) -> None:
    path = _one(tmp_path, _content(["a.jpg", "b.jpg"], [(1, 2)]))
    reading = Reading(tmp_path, Silent(), ("fish",))
    records = Coco(root=path, annotated_only=True).read(reading)
    assert records.images == ("b.jpg",)
    np.testing.assert_array_equal(records.full_labels, [[-1]])
