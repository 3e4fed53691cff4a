"""What a pipeline requires of a run's figures: "map>=0.6", "ap[person]>=0.7"."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mlrpl_cli.core.io.errors import ConfigError, did_you_mean

SHARES = ("map", "map_learnable", "op", "or", "of1", "cp", "cr", "cf1_of_means", "cf1_mean_of_f1")
"""Figures by name, beside ap[CLASS]. From op on they are those at the threshold."""
OPERATORS: dict[str, Callable[[float, float], bool]] = {
    **{">=": operator.ge, "<=": operator.le},
    **{">": operator.gt, "<": operator.lt},
}
_FORM = re.compile(r"(.*?)([<>]=?)([^<>=]*)", re.DOTALL)
"""The last operator is the one that counts: a class name may hold others."""
_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Requirement:
    """One figure, an operator and a bound."""

    text: str
    """As it was typed."""
    figure: str
    operator: str
    bound: float
    """In [0, 1]."""

    def holds(self, value: float) -> bool:
        """Whether a figure in [0, 1] meets it; NaN never does."""
        return not math.isnan(value) and OPERATORS[self.operator](value, self.bound)


@dataclass(frozen=True)
class Judged:
    """A requirement and what became of it."""

    requirement: str
    value: float
    """NaN where it cannot be computed."""
    met: bool
    why: str | None = None
    """Why it cannot be computed."""

    @property
    def sentence(self) -> str:
        """One line for somebody whose pipeline stops."""
        return f"required {self.requirement}, got {self.why or _told(self)}"


def parse(text: str) -> Requirement:
    """A requirement as it is typed. Raises ConfigError for another form, and for a bound that is no share."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ConfigError(f"--require: expected a figure, one of {' '.join(OPERATORS)} and a number, got '{text}'")
    figure, sign, bound = (part.strip() for part in found.groups())
    if not _NUMBER.fullmatch(bound) or not 0 <= float(bound) <= 1:
        raise ConfigError(f"--require: expected a share from 0 to 1 (0.6, not 60) in '{text}', got '{bound}'")
    return Requirement(text.strip(), figure, sign, float(bound))


def check(requirements: Iterable[Requirement], classes: Sequence[str]) -> None:
    """Raise ConfigError for the first requirement of a figure that there is not."""
    known = [*SHARES, *map(ap_of, classes)]
    for requirement in requirements:
        if requirement.figure not in known:
            advice = did_you_mean(requirement.figure, known) if requirement.figure.startswith("ap[") else ""
            names = advice or f"known: {', '.join(SHARES)}, ap[CLASS]"
            raise ConfigError(f"--require: no figure is called '{requirement.figure}'; {names}")


def judge(
    requirements: Iterable[Requirement], figures: Mapping[str, float], reasons: Mapping[str, str]
) -> tuple[Judged, ...]:
    """What became of each requirement: `figures` in [0, 1] by name, and `reasons` why some are NaN."""
    found = []
    for requirement in requirements:
        value = figures[requirement.figure]
        why = reasons.get(requirement.figure, "no figure: no class can be measured") if math.isnan(value) else None
        found.append(Judged(requirement.text, value, requirement.holds(value), why))
    return tuple(found)


def ap_of(name: str) -> str:
    """What the average precision of a class is called: ap[person]."""
    return f"ap[{name}]"


def _told(judged: Judged) -> str:
    """The value in as few digits, from four on, as tell it from the bound."""
    required = parse(judged.requirement)
    rounded = (f"{judged.value:.{digits}f}" for digits in range(4, 17))
    return next((text for text in rounded if required.holds(float(text)) == judged.met), repr(judged.value))
