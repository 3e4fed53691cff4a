"""What `--json` holds under "result", field by field, where the command does not print a dataclass of core as it is.

docs/json.md and its schema are made of these types, and tests hold them to what the commands print.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mlrpl_cli.core.curation.asking.asked import Suggested
from mlrpl_cli.core.curation.asking.curves import Simulated
from mlrpl_cli.core.curation.completing.complete import Side
from mlrpl_cli.core.export.writing import Exported
from mlrpl_cli.core.sweep.estimate import SweepSize

EXACT = ConfigDict(extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True, config=EXACT)
class ClassResult:
    class_: str = Field(alias="class")
    """Its name."""
    positives: int = Field()
    """Images of the split that are known to show it."""
    negatives: int = Field()
    """Images that are known not to."""
    ap: float | None = Field()
    """Average precision; null for a class that is left out."""
    learnable: bool | None = Field()
    """Whether training had cells to learn it from; null where that is not known."""


@dataclass(frozen=True, config=EXACT)
class PrecisionRecallResult:
    """Of one way to turn scores into labels."""

    op: float | None
    """Precision over all cells together."""
    or_: float | None
    """Recall over all cells together: `or` of --require."""
    of1: float | None
    """Harmonic mean of OP and OR."""
    cp: float | None
    """Mean over classes of precision."""
    cr: float | None
    """Mean over classes of recall."""
    cf1_of_means: float | None
    """Harmonic mean of CP and CR."""
    cf1_mean_of_f1: float | None
    """Mean over classes of each class's F1."""


@dataclass(frozen=True, config=EXACT)
class JudgedResult:
    requirement: str
    """As it was typed."""
    value: float | None
    """Null where it cannot be computed."""
    met: bool
    why: str | None
    """Why it cannot be computed."""


@dataclass(frozen=True, config=EXACT)
class ReliabilityResult:
    """Over the known cells of the split; null where there is none."""

    ece: float | None
    """Mean over classes of the expected calibration error, in 15 bins of as many cells each."""
    brier: float | None
    """Mean of (p - y)²."""
    log_loss: float | None
    """In nats a cell."""
    mean_probability: float | None
    present: float | None
    """Share of the cells that are present."""


@dataclass(frozen=True, config=EXACT)
class MeasuredDecisionsResult:
    """Null but for `before` and `errors_before` in a run without held-out images."""

    before: ReliabilityResult
    """Of probabilities as the method gives them."""
    errors_before: list[float | None]
    """Calibration error of each class."""
    after: ReliabilityResult | None
    """Of calibrated ones."""
    errors_after: list[float | None] | None
    at_thresholds: PrecisionRecallResult | None
    """Where a class is predicted when its calibrated probability is at its threshold or above."""
    unsure: float | None
    """Share of the known cells that are neither yes nor no."""
    objective: str | None
    """What the thresholds were chosen for."""
    family: str | None
    """Of the calibration."""


@dataclass(frozen=True, config=EXACT)
class EvalResult:
    run: Path
    checkpoint: str
    device: str
    data: Path | None
    """--data; null for the run's own, which `options` names."""
    split: str
    threshold: float
    top_k: int
    ap: str
    precision: str
    method: str
    epoch: int
    """Of the checkpoint."""
    images: int
    """How many were measured."""
    trained_on: int | None
    """Images of the split that the run was trained on, left out unless the split is "train"; null where not known."""
    selected_on: int | None
    """Of the others, those that its best epoch was selected by, left out of the test split."""
    map: float | None
    """Mean of the classes' AP."""
    map_learnable: float | None
    """The same over the classes that could be learned."""
    left_out: list[str]
    """Classes that no figure counts."""
    without_present: list[str]
    """Those of them without a known positive in the split."""
    without_absent: list[str]
    """Those of them without a known absent cell in the split."""
    not_learnable: list[str]
    """Classes that training had no present, or no absent, cell of."""
    classes: list[ClassResult]
    at_threshold: PrecisionRecallResult
    """Where a class is predicted when its probability is above the threshold."""
    at_top_k: PrecisionRecallResult
    """Where the k most probable classes are predicted."""
    requirements: list[JudgedResult]
    """What --require asked for."""
    decisions: MeasuredDecisionsResult
    """How far the probabilities can be believed, before and after calibration, and figures at the thresholds."""


