"""Answers of `mlrpl review`: the labels that its data set was given, with what people answered in their place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from mlrpl_cli.core.images.find import check_images
from mlrpl_cli.core.io.errors import DataError, agreeing, counted
from mlrpl_cli.core.io.reading import beginning_of
from mlrpl_cli.core.labels.answers.records import Disagreements
from mlrpl_cli.core.labels.marks import NOWHERE, Marks
from mlrpl_cli.core.labels.own import GrowingData
from mlrpl_cli.core.labels.records import Reading, Records
from mlrpl_cli.core.labels.states import ABSENT, UNKNOWN

if TYPE_CHECKING:
    import numpy as np

    from mlrpl_cli.core.labels.answers.contents import Contents

BECAME = {
    "unknown": "unknown; --disagreements newest|majority decides them",
    "newest": "what the newest answer says",
    "majority": "what more people say, unknown where as many say either",
}
"""What cells are that people disagree on."""


class Answers(GrowingData):
    """A file of answers; its images are those of the data set that they are about, with their splits."""

    disagreements: Disagreements = Field(
        "unknown", description="what a cell is that some people answered is present and others absent"
    )

    holds: ClassVar[str] = "a file of answers that mlrpl review wrote"

    @classmethod
    def recognise(cls, root: Path) -> str | None:
        from mlrpl_cli.core.labels.answers.database import HEADER, is_answers  # help and usage errors read no SQLite

        if os.path.isdir(root) or not is_answers(beginning_of(root, HEADER)):
            return None
        return f"{root.name} holds answers of mlrpl review"

    def read(self, reading: Reading) -> Records:
        """Images and classes in the order of the data set that was answered about.

        Raises DataError, naming everything found at once, for wrong data.
        """
        from mlrpl_cli.core.labels.answers.reading import read_file
        from mlrpl_cli.core.labels.answers.settling import settled

        found = read_file(self.root)
        data, problems = found.data, reading.problems
        root = self.images or data.image_root
        if not os.path.isdir(root):
            raise DataError(f"{self.root}: its images are not in {root}; name their folder with --images")
        check_images(root, data.images, problems)
        labels, disputed = settled(data.given, found.ledger.standing, self.disagreements)
        reading.notes.extend(_notes(found, labels, disputed, self.disagreements))
        classes, labels = _chosen(data.classes, labels, Marks(root, reading))
        problems.raise_if_any(f"{self.root}, images below {root}", "name the images' folder with --images")
        return Records(classes, root, data.images, labels, data.splits)


def _notes(found: Contents, labels: np.ndarray, disputed: np.ndarray, disagreements: str) -> list[str]:
    """What was answered, and what became of it."""
    answers, given = found.ledger.standing, found.data.given
    people, cells = {answer.person for answer in answers}, {(answer.row, answer.column) for answer in answers}
    who = "1 person" if len(people) == 1 else f"{len(people)} people"
    changed = counted(int(((labels != given) & (given != UNKNOWN)).sum()), "given label")
    notes = [
        f"{who} answered {counted(len(cells), 'cell')}, which changed {changed}" if cells else "nobody answered yet"
    ]
    if count := int(disputed.sum()):
        notes.append(agreeing(count, f"cells that people disagree on are {BECAME[disagreements]}"))
    if gone := found.ledger.gone:
        notes.append(
            f"{agreeing(gone, 'answers are about images or classes that the data set has no more and are left out')}"
        )
    return notes


def _chosen(classes: tuple[str, ...], labels: np.ndarray, marks: Marks) -> tuple[tuple[str, ...], np.ndarray]:
    """The classes that count and their labels; what is merged is present where any of it is, else unknown where any."""
    import numpy as np

    columns = [marks.label(name) for name in classes]
    chosen = np.full((len(labels), len(marks.classes)), ABSENT, np.int8)
    for column, place in enumerate(columns):
        if place != NOWHERE:  # PRESENT is the largest state and ABSENT the smallest
            np.maximum(chosen[:, place], labels[:, column], out=chosen[:, place])
    return tuple(marks.classes), chosen
