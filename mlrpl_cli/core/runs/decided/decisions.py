"""`decisions.json` of a run folder: the calibration and the thresholds of its checkpoints, read and written.

Axes: C classes, K coefficients.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pydantic.dataclasses
from pydantic import ConfigDict, Field

from mlrpl_cli.core.config import BEST, LAST
from mlrpl_cli.core.io import reading, schema
from mlrpl_cli.core.io.errors import ConfigError, RunError, one_line
from mlrpl_cli.core.io.files import write_text
from mlrpl_cli.core.runs.decided.calibration import FAMILIES, IDENTITY, Calibration
from mlrpl_cli.core.runs.decided.objective import Objective, parse_objective
from mlrpl_cli.core.runs.decided.scores import Source, checkpoint_sha256
from mlrpl_cli.core.runs.decided.verdicts import verdicts
from mlrpl_cli.core.runs.folder import DECISIONS

FORMAT = 1
MOST_BYTES = 64 * reading.MIB
AGAIN = "run `mlrpl decide` to have it written again"

Count = Annotated[int, Field(ge=0, le=2**53)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Listed = Field(strict=False, fail_fast=True)
STRICT = ConfigDict(extra="forbid", strict=True)


@pydantic.dataclasses.dataclass(frozen=True, config=STRICT)
class Measured:
    """What calibration came to on held-out cells that it was not fitted to (cross-validation)."""

    ece: Share | None
    """Mean over classes of the expected calibration error in 15 bins of as many cells each; None without a class."""
    brier: Share | None
    log_loss: Annotated[float, Field(ge=0)] | None
    """In nats a cell."""


@pydantic.dataclasses.dataclass(frozen=True, config=STRICT)
class StoredDecision:
    """One checkpoint's, as the file has it."""

    checkpoint: str
    """SHA-256 of the checkpoint's content."""
    source: Source
    images: Count
    """Held-out images behind it."""
    family: str
    shrinkage: Finite | None
    """None for the rule of all classes alone."""
    coefficients: Annotated[tuple[Annotated[tuple[Finite, ...], Listed], ...], Listed]
    covariance: Annotated[tuple[Annotated[tuple[Annotated[tuple[Finite, ...], Listed], ...], Listed], ...], Listed]
    present: Annotated[tuple[Count, ...], Listed]
    absent: Annotated[tuple[Count, ...], Listed]
    shared: Annotated[tuple[bool, ...], Listed]
    thresholds: Annotated[tuple[Share | None, ...], Listed]
    """(C,); None where no threshold reaches the objective."""
    before: Measured
    after: Measured
    unlike: Annotated[tuple[Count, ...], Listed] = ()
    """Classes, by their places, whose known cells do not stand for their unknown ones."""


@pydantic.dataclasses.dataclass(frozen=True, config=STRICT)
class DecisionsFile:
    classes: Annotated[tuple[str, ...], Listed]
    objective: str
    best: StoredDecision | None = None
    last: StoredDecision | None = None
    format: int = FORMAT