@dataclass(frozen=True, config=EXACT)
class DecidedClass:
    class_: str = Field(alias="class")
    """Its name."""
    threshold: float | None = Field()
    """Of the calibrated probability; null where none reaches the objective: the class is unsure then."""
    present: int = Field()
    """Held-out cells known to be present."""
    absent: int = Field()
    """Held-out cells known to be absent."""
    shared: bool = Field()
    """Whether there are too few of one kind, so that it takes the rule and the threshold of all classes together."""
    learnable: bool | None = Field()
    """Whether training had cells to learn it from; null where that is not known."""
    calibrated: bool = Field()
    """Whether its probabilities are calibrated; false where its held-out cells do not stand for others."""
    precision: float | None = Field()
    """To expect at the threshold, by the calibrated probabilities of the held-out images."""
    recall: float | None = Field()
    f1: float | None = Field()


@dataclass(frozen=True, config=EXACT)
class CalibrationFigures:
    """Over held-out cells; null where there is none to measure."""

    ece: float | None
    """Mean over classes of the expected calibration error, in 15 bins of as many cells each."""
    brier: float | None
    """Mean of (p - y)²."""
    log_loss: float | None
    """In nats a cell."""


@dataclass(frozen=True, config=EXACT)
class DecideResult:
    run: Path
    checkpoint: str
    """Whose decisions these are; both were chosen."""
    objective: str
    source: str
    """Whose scores they were chosen by: "validation", or "out-of-fold"."""
    images: int
    """How many images these are of."""
    calibrated: bool
    """Whether any class has held-out cells of both kinds; else probabilities stay as they are."""
    family: str
    """"none", "temperature", "platt" or "beta"."""
    shrinkage: float | None
    """κ, how strongly classes are held to the rule of all; null where all take that rule."""
    before: CalibrationFigures
    after: CalibrationFigures
    """Of cells that the calibration was not fitted to."""
    classes: list[DecidedClass]


@dataclass(frozen=True, config=EXACT)
class PredictedClass:
    class_: str = Field(alias="class")
    """Its name."""
    probability: float = Field()
    """That the image shows it, independent of the other classes."""
    learnable: bool | None = Field()
    """Whether training had cells to learn it from; null where that is not known."""
    decision: str | None = Field()
    """"yes", "no" or "unsure"; null for a run that is not calibrated. "yes" with --threshold, which chose it."""
    calibrated: bool = Field()
    """Whether the probability was calibrated by held-out cells of the run."""
    raw: float = Field()
    """The probability before calibration."""


@dataclass(frozen=True, config=EXACT)
class PredictedImage:
    """One image, in the order that they were named in."""

    image: str
    classes: list[PredictedClass] | None = None
    """The most probable first; not there for an image that cannot be read."""
    error: str | None = None
    """Why it cannot be read; not there for one that can."""


@dataclass(frozen=True, config=EXACT)
class UnreadImage:
    image: str
    error: str
    """Why it cannot be read."""


@dataclass(frozen=True, config=EXACT)
class VisualizeResult:
    files: list[str]
    """The pictures that were written."""
    errors: list[UnreadImage]
    """Images that could not be drawn."""


@dataclass(frozen=True, config=EXACT)
class ReportResult:
    path: Path
    """The page."""
    bytes: int
    of: Literal["run", "sweep"]
    """What it tells of."""
    images: int
    """That figures are of; 0 for a run without test images."""
    classes: int
    curves: int
    """Classes that have curves; of a sweep, its figures."""
    pictures: dict[str, int]
    """Cells shown in the gallery of a run, by group: sure-right, sure-wrong, unsure, label-errors."""
    errors: list[UnreadImage]
    """Images of the gallery that could not be read."""


