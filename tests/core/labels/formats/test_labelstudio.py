"""Label Studio's exports as cells, by hand, and what is asked."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlrpl_cli.core.labels.formats.registry import recognise
from mlrpl_cli.core.labels.formats.tools.labelstudio import LabelStudio
from tests.core.labels.formats.reading import problem, read, reading_of

_read, _problem = partial(read, LabelStudio, unlisted="absent"), partial(problem, LabelStudio, unlisted="absent")


def _made(*names: str, control: str = "labels", **more: Any) -> dict[str, Any]:
    result = {"from_name": control, "to_name": "image", "type": "choices", "value": {"choices": list(names)}}
    return {"result": [result] if names else [], **more}


def _task(image: Any, *annotations: Any, **data: Any) -> dict[str, Any]:
    return {"id": 7, "data": {"image": image, **data}, "annotations": list(annotations)}


def _export(root: Path, tasks: Any, *files: str) -> Path:
    (root / "project.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(tasks, ensure_ascii=False).encode())
    for name in files or ("a.jpg", "b c.jpg", "sub/d.jpg", "e.jpg"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    return root


TASKS = [
    _task("/data/upload/1/0123abcd-a.jpg", _made("hat", "vest"), split="train"),
    _task("https://host/x/b%20c.jpg?token=1", _made(), _made("hat", was_cancelled=True), split="Val"),
    _task("/data/local-files/?d=sub%2Fd.jpg", _made("vest"), _made("vest"), split="test"),
    _task("..\\pictures\\e.jpg", split="train"),
]


def test_choices_are_present_and_images_without_annotation_unknown(tmp_path: Path) -> None:
    root = _export(tmp_path, TASKS)
    why = "project.json has tasks and annotations as Label Studio exports them"
    assert recognise(root) == recognise(root / "project.json") == ("labelstudio", why)
    records, reading = reading_of(LabelStudio, root, unlisted="absent")
    assert records.classes == ("hat", "vest")
    assert records.images == ("a.jpg", "b c.jpg", "sub/d.jpg", "e.jpg")
    assert records.full_labels.tolist() == [[1, 1], [-1, -1], [-1, 1], [0, 0]]
    assert records.splits == ("train", "validation", "test", "train")
    assert reading.notes == [
        "cancelled annotations are left out: 1",
        "images are named by image: 1 uploads (/data/upload/…), 1 URLs, 1 local files (?d=…), …",
        "1 image has no annotation: every cell is unknown",
    ]
    assert read(LabelStudio, root, unlisted="unknown").full_labels.tolist() == [[1, 1], [0, 0], [0, 1], [0, 0]]
    assert "lists choices and does not say what a missing one means" in problem(LabelStudio, root)


def test_boxes_and_predictions_are_no_choices(tmp_path: Path) -> None:
    box = {"from_name": "l", "to_name": "image", "type": "rectanglelabels", "value": {"rectanglelabels": ["hat"]}}
    predicted = {**_task("a.jpg"), "predictions": [_made("hat")]}
    for tasks, told in (
        ([_task("a.jpg", {"result": [box, box]})], " (results of rectanglelabels are left out: 2)"),
        ([predicted], ""),
    ):
        root = _export(tmp_path, tasks)
        assert _problem(root).startswith(
            f"no annotation of {root / 'project.json'} has a choice{told}; export boxes as "
        )


def test_a_field_called_image_names_files_without_suffix(tmp_path: Path) -> None:
    root = _export(tmp_path, [_task("a", _made("hat"), split="train"), _task("b.jpg", _made("vest"))], "a", "b.jpg")
    assert _read(root).images == ("a", "b.jpg")


def test_annotations_that_disagree_are_asked_about(tmp_path: Path) -> None:
    root = _export(tmp_path, [_task("a.jpg", _made("hat", "vest"), _made("hat")), _task("e.jpg", _made("vest"))])
    assert "annotations of 1 image of " in _problem(root)
    assert "disagree (a.jpg: vest): --disagreement unknown makes such labels unknown" in _problem(root)
    assert _read(root, disagreement="unknown").full_labels.tolist() == [[1, 0], [-1, 1]]
    assert _read(root, disagreement="present").full_labels.tolist() == [[1, 1], [-1, 1]]


def test_json_min(tmp_path: Path) -> None:
    entries = [
        {"image": "/data/upload/1/0123abcd-a.jpg", "id": 1, "choice": "hat", "annotator": 1, "annotation_id": 5},
        {"image": "e.jpg", "id": 2, "choice": {"choices": ["hat", "vest"]}, "annotation_id": 6, "box": [{"x": 1}]},
        {"image": "sub/d.jpg", "id": 3, "annotation_id": 7},
    ]
    root = _export(tmp_path, entries)
    assert recognise(root)[0] == "labelstudio"
    assert _read(root).full_labels.tolist() == [[1, -1], [1, 1], [-1, -1]]
    _export(tmp_path, [*entries, {"image": "b c.jpg", "city": "Ulm", "choice": "hat"}])
    assert "does not say which of choice, city are choices: name these with --controls" in _problem(root)
    assert _read(root, controls=("choice",)).classes == ("hat", "vest")


CSV = """\
image,id,choice,annotator,annotation_id,created_at,updated_at,lead_time
/data/upload/1/0123abcd-a.jpg,1,hat,me@here.org,5,2024-01-02T03:04:05Z,2024-01-02T03:04:05Z,3.5
e.jpg,2,"{""choices"": [""hat"", ""vest""]}",1,6,2024-01-02T03:04:05Z,2024-01-02T03:04:05Z,2
e.jpg,2,"{""choices"":[""vest"",""hat""]}",2,7,2024-01-02T03:04:05Z,2024-01-02T03:04:05Z,2
sub/d.jpg,3,,1,8,2024-01-02T03:04:05Z,2024-01-02T03:04:05Z,1
b c.jpg,4,,,,2024-01-02T03:04:05Z,2024-01-02T03:04:05Z,
"""


def _csv(root: Path, text: str) -> Path:
    _export(root, [])
    (root / "project.json").unlink()
    (root / "project.csv").write_text(text)
    return root


@pytest.mark.parametrize("separator", [",", "\t"])
def test_csv(tmp_path: Path, separator: str) -> None:
    """A row an annotation: of one without a choice the image was checked, of a task without any nothing is known."""
    text = CSV if separator == "," else "\n".join("\t".join(row) for row in csv.reader(CSV.splitlines()))
    root = _csv(tmp_path, text)
    why = "project.csv has tasks and annotations as Label Studio exports them"
    assert recognise(root) == recognise(root / "project.csv") == ("labelstudio", why)
    records, reading = reading_of(LabelStudio, root, unlisted="absent")
    assert records.classes == ("hat", "vest")
    assert records.images == ("a.jpg", "e.jpg", "sub/d.jpg", "b c.jpg")
    assert records.full_labels.tolist() == [[1, -1], [1, 1], [-1, -1], [0, 0]]
    assert reading.notes == [
        "images are named by image: 4 file names, 1 uploads (/data/upload/…)",
        "1 image has no annotation: every cell is unknown",
    ]
    assert read(LabelStudio, root, unlisted="unknown").full_labels.tolist() == [[1, 0], [1, 1], [0, 0], [0, 0]]
    assert "lists choices and does not say what a missing one means" in problem(LabelStudio, root)


def test_csv_of_annotators_that_disagree_and_of_several_columns(tmp_path: Path) -> None:
    root = _csv(tmp_path, CSV.replace('[""vest"",""hat""]', '[""vest""]'))
    assert "disagree (e.jpg: hat): --disagreement unknown makes such labels unknown" in _problem(root)
    assert _read(root, disagreement="unknown").full_labels.tolist() == [[1, -1], [0, 1], [-1, -1], [0, 0]]
    rows = [*csv.reader(CSV.splitlines())]
    more = [["city", "split", "box", *rows[0]], *(["Ulm", "Test", '[{"x": 1}]', *row] for row in rows[1:])]
    quoted = "\n".join(",".join('"{}"'.format(cell.replace('"', '""')) for cell in row) for row in more)
    root = _csv(tmp_path, quoted)
    assert "does not say which of city, choice are choices: name these with --controls" in _problem(root)
    records = _read(root, controls=("choice",))
    assert records.full_labels.tolist() == [[1, -1], [1, 1], [-1, -1], [0, 0]]
    assert set(records.splits) == {"test"}


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ('[""hat"", ""vest""]', "7", "1 choice is no list of text (row 3: 7)"),
        ("sub/d.jpg", "lost/d.jpg", "1 image is missing (lost/d.jpg)"),
        ("sub/d.jpg,3", "sub/d.jpg", "1 row does not have the header's 8 cells (row 5: 7)"),
        ("sub/d.jpg", "", "1 task has no text in image (row 5: None)"),
        ("b c.jpg,4", 'b c.jpg,"4', "is no readable table: "),
    ],
)
def test_what_is_wrong_with_a_csv(tmp_path: Path, old: str, new: str, part: str) -> None:
    assert part in _problem(_csv(tmp_path, CSV.replace(old, new, 1)))


def test_a_table_of_other_columns_is_no_export(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,label,annotator\na.jpg,hat,1\n")
    assert LabelStudio.recognise(tmp_path / "labels.csv") is None
    both = _export(tmp_path, TASKS)
    (both / "project.csv").write_text(CSV)
    assert "must hold one file that Label Studio exported, it holds project.csv, project.json" in _problem(both)


def test_several_controls_and_fields_are_asked_about(tmp_path: Path) -> None:
    both = _made("yes")
    both["result"] += [*_made("yes", control="night")["result"], {"type": "rectanglelabels", "value": {"x": 1}}]
    root = _export(tmp_path, [_task("a.jpg", both, mask="a.png", name="x"), _task("e.jpg", _made("no"), mask="e.png")])
    assert "several controls of " in _problem(root)
    assert "(labels, night) have the choice 'yes'; say with --controls whose choices are labels" in _problem(root)
    assert "no control of " in _problem(root, controls=("light",))
    chosen = {"controls": ("labels",)}
    assert "image, mask all name images; say with --image-key which one does" in _problem(root, **chosen)
    assert "has a field 'picture'; " in _problem(root, **chosen, image_key="picture")
    records, reading = reading_of(LabelStudio, root, unlisted="absent", image_key="image", **chosen)
    assert records.full_labels.tolist() == [[-1, 1], [1, -1]]
    assert reading.notes[0] == "results of rectanglelabels are left out: 1"


def test_all_that_is_wrong_with_tasks_is_told_at_once(tmp_path: Path) -> None:
    tasks = [
        7,
        {"id": 8, "data": []},
        _task("a.jpg", 5),
        _task("a.jpg", {"result": [{"value": 1}, {"value": {"choices": "hat"}}]}),
    ]
    message = _problem(_export(tmp_path, tasks))
    for part in (
        "2 tasks lack data and a list of annotations (task 0: 7, task 8: ",
        "1 annotation lacks a list of results (task 7: 5)",
        "1 result has no value (task 7: {'value': 1})",
        "1 choice is no list of text (task 7: 'hat')",
    ):
        assert part in message, message


def test_all_that_is_wrong_with_images_is_told_at_once(tmp_path: Path) -> None:
    tasks = [
        _task("a.jpg", _made("hat")),
        _task("/data/upload/1/0123abcd-a.jpg", _made("hat")),
        _task("lost/f.jpg", _made(" ")),
        _task(5),
    ]
    message = _problem(_export(tmp_path, tasks), image_key="image")
    for part in (
        "1 image fits several tasks (a.jpg, /data/upload/1/0123abcd-a.jpg)",
        "1 image is missing (lost/f.jpg)",
        "1 label has a name that no class can have (an empty one)",
        "1 task has no text in image (task 7: 5)",
    ):
        assert part in message, message


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "is no readable JSON: "),
        (b"\xff\xfe[", "is no readable JSON: "),
        (b"[" * 100_000, "nested too deeply"),
        (b"{}", "holds no list of tasks: {}"),
        (b"[]", " has a choice; "),
    ],
)
def test_a_file_that_is_no_such_json(tmp_path: Path, data: bytes, part: str) -> None:
    (tmp_path / "a.json").write_bytes(data)
    assert part in _problem(tmp_path / "a.json")


def test_what_is_no_export(tmp_path: Path) -> None:
    assert "must hold one file that Label Studio exported, it holds none" in _problem(tmp_path)
    assert "there is no " in _problem(tmp_path / "absent.json")
    (tmp_path / "coco.json").write_text('{"annotations": [], "data": 1}')
    for root in (tmp_path, tmp_path / "coco.json", Path("a" * 300)):
        assert LabelStudio.recognise(root) is None
