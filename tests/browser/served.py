"""`mlrpl review` of a small data set with hostile names, in a process of its own, and its file of answers."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from mlrpl_cli.core.prepared.folder import read_prepared, write_manifest
from tests import small, warm

IMAGES = 300
CLASSES = ("<img src=x onerror=alert(1)>", "\"'></option> \u202eevil", "very " * 60 + "long")
NAMES = ("images/\"><img src=x onerror=alert(1)>&amp;'.png", f"images/{'long' * 50}.png")


def write_hostile(folder: Path) -> Path:
    """A prepared folder whose first images, and all of whose classes, have such names."""
    prepared = read_prepared(small.write_prepared(folder, images=IMAGES, keep=0.3))
    for old, new in zip(prepared.images, NAMES, strict=False):
        (folder / old).rename(folder / new)
    images = (*NAMES, *prepared.images[len(NAMES) :])
    write_manifest(folder, replace(prepared, classes=CLASSES, images=images))
    return folder


class Answer(NamedTuple):
    """What the file of answers says of a cell."""

    image: str
    name: str
    state: str
    person: str


@dataclass
class Review:
    """A server that can be killed and started again."""

    prepared: Path
    run: Path
    place: Path
    person: str | None = "ann"
    url: str = ""
    _process: warm.Process | None = field(default=None, repr=False)

    @property
    def answers(self) -> Path:
        return self.place / "answers.sqlite"

    def start(self) -> None:
        """Returns once it listens: it prints its address then."""
        said, errors = self.place / "said", self.place / "errors"
        said.unlink(missing_ok=True)
        os.mkfifo(said)
        given = ("--run", self.run, "--answers", self.answers, "--device", "cpu", "--workers", 0)
        given += ("--person", self.person) if self.person else ()
        command = ("review", self.prepared, *given, "--json")
        self._process = warm.start(command, stdout=said, stderr=errors, OMP_NUM_THREADS="1")
        with said.open() as stream:
            line = stream.readline()
        assert line, errors.read_text()
        self.url = json.loads(line)["result"]["url"]

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            os.kill(self._process.pid, how)
            self._process.wait()
            self._process = None

    def rows(self, of: str) -> list[tuple]:
        """Of the file of answers, also while a server writes to it."""
        with sqlite3.connect(f"{self.answers.as_uri()}?mode=ro", uri=True) as database:
            return database.execute(of).fetchall()

    def standing(self) -> list[Answer]:
        """Answers that were not taken back, in their order."""
        found = self.rows(
            "SELECT images.name, classes.name, state, person FROM answers JOIN images ON images.id = image "
            "JOIN classes ON classes.id = class WHERE state IS NOT NULL AND answers.id NOT IN "
            "(SELECT undoes FROM answers WHERE undoes IS NOT NULL) ORDER BY answers.id"
        )
        return [Answer(os.fsdecode(image), *others) for image, *others in found]

    def tokens(self) -> set[str]:
        return {token for (token,) in self.rows("SELECT token FROM answers WHERE state IS NOT NULL")}


def kept_up(review: Review) -> Iterator[Review]:
    """For a fixture: it listens meanwhile."""
    review.start()
    yield review
    review.kill()