@dataclass(frozen=True)
class Decision:
    """How scores of one checkpoint become decisions."""

    checkpoint: str
    """SHA-256 of the checkpoint's content that it is of."""
    source: Source
    """Whose scores it was chosen by."""
    images: int
    """How many images these are of."""
    objective: Objective
    calibration: Calibration
    thresholds: np.ndarray
    """(C,) float64 in [0, 1], of calibrated probabilities; NaN where none reaches the objective."""
    before: Measured
    after: Measured

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(N, C) logits → (N, C) float32 calibrated probabilities."""
        return self.calibration.apply(logits).astype(np.float32)

    def verdicts(self, logits: np.ndarray, learnable: tuple[bool, ...] | None = None) -> np.ndarray:
        """(N, C) of "yes", "no" and "unsure", as `verdicts.verdicts`."""
        could = None if learnable is None else np.array(learnable)
        return verdicts(logits, self.calibration, self.thresholds, could)


def read_decisions(run: Path) -> dict[str, Decision]:
    """The decisions of a run by "best" and "last"; none for a run without. Raises RunError for a damaged file."""
    path = run / DECISIONS
    if not path.is_file():
        return {}
    try:
        return decisions_in(reading.read_text(path, MOST_BYTES))
    except ValueError as error:
        raise RunError(f"{path} is damaged: {one_line(error)}; remove it, or {AGAIN}") from error


def decisions_in(text: str) -> dict[str, Decision]:
    """The decisions by "best" and "last" that `decisions_text` wrote. Raises ValueError for another text."""
    try:
        stored = _stored(json.loads(text))
        objective = parse_objective(stored.objective)
    except (ConfigError, RecursionError) as error:
        raise ValueError(one_line(error)) from error
    found = {which: getattr(stored, which) for which in (BEST, LAST)}
    return {which: _read(one, objective, len(stored.classes)) for which, one in found.items() if one}


def decision_of(run: Path, which: str, classes: int) -> tuple[Decision | None, str | None]:
    """The decision that is of the checkpoint as it is; or None, and what is to be said of one that is of another.

    A run without any, as of an older mlrpl, is nothing to speak of.
    """
    found = read_decisions(run).get(which)
    if found is None:
        return None, None
    if found.checkpoint != checkpoint_sha256(run, which) or len(found.thresholds) != classes:
        told = f"{run / DECISIONS} is of another {which} checkpoint: the probabilities are uncalibrated"
        return None, f"{told}; `mlrpl train --resume --run {run}` makes it again"
    return found, None


def write_decisions(run: Path, classes: tuple[str, ...], of: dict[str, Decision]) -> None:
    """Write the decisions by "best" and "last", at least one, atomically."""
    write_text(run / DECISIONS, decisions_text(classes, of))


def decisions_text(classes: tuple[str, ...], of: dict[str, Decision]) -> str:
    """What `decisions.json` holds of the decisions by "best" and "last", at least one."""
    objective, found = str(next(iter(of.values())).objective), {which: _written(one) for which, one in of.items()}
    file = DecisionsFile(classes, objective, found.get(BEST), found.get(LAST))
    return json.dumps(asdict(file), indent=1) + "\n"


def _stored(values: Any) -> DecisionsFile:
    """Raises ValueError for what is no such file."""
    if isinstance(values, dict):
        given = {which: values[which] for which in (BEST, LAST) if values.get(which) is not None}
        values = {**values, **{which: schema.validated(StoredDecision, _with(one)) for which, one in given.items()}}
    found = schema.validated(DecisionsFile, values)
    if found.format != FORMAT:
        raise ValueError(f"expected format {FORMAT}, got {found.format}")
    return found


def _with(values: Any) -> Any:
    """The figures inside, checked first: an error is told of the innermost."""
    if isinstance(values, dict):
        return {**values, **{n: schema.validated(Measured, values.get(n)) for n in ("before", "after")}}
    return values


def _read(stored: StoredDecision, objective: Objective, classes: int) -> Decision:
    """Raises ValueError for a family that there is not, and for arrays of other shapes."""
    if stored.family not in FAMILIES:
        raise ValueError(f"family: expected one of {', '.join(FAMILIES)}, got {reading.shown(stored.family)}")
    size = len(IDENTITY[stored.family])
    shapes = {"coefficients": (classes, size), "covariance": (classes, size, size)}
    shapes |= dict.fromkeys(("present", "absent", "shared", "thresholds"), (classes,))
    arrays = {name: _array(name, getattr(stored, name), shape) for name, shape in shapes.items()}
    thresholds, shrinkage = arrays.pop("thresholds"), np.inf if stored.shrinkage is None else stored.shrinkage
    if any(column >= classes for column in stored.unlike):
        raise ValueError(f"unlike: expected places of {classes} classes, got {reading.shown(max(stored.unlike))}")
    calibration = Calibration(stored.family, **arrays, shrinkage=shrinkage, unlike=stored.unlike)
    calibration = replace(calibration, shared=calibration.shared.astype(bool))
    return Decision(
        stored.checkpoint, stored.source, stored.images, objective, calibration, thresholds, stored.before, stored.after
    )


def _array(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    kind = int if name in ("present", "absent") else float
    try:
        found = np.array([np.nan if value is None else value for value in values], kind)
    except ValueError as error:
        raise ValueError(f"{name}: expected {shape}, got rows of several lengths") from error
    if found.shape != shape:
        raise ValueError(f"{name}: expected {shape}, got {found.shape}")
    return found


def _written(one: Decision) -> StoredDecision:
    calibration = one.calibration
    names = ("coefficients", "covariance", "present", "absent", "shared")
    arrays = {name: getattr(calibration, name).tolist() for name in names}
    thresholds = tuple(None if np.isnan(t) else float(t) for t in one.thresholds)
    shrinkage = None if np.isinf(calibration.shrinkage) else calibration.shrinkage
    return StoredDecision(
        one.checkpoint, one.source, one.images, calibration.family, shrinkage, **arrays, thresholds=thresholds,
        before=one.before, after=one.after, unlike=calibration.unlike,
    )  # fmt: skip
