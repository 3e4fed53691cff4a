"""Answers become labels: what is said of them, the way through prepare and update, and to training and export."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.labels.answers.records import DataSet, NewAnswer
from mlrpl_cli.core.labels.answers.store import AnswerStore
from mlrpl_cli.core.labels.formats.registry import recognise
from mlrpl_cli.core.labels.formats.tools.answers import Answers
from mlrpl_cli.core.prepared.folder import Prepared, read_prepared
from mlrpl_cli.core.review.beginning import data_set_of
from tests import small
from tests.core.labels.answers.about import CLASSES, GIVEN, IMAGES, data_set, said
from tests.core.labels.formats.reading import problem, read, reading_of

_read, _problem = partial(read, Answers), partial(problem, Answers)


def write(place: Path, *answers: NewAnswer, data: DataSet | None = None) -> Path:
    """A file of answers, beside the images it is about."""
    data = data or data_set(place)
    for image in data.images:
        (data.image_root / image).parent.mkdir(parents=True, exist_ok=True)
        (data.image_root / image).touch()
    with AnswerStore.open(place / "answers.sqlite", data) as store:
        store.add(answers)
    return place / "answers.sqlite"


CHANGED = said("1", 0, 0, "absent"), said("2", 1, 2), said("3", 1, 1, "unsure")
DISPUTED = said("4", 2, 1, "absent"), said("5", 2, 1, "present", "bob")


def test_it_is_recognised_by_its_header_alone(tmp_path):
    path = write(tmp_path)
    path.rename(tmp_path / "odd.jpg")
    assert recognise(tmp_path / "odd.jpg") == ("answers", "odd.jpg holds answers of mlrpl review")
    (tmp_path / "other.sqlite").write_bytes(b"SQLite format 3\0" + bytes(200))
    with pytest.raises(ConfigError, match=r"other.sqlite is of no format that is recognised"):
        recognise(tmp_path / "other.sqlite")


def test_labels_are_those_given_with_what_people_answered_in_their_place(tmp_path):
    records, reading = reading_of(Answers, write(tmp_path, *CHANGED, *DISPUTED))
    expected = GIVEN.copy()
    expected[0, 0], expected[1, 2], expected[2, 1] = -1, 1, 0
    assert (records.classes, records.images) == (CLASSES, IMAGES)
    assert records.splits == ("train", "train", "train", "test")
    assert records.image_root == tmp_path / "images"
    assert np.array_equal(records.full_labels, expected)
    assert reading.notes == [
        "2 people answered 4 cells, which changed 2 given labels",
        "1 cell that people disagree on is unknown; --disagreements newest|majority decides them",
    ]


@pytest.mark.parametrize(
    ("disagreements", "state", "told"),
    [
        ("newest", 1, "is what the newest answer says"),
        ("majority", 0, "is what more people say, unknown where as many say either"),
    ],
)
def test_disagreements_are_decided_as_asked(tmp_path, disagreements, state, told):
    records, reading = reading_of(Answers, write(tmp_path, *DISPUTED), disagreements=disagreements)
    assert records.full_labels[2, 1] == state
    assert reading.notes[1] == f"1 cell that people disagree on {told}"


def test_without_answers_the_labels_are_those_given(tmp_path):
    records, reading = reading_of(Answers, write(tmp_path))
    assert np.array_equal(records.full_labels, GIVEN)
    assert reading.notes == ["nobody answered yet"]


def test_answers_about_what_is_gone_are_counted(tmp_path):
    write(tmp_path, said("1", 0, 1), said("2", 1, 0), said("3", 1, 1))
    less = data_set(tmp_path, IMAGES[1:], CLASSES[1:], GIVEN[1:, 1:])
    records, reading = reading_of(Answers, write(tmp_path, data=less))
    assert records.full_labels.tolist() == [[1, 0], [1, 0], [-1, 1]]
    assert reading.notes == [
        "1 person answered 1 cell, which changed 0 given labels",
        "2 answers are about images or classes that the data set has no more and are left out",
    ]


def test_classes_are_chosen_and_merged(tmp_path):
    path = write(tmp_path, said("1", 1, 0))
    merged, reading = reading_of(Answers, path, merged={"dög": "cat"})
    assert merged.classes == ("cat", "stop sign")
    assert merged.full_labels.tolist() == [[1, -1], [1, 0], [1, 0], [-1, 1]]
    assert reading.seen == set(CLASSES)
    assert reading_of(Answers, path, classes=["dög"])[0].full_labels.tolist() == [[0], [0], [1], [-1]]


def test_images_that_were_moved_are_named_and_their_folder_can_be(tmp_path):
    path = write(tmp_path)
    (tmp_path / "images" / "a.jpg").unlink()
    assert "1 image is missing (a.jpg); name the images' folder with --images" in _problem(path)
    (tmp_path / "images" / "a.jpg").touch()
    (tmp_path / "images").rename(tmp_path / "moved")
    assert _problem(path) == (f"{path}: its images are not in {tmp_path / 'images'}; name their folder with --images")
    assert _read(path, images=tmp_path / "moved").image_root == tmp_path / "moved"


# The way from a prepared folder through answers to another one


def answer(prepared: Prepared, *answers: NewAnswer) -> None:
    with AnswerStore.open(Path("answers.sqlite"), data_set_of(prepared)) as store:
        store.add(answers)


@pytest.fixture
def prepared(tmp_path, monkeypatch) -> Prepared:
    """A folder that hides labels, the current one is above it."""
    monkeypatch.chdir(tmp_path)
    return read_prepared(small.write_prepared(tmp_path / "data"))


def answers_about(prepared: Prepared, states: tuple[int, ...], start: int = 0) -> list[NewAnswer]:
    """Answers of the hidden truth in the first cells that are in one of `states`."""
    rows, columns = np.nonzero(np.isin(prepared.observed_labels, states))
    words = {1: "present", -1: "absent"}
    truth = prepared.full_labels[rows, columns]
    cells = list(zip(rows.tolist(), columns.tolist(), truth.tolist(), strict=True))[start : start + 5]
    return [said(f"{start}-{row}-{column}", row, column, words[state]) for row, column, state in cells]


def test_prepare_makes_labels_of_answers_and_an_update_takes_more_of_them(prepared, mlrpl):
    first, more = (answers_about(prepared, (0,), start) for start in (0, 5))
    answer(prepared, *first)
    outcome = mlrpl("prepare", "--root", "answers.sqlite", "--out", "answered")
    assert outcome.code == 0, outcome.err
    assert "read as answers: answers.sqlite holds answers of mlrpl review" in outcome.out
    assert "1 person answered 5 cells, which changed 0 given labels" in outcome.out
    expected = prepared.observed_labels.copy()
    for one in first:
        expected[one.row, one.column] = prepared.full_labels[one.row, one.column]
    made = read_prepared(Path("answered"))
    assert (made.images, made.classes, made.splits) == (prepared.images, prepared.classes, prepared.splits)
    assert np.array_equal(made.full_labels, expected)
    assert np.array_equal(made.observed_labels, expected)

    assert "is up to date: nothing was written" in mlrpl("prepare", "--update", "answered").err
    answer(prepared, *more)
    outcome = mlrpl("prepare", "--update", "answered")
    assert outcome.code == 0, outcome.err
    assert "1 person answered 10 cells" in outcome.out
    for one in more:
        expected[one.row, one.column] = prepared.full_labels[one.row, one.column]
    assert np.array_equal(read_prepared(Path("answered")).full_labels, expected)


def test_what_was_answered_trains_and_is_exported(prepared, mlrpl):
    answer(prepared, *answers_about(prepared, (0,)))
    small.write_backbone(Path("clip.safetensors"))
    assert mlrpl("prepare", "--root", "answers.sqlite", "--out", "answered").code == 0
    settings = [f"--set={key}={value}" for key, value in {**small.OPTIONS, "backbone": "clip.safetensors"}.items()]
    trained = mlrpl("train", "--data", "answered", "--run", "run", "--method", "linear", "--epochs", 1, *settings)
    assert trained.code == 0, trained.err
    exported = mlrpl("export-labels", "--data", "answered", "--format", "table", "--out", "labels.csv")
    assert exported.code == 0, exported.err
    assert mlrpl("prepare", "--root", "labels.csv", "--images", "data", "--out", "back").code == 0
    back, made = read_prepared(Path("back")), read_prepared(Path("answered"))
    order = [back.images.index(name) for name in made.images]
    assert np.array_equal(back.full_labels[order], made.full_labels)


def test_a_folder_is_called_after_the_file_and_its_folder(prepared, mlrpl):
    answer(prepared)
    assert mlrpl("prepare", "--root", "answers.sqlite").code == 0
    assert Path("prepared", f"{Path.cwd().name}-answers-keep100-seed0").is_dir()


def test_an_option_that_cannot_be_is_told(prepared, mlrpl):
    answer(prepared)
    outcome = mlrpl("prepare", "--root", "answers.sqlite", "--disagreements", "newst")
    assert outcome.err.endswith(
        "mlrpl: error: --disagreements: expected one of unknown, newest, majority, got 'newst'\n"
    )
