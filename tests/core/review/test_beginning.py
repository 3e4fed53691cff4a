"""Which file of answers a folder has, and what is taken for given in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.answers.reading import read_answers
from mlrpl_cli.core.labels.answers.records import NewAnswer
from mlrpl_cli.core.labels.states import PRESENT, UNKNOWN
from mlrpl_cli.core.prepared.folder import Prepared, read_prepared
from mlrpl_cli.core.review.beginning import answers_path, desk_of, is_from
from mlrpl_cli.core.review.options import ReviewOptions
from tests import small

OTHER = "has other images or classes; review .*, which the file is about, or name another file with --answers"


class Told(Silent):
    """Keeps warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture
def answered(tmp_path: Path) -> tuple[Prepared, Path, tuple[int, int]]:
    """A folder, its file of answers with one in it, and the cell that was answered."""
    prepared = read_prepared(small.write_prepared(tmp_path / "data"))
    path = tmp_path / "mine.sqlite"
    with desk_of(path, prepared, "ann", "unknown") as desk:
        unknown = np.argwhere(prepared.observed_labels == UNKNOWN).tolist()
        row, column = next((row, column) for row, column in unknown if row in desk.rows)
        desk.record([NewAnswer("a", row, column, "present", "ann")])
    return prepared, path, (row, column)


@pytest.fixture
def prepare(mlrpl: Callable, answered: tuple, tmp_path: Path) -> Callable[..., Prepared]:
    def made(name: str, *more: object) -> Prepared:
        given = ("--root", answered[1], "--out", tmp_path / name, "--validation-fraction", 0)
        outcome = mlrpl("prepare", *given, *more)
        assert outcome.code == 0, outcome.err
        return read_prepared(tmp_path / name)

    return made


def refused(path: Path, prepared: Prepared) -> None:
    with pytest.raises(DataError, match=OTHER), desk_of(path, prepared, "ann", "unknown"):
        raise AssertionError("it was opened")


def test_a_folder_of_answers_has_their_file_however_it_is_spelled(answered, prepare, tmp_path, monkeypatch):
    """Its labels have the answers in them; taken back, a cell is what it was before anybody answered."""
    prepared, path, (row, column) = answered
    new = prepare("new")
    assert new.observed_labels[row, column] == PRESENT
    assert answers_path(ReviewOptions(), new).samefile(path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.sqlite").symlink_to(path)
    for spelled in (path, Path("mine.sqlite"), tmp_path / "link.sqlite"):
        assert is_from(new, spelled)
        with desk_of(spelled, new, "ann", "unknown") as desk:
            assert (desk.data.given == prepared.observed_labels).all()
            assert desk.known()[0][desk.check_row(row), column] == PRESENT
    with desk_of(path, new, "ann", "unknown") as desk:
        desk.undo(["a"], "ann")
        assert desk.known()[0][desk.check_row(row), column] == UNKNOWN


def test_labels_that_a_folder_hides_are_not_known_and_not_lost(answered, prepare):
    prepared, path, _ = answered
    hidden = prepare("hidden", "--keep", 0.3)
    with desk_of(path, hidden, "ann", "unknown") as desk:
        known = desk.data.given != UNKNOWN
        assert not (known & (hidden.observed_labels == UNKNOWN)).any()
        assert known.sum() < (prepared.observed_labels != UNKNOWN).sum()
    assert (read_answers(path)[0].given == prepared.observed_labels).all()


@pytest.mark.parametrize("more", [("--classes", "{0},{1}"), ("--merge-classes", "{0}={1}")])
def test_a_folder_of_other_classes_than_its_file_is_refused_and_the_file_stays(more, answered, prepare):
    prepared, path, _ = answered
    flag, value = more
    other = prepare("other", flag, value.format(*prepared.classes))
    before = path.read_bytes()
    refused(path, other)
    assert path.read_bytes() == before
    read_answers(path)


def test_a_folder_of_other_images_than_its_file_is_refused(answered, prepare, tmp_path):
    """The file has been taken over by data that grew."""
    _, path, _ = answered
    new = prepare("new")
    with desk_of(path, read_prepared(small.write_prepared(tmp_path / "grown", images=39)), "ann", "unknown"):
        pass
    refused(path, new)


def test_a_file_that_was_about_another_folder_is_told(answered, tmp_path):
    _, path, _ = answered
    other, told = read_prepared(small.write_prepared(tmp_path / "copy", seed=1)), Told()
    for _ in range(2):
        with desk_of(path, other, "ann", "unknown", told):
            pass
    (warning,) = told.warnings
    assert warning.startswith(f"{path} was about {tmp_path / 'data'}, and is about {tmp_path / 'copy'} now: 1 answers")
