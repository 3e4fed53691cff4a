"""What answers are about, an answer on its way in, and one that stands. N images, C classes."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.reading import shown

if TYPE_CHECKING:
    import numpy as np

PRESENT, ABSENT, UNSURE = STATES = ("present", "absent", "unsure")
"""What may be answered of a cell."""
Disagreements = Literal["unknown", "newest", "majority"]
"""What becomes of a cell that some say is present and others say is absent."""
LONGEST_TOKEN, LONGEST_PERSON = 100, 100
"""Characters."""
_ODD_MARKS = {"Cc", "Cs", "Zl", "Zp"}  # controls, halves of characters, ends of lines: what steers a terminal


@dataclass(frozen=True)
class DataSet:
    """What is answered about, in the order of its rows and columns."""

    classes: tuple[str, ...]
    """C names."""
    image_root: Path
    """The folder that `images` are relative to."""
    images: tuple[str, ...]
    """N paths with forward slashes."""
    splits: tuple[str, ...]
    """N of `labels.records.SPLITS`."""
    given: np.ndarray = field(repr=False)
    """(N, C) int8 of label states: what was known before anybody answered."""
    source: Path
    """The prepared folder; messages name it."""


@dataclass(frozen=True)
class NewAnswer:
    """One that is to be added."""

    token: str
    """What its sender calls it, once and for all: one that comes again is the same answer."""
    row: int
    column: int
    state: str
    """Of STATES."""
    person: str
    probability: float | None = None
    """That of the class, in [0, 1], which the person was shown; None for none."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The newest answer of one person to a cell, of those that were not taken back."""

    row: int
    column: int
    state: str
    person: str
    token: str
    at: str
    """When it was added: UTC, ISO 8601."""
    probability: float | None


def check_answer(answer: NewAnswer, images: int, classes: int) -> None:
    """Raise DataError for what no answer can be, about a data set of so many images and classes."""
    check_token(answer.token)
    check_person(answer.person)
    for what, place, count in (("row", answer.row, images), ("column", answer.column, classes)):
        if isinstance(place, bool) or not hasattr(place, "__index__") or not 0 <= place < count:
            raise DataError(f"expected a {what} from 0 to {count - 1}, got {shown(place)}; load the page again")
    if answer.state not in STATES:
        raise DataError(f"expected an answer of {', '.join(STATES)}, got {shown(answer.state)}; load the page again")
    if not is_probability(answer.probability):
        raise DataError(f"expected a probability from 0 to 1, or none, got {shown(answer.probability)}")


def check_token(token: object) -> None:
    """Raise DataError for what can be no answer's token."""
    if not is_text(token, LONGEST_TOKEN):
        what = f"a token of up to {LONGEST_TOKEN} characters without control characters"
        raise DataError(f"expected {what}, got {shown(token)}; load the page again")


def check_person(person: object) -> None:
    """Raise DataError for what can be nobody's name."""
    if not is_text(person, LONGEST_PERSON):
        what = f"a person's name of up to {LONGEST_PERSON} characters without control characters"
        raise DataError(f"expected {what}, got {shown(person)}; choose another name")


def is_text(value: object, longest: int) -> bool:
    """Whether `value` is text that is not blank, of up to `longest` characters, none of which is a control character.

    >>> is_text("Ann", 100), is_text(" ", 100), is_text("Ann\\n", 100)
    (True, False, False)
    """
    if not isinstance(value, str) or not value.strip() or len(value) > longest:
        return False
    return not any(unicodedata.category(mark) in _ODD_MARKS for mark in value)


def is_probability(value: object) -> bool:
    """Whether `value` is None or a number in [0, 1]."""
    if value is None:
        return True
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= 1
