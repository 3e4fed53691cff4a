"""What a threshold is chosen for, as it is typed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlrpl_cli.core.io.errors import ConfigError

F1, PRECISION, RECALL, COST = "f1", "precision", "recall", "cost"
FORMS = "f1, precision=0.9, recall=0.95 (shares below 1) or cost=5:1 (a miss costs 5 times a false alarm)"
_NUMBER = r"((?:\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})(?:e[+-]?\d{1,2})?)"
_SHARE = re.compile(rf"(precision|recall)\s*=\s*{_NUMBER}", re.ASCII)
_COSTS = re.compile(rf"cost\s*=\s*{_NUMBER}\s*:\s*{_NUMBER}", re.ASCII)


@dataclass(frozen=True)
class Objective:
    """The best F1, a precision or a recall that is at least so high, or the least cost."""

    kind: str = F1
    """"f1", "precision", "recall" or "cost"."""
    value: float | None = None
    """Of precision and recall between 0 and 1; of cost, how many false alarms a miss is worth; None of f1."""

    def __str__(self) -> str:
        """As it is typed."""
        if self.value is None:
            return self.kind
        number = repr(float(self.value)).removesuffix(".0")  # which reads back as the same
        return f"{self.kind}={number}{':1' if self.kind == COST else ''}"


def parse_objective(text: str) -> Objective:
    """An objective as it is typed. Raises ConfigError, which lists the forms, for another text."""
    asked = text.strip().lower()
    if asked == F1:
        return Objective()
    if (share := _SHARE.fullmatch(asked)) and 0 < float(share[2]) < 1:
        return Objective(share[1], float(share[2]))
    if (costs := _COSTS.fullmatch(asked)) and float(costs[1]) > 0 and float(costs[2]) > 0:
        return Objective(COST, float(costs[1]) / float(costs[2]))
    raise ConfigError(f"--objective: expected {FORMS}, got '{text}'")
