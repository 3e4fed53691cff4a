"""FiftyOne's two exports of classifications, by hand, and everything wrong at once."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlrpl_cli.core.labels.formats.registry import recognise
from mlrpl_cli.core.labels.formats.tools.fiftyone import FiftyOne
from mlrpl_cli.core.labels.records import UNASSIGNED
from tests.core.labels.formats.reading import problem, read, reading_of

_read, _problem = partial(read, FiftyOne), partial(problem, FiftyOne)
WHY = "labels.json begins as FiftyOne's files do"


def _write(root: Path, name: str, content: Any, *images: str) -> Path:
    (root / name).write_bytes(json.dumps(content, ensure_ascii=False).encode())
    for image in images or ("data/a.jpg", "data/b.png", "data/sub/c.jpg", "data/d.jpg"):
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / image).touch()
    return root


LABELS = {
    "classes": ["dog", "cat", "bär"],
    "labels": {"a": 1, "b": [0, 2], "sub/c": None, "d.jpg": [{"label": 2, "confidence": 0.1}, {"label": "cat"}]},
}


@pytest.mark.parametrize(("unlisted", "rest"), [("absent", -1), ("unknown", 0)])
def test_indices_of_the_classes_and_an_unlabelled_image(tmp_path: Path, unlisted: str, rest: int) -> None:
    assert recognise(_write(tmp_path, "labels.json", LABELS)) == ("fiftyone", WHY)
    assert recognise(tmp_path / "labels.json") == ("fiftyone", WHY)
    records, reading = reading_of(FiftyOne, tmp_path, unlisted=unlisted)
    assert records.classes == ("dog", "cat", "bär")
    assert records.images == ("data/a.jpg", "data/b.png", "data/sub/c.jpg", "data/d.jpg")
    # The third is unlabelled: nobody looked, whatever a missing label means elsewhere.
    assert records.full_labels.tolist() == [[rest, 1, rest], [1, rest, 1], [0, 0, 0], [rest, 1, 1]]
    assert reading.unlisted == f"{unlisted}: --unlisted"
    assert reading.notes == [
        "labels have confidences, as a model's have; they count whatever these are",
        "1 image without labels, which FiftyOne calls unlabelled, is unknown",
    ]


def test_names_for_classes_and_images_in_another_folder(tmp_path: Path) -> None:
    content = {"classes": None, "labels": {"x/a.jpg": "dog", "x\\b": ["cat", "dog"]}}
    _write(tmp_path, "labels.json", content, "pictures/x/a.jpg", "pictures/x/b.jpg")
    (tmp_path / "labels.json").rename(tmp_path / "other.json")
    path = tmp_path / "other.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert recognise(path)[0] == "fiftyone"
    records = _read(path, images=tmp_path / "pictures", unlisted="absent")
    assert (records.classes, records.images) == (("cat", "dog"), ("x/a.jpg", "x/b.jpg"))
    assert records.full_labels.tolist() == [[-1, 1], [1, 1]]


def test_boxes_are_labels(tmp_path: Path) -> None:
    boxes = [{"label": 0, "bounding_box": [0, 0, 1, 1]}, {"label": 0, "bounding_box": [0, 0, 0.5, 1]}]
    _write(tmp_path, "labels.json", {"classes": ["dog", "cat"], "labels": {"a": boxes}})
    records, reading = reading_of(FiftyOne, tmp_path, unlisted="absent")
    assert records.full_labels.tolist() == [[1, -1]]
    assert reading.notes == ["labels are boxes: a class that has one is present"]


def test_what_a_missing_label_means_is_asked(tmp_path: Path) -> None:
    assert "--unlisted absent if every image" in _problem(_write(tmp_path, "labels.json", LABELS))


def test_chosen_and_merged_classes(tmp_path: Path) -> None:
    _write(tmp_path, "labels.json", LABELS)
    records = _read(tmp_path, unlisted="absent", classes=["bär"], merged={"dog": "bär"})
    assert (records.classes, records.full_labels.tolist()) == (("bär",), [[-1], [1], [0], [1]])


def _sample(path: str, tags: Any = (), **fields: Any) -> dict[str, Any]:
    return {"filepath": path, "tags": list(tags), "metadata": None, "_media_type": "image", **fields}


def _one(label: str | None) -> dict[str, Any]:
    return {"_cls": "Classification", "label": label, "confidence": None, "logits": None}


def _several(*labels: str) -> dict[str, Any]:
    return {"_cls": "Classifications", "classifications": [_one(label) for label in labels]}


SAMPLES = [
    _sample("data/a.jpg", ["train", "night"], truth=_several("dog", "cat"), guess=_one("fox")),
    _sample("data/b.png", ["Val"], truth=_several()),
    _sample("data/sub/c.jpg", ["test"], truth=None, guess=_one("cat")),
    _sample("data/d.jpg", ["train"]),
]


def _dataset(root: Path, samples: Any, about: Any = None) -> Path:
    _write(root, "metadata.json", about or {"classes": {"truth": ["owl"]}, "default_classes": ["emu"]})
    return _write(root, "samples.json", {"samples": samples})


def test_a_field_of_the_samples_and_splits_of_tags(tmp_path: Path) -> None:
    assert recognise(_dataset(tmp_path, SAMPLES)) == ("fiftyone", "samples.json begins as FiftyOne's files do")
    assert "several fields of " in (message := _problem(tmp_path, unlisted="absent"))
    assert "say which: --label-field truth or guess" in message
    assert "is called 'trut'; did you mean 'truth'?" in _problem(tmp_path, unlisted="absent", label_field="trut")
    records, reading = reading_of(FiftyOne, tmp_path, unlisted="absent", label_field="truth")
    assert records.classes == ("owl", "cat", "dog")
    assert records.splits == ("train", "validation", "test", "train")
    assert records.full_labels.tolist() == [[-1, 1, 1], [-1, -1, -1], [0, 0, 0], [0, 0, 0]]
    assert "tags of samples say which images are of which split" in reading.notes
    records = _read(tmp_path, unlisted="unknown", label_field="guess")
    assert (records.classes, records.full_labels.tolist()) == (
        ("emu", "cat", "fox"),
        [[0, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0]],
    )


def test_tags_that_say_no_split(tmp_path: Path) -> None:
    samples = [_sample(f"data/{name}", ["validation"], truth=_one("dog")) for name in ("a.jpg", "b.png", "d.jpg")]
    records, reading = reading_of(FiftyOne, _dataset(tmp_path, samples), unlisted="absent")
    assert set(records.splits) == {UNASSIGNED}
    assert "no sample is tagged train, so tags are not read as splits" in reading.notes
    samples[0]["tags"], samples[1]["tags"] = ["train", "test"], []
    message = _problem(_dataset(tmp_path, samples), unlisted="absent")
    told = "2 samples are not tagged with one split each (train, validation, test), as others are "
    assert f"{told}(data/a.jpg: test and train, data/b.png: none)" in message


def test_all_that_is_wrong_with_labels_is_told_at_once(tmp_path: Path) -> None:
    labels = {"a": 3, "a.jpg": -1, "gone": True, "../x": [None], "": "dog", "b": 0.5, "d": ["", {"label": [1]}]}
    message = _problem(_write(tmp_path, "labels.json", {"classes": ["dog"], "labels": labels}), unlisted="absent")
    for part in (
        "6 labels are no name and no index of a class (a: 3, a.jpg: -1, gone: True, …)",
        "1 label has a name that no class can have (an empty one)",
        "1 image is listed twice (data/a.jpg)",
        "1 image is missing (gone)",
        "1 image name leads outside the image folder (../x)",
        "1 name is none that a file can have (an empty one)",
    ):
        assert part in message, message


def test_all_that_is_wrong_with_samples_is_told_at_once(tmp_path: Path) -> None:
    samples = [7, {"filepath": 3}, _sample("data/a.jpg", truth=_one("dog")), _sample("data/e.jpg", truth=_one("dog"))]
    samples += [{**_sample("data/b.png"), "tags": "train"}, _sample("data/d.jpg", truth={"_cls": "Classifications"})]
    samples += [_sample("data/d.jpg", truth={"_cls": "Classifications", "classifications": ["dog", 5]})]
    message = _problem(_dataset(tmp_path, samples, {"classes": [], "default_classes": "dog"}), unlisted="absent")
    for part in (
        "3 samples lack a filepath and a list of tags (sample 0: 7, sample 1: {'filepath': 3}, sample 4: {",
        "1 label is no name and no index of a class (data/d.jpg: 5)",
        "1 list of classes holds no names ('dog')",
        "1 image is missing (data/e.jpg)",
        "1 image is listed twice (data/d.jpg)",
    ):
        assert part in message, message


@pytest.mark.parametrize(
    ("name", "data", "part"),
    [
        ("labels.json", b"", "1 file cannot be read (labels.json: Expecting value"),
        ("labels.json", b"[]", "1 file holds no labels of FiftyOne (labels.json: [])"),
        ("labels.json", b"{}", "1 file has no labels by image, as labels.json has (None)"),
        ("labels.json", b'{"classes": 5, "labels": {"a": "dog"}}', "1 list of classes holds no names (5)"),
        ("labels.json", b'{"classes": null, "labels": {"a": 1}}', "label is no name and no index of a clas"),
        ("labels.json", b'{"labels": {"a": "\\ud800"}}', "1 label has a name that no class can have"),
        ("labels.json", b"\xff\xfe", "1 file cannot be read (labels.json: 'utf-8'"),
        ("labels.json", b"[" * 100_000, "1 file cannot be read (labels.json: values are nested too deeply)"),
        ("samples.json", b'{"samples": 5}', "1 file has no list of samples (samples.json: 5)"),
        ("samples.json", b'{"samples": []}', "no field of the samples in "),
        (
            "samples.json",
            b'{"samples": [{"filepath": "a", "x": {"_cls": ["Classification"]}}]}',
            "export one, or boxes",
        ),
        (
            "samples.json",
            b'{"samples": [{"filepath": "a", "x": {"_cls": "Classification", "label": "dog"}}]}',
            "1 file is missing (metadata.json)",
        ),
    ],
)
def test_a_file_that_is_no_such_json(tmp_path: Path, name: str, data: bytes, part: str) -> None:
    _write(tmp_path, name, {})
    (tmp_path / name).write_bytes(data)
    assert part in _problem(tmp_path, unlisted="absent")


def test_roots_that_hold_none_or_both(tmp_path: Path) -> None:
    assert f"{tmp_path} holds neither labels.json nor samples.json" in _problem(tmp_path)
    _write(_dataset(tmp_path, SAMPLES), "labels.json", LABELS)
    assert f"{tmp_path} holds both labels.json and samples.json; name the file" in _problem(tmp_path)
    for root in (tmp_path / "metadata.json", tmp_path / "absent", tmp_path / "data/a.jpg", Path("a" * 300)):
        assert FiftyOne.recognise(root) is None