@dataclass(frozen=True, config=EXACT)
class SuggestResult:
    suggested: Suggested | None
    """What should be asked; null with --simulate."""
    simulated: Simulated | None
    """What asking is worth; null without --simulate."""


@dataclass(frozen=True, config=EXACT)
class CheckedClass:
    class_: str = Field(alias="class")
    """Its name."""
    present: int = Field()
    """Known cells that are given as present."""
    absent: int = Field()
    """Known cells that are given as absent."""
    expected_wrong: float = Field()
    """How many of both are expected to be wrong."""
    one_sided: bool = Field()
    """Whether there are some of one kind only, which are judged by the scores of other classes."""


@dataclass(frozen=True, config=EXACT)
class CheckedCell:
    rank: int = Field()
    """Among all known cells, from 1: that whose label is least probably right."""
    rank_in_class: int = Field()
    """The same among those of its class."""
    image: str = Field()
    """Its name in the prepared folder."""
    split: str = Field()
    """Of the image, "train" or "validation"."""
    class_: str = Field(alias="class")
    """The class's name."""
    given: str = Field()
    """Its label, "present" or "absent"."""
    right: float = Field()
    """The probability that the label is right."""


@dataclass(frozen=True, config=EXACT)
class CheckResult:
    cells: int
    """Known cells of the training and validation images."""
    expected_wrong: float
    """How many of them are expected to have a wrong label."""
    expected_share: float
    """The same as a share of them."""
    absent_given_as_present: float
    """Estimated share of absent cells that are given as present."""
    present_given_as_absent: float
    """Estimated share of present cells that are given as absent."""
    errors_seen: bool
    """Whether the labels say that some are wrong; false where what is hard to see explains them as well."""
    classes: list[CheckedClass]
    first: list[CheckedCell]
    """The --most cells whose label looks most wrong."""
    looks_wrong: int | None
    """How many cells were dropped or flipped; null without --drop and --flip."""
    exported: Exported | None
    """The labels that were written; null without --drop and --flip."""
    pictures: list[str]
    """The pictures that --attention wrote."""
    errors: list[UnreadImage]
    """Images that could not be drawn."""


@dataclass(frozen=True, config=EXACT)
class SweepResult:
    """Of a dry run `size` alone; of a report `out`, `rows`, `notes` and `report`."""

    out: Path | None = None
    """The sweep's folder."""
    rows: list[dict[str, Any]] | None = None
    """What results.jsonl has of the runs asked for."""
    failures: list[str] | None = None
    """A line for each run that failed."""
    stored: int | None = None
    """How many tested runs results.jsonl holds, those of other calls included."""
    report: Path | None = None
    """The page that was written."""
    notes: list[str] | None = None
    """What is to be said of rows that are not shown."""
    size: SweepSize | None = None
    """How much there is to do."""


@dataclass(frozen=True, config=EXACT)
class SidesResult:
    yes: float
    no: float


@dataclass(frozen=True, config=EXACT)
class FilledCells:
    yes: int
    no: int


@dataclass(frozen=True, config=EXACT)
class CompletedClassResult:
    class_: str = Field(alias="class")
    """Its name."""
    unknown: int = Field()
    """Cells that were unknown, of training images, and with --fill-validation of validation images."""
    yes: Side = Field()
    """Those of them that are rather present."""
    no: Side = Field()
    """Those of them that are rather absent."""


@dataclass(frozen=True, config=EXACT)
class CompleteResult:
    labels: Exported
    """The labels that were written: given and filled ones."""
    provenance: Path
    """A table of where each cell comes from."""
    run: Path
    precision: SidesResult
    """What is to hold of the cells filled as present, and of those filled as absent."""
    confidence: float
    """Share of the promises that is kept, in expectation."""
    unknown: int
    """Cells that were unknown, of training images, and with --fill-validation of validation images."""
    filled: FilledCells
    share_filled: SidesResult
    """Of the unknown cells."""
    classes: list[CompletedClassResult]
