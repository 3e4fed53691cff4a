"""The file of answers when its writer is killed or its disk is full: what was confirmed is there, once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.labels.answers.database import FullDiskError
from mlrpl_cli.core.labels.answers.reading import read_answers
from mlrpl_cli.core.labels.answers.store import AnswerStore
from tests.core.labels.answers.about import data_set, said
from tests.trust.test_disk import largest_file, mounted

# Step after step, each told once it is saved: four answers of a person each, then the last is taken back.
PROGRAM = """
import sys
from itertools import count
from pathlib import Path
from mlrpl_cli.core.labels.answers.store import AnswerStore
from tests.core.labels.answers.about import data_set, said

path, first = Path(sys.argv[1]), int(sys.argv[2])
print("begins", flush=True)
with AnswerStore.open(path, data_set(path.parent)) as store:
    for number in count(first):
        if number % 5 == 4:
            store.undo([str(number - 1)], f"person {number - 1}")
        else:
            store.add([said(str(number), number % 4, person=f"person {number}")])
        print(number, flush=True)
"""


def standing_after(steps: int) -> list[str]:
    """The tokens that stand after so many steps."""
    last_of_five = [number for number in range(steps) if number % 5 == 3 and number + 1 < steps]
    return [str(number) for number in range(steps) if number % 5 != 4 and number not in last_of_five]


def killed_somewhere(path: Path, first: int, chance: random.Random) -> int:
    """Start the program at a step, kill it after some, or while it begins; returns how many steps are confirmed."""
    command = [sys.executable, "-c", PROGRAM, str(path), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(chance.choice([1, 2, chance.randint(3, 100)]))]
        for _ in range(chance.randrange(500_000)):  # or all come when a step has just been told
            pass
        process.kill()
        lines += process.stdout.readlines()
    assert lines[0] == b"begins\n"
    return first + len(lines) - 1


def torment(path: Path, kills: int, seed: int) -> int:
    """Kill so often, and look each time whether what was confirmed is there, and at most one step more."""
    chance, steps, data = random.Random(seed), 0, data_set(path.parent)
    for _ in range(kills):
        steps = killed_somewhere(path, steps, chance)
        if steps:  # else there may be no whole file yet
            found = tokens(read_answers(path)[1])
        with AnswerStore.open(path, data) as store:
            assert not steps or tokens(store.standing) == found
            found = tokens(store.standing)
        assert found in (standing_after(steps), standing_after(steps + 1))
        steps += found != standing_after(steps)
        assert os.listdir(path.parent) == [path.name]
    return steps


def tokens(answers) -> list[str]:
    return [answer.token for answer in answers]


def test_a_handful_of_kills_loses_no_answer_that_was_confirmed(tmp_path):
    assert torment(tmp_path / "answers.sqlite", 4, seed=0) > 10


@pytest.mark.slow
def test_two_hundred_kills_lose_no_answer_that_was_confirmed(tmp_path):
    for seed in range(10):  # files of their own, or none would be killed while it is made
        (tmp_path / str(seed)).mkdir()
        torment(tmp_path / str(seed) / "answers.sqlite", 20, seed)


def fill(store: AnswerStore, start: int, most: int = 10_000) -> list[str]:
    """Add one answer after another until one is refused; returns the tokens of those that were not."""
    saved = list[str]()
    for number in range(start, start + most):
        try:
            store.add([said(f"{number:090d}", number % 4, person=f"person {number}")])
        except DataError:
            return saved
        saved.append(f"{number:090d}")
    raise AssertionError("the disk did not fill up")


def test_a_disk_that_fills_up_while_people_answer_loses_nothing_and_they_go_on_with_more_room(tmp_path):
    with mounted(tmp_path / "disk", "size=256k") as disk:
        with AnswerStore.open(disk / "answers.sqlite", data_set(disk)) as store:
            saved = fill(store, 0)
            with pytest.raises(
                FullDiskError, match=r"^the disk of .*: none of this was saved, all before is; free some"
            ):
                store.add([said("one more")])
            assert tokens(store.standing) == tokens(read_answers(disk / "answers.sqlite")[1]) == saved
            subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
            store.add([said("one more")])
        with AnswerStore.open(disk / "answers.sqlite", data_set(disk)) as store:
            assert tokens(store.standing) == [*saved, "one more"]


@pytest.mark.parametrize("pages", [1, 2, 4, 8, 12, 16, 20, 24, 32])
def test_a_disk_that_is_full_when_answers_begin_is_told_in_one_line(pages, tmp_path):
    with mounted(tmp_path / "disk", f"size={4 * pages}k") as disk:
        path, saved, told = disk / "answers.sqlite", list[str](), list[str]()
        try:
            with AnswerStore.open(path, data_set(disk)) as store:
                saved = fill(store, 0)
        except DataError as error:
            told.append(str(error))
        beginnings = f"the disk of {path} is full", f"cannot use {path} (", f"cannot write {disk}"
        assert all(line.startswith(beginnings) and "\n" not in line for line in told)
        subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
        with AnswerStore.open(path, data_set(disk)) as store:
            assert tokens(store.standing) == saved
            store.add([said("one more")])
        assert tokens(read_answers(path)[1]) == [*saved, "one more"]


def test_a_file_that_may_not_grow_takes_nothing_more_and_goes_on_when_it_may(tmp_path):
    path = tmp_path / "answers.sqlite"
    with AnswerStore.open(path, data_set(tmp_path)) as store:
        with largest_file(256 * 1024):
            saved = fill(store, 0)
            with pytest.raises(DataError, match=str(path)):
                store.add([said("one more")])
        assert tokens(store.standing) == tokens(read_answers(path)[1]) == saved
        store.add([said("one more")])
    assert tokens(read_answers(path)[1]) == [*saved, "one more"]


def test_a_read_only_disk_is_told_and_its_answers_can_be_read(tmp_path):
    with mounted(tmp_path / "disk", "size=1m") as disk:
        with AnswerStore.open(disk / "answers.sqlite", data_set(disk)) as store:
            store.add([said("1")])
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(DataError, match=r"^cannot (write|use) .*") as caught:
            AnswerStore.open(disk / "answers.sqlite", data_set(disk))
        assert "\n" not in str(caught.value)
        assert tokens(read_answers(disk / "answers.sqlite")[1]) == ["1"]
