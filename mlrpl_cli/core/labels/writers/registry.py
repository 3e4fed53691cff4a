"""The formats that labels are written to. To add one: a function as those here, and its line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, NamedTuple

from mlrpl_cli.core.io.errors import ConfigError, agreeing, did_you_mean, first_few
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.io.reading import short
from mlrpl_cli.core.labels.records import Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

if TYPE_CHECKING:
    import numpy as np

_WRITERS = "mlrpl_cli.core.labels.writers"
FORMATS = {
    "table": f"{_WRITERS}.tabular:write_table",
    "long": f"{_WRITERS}.tabular:write_long",
    "tags": f"{_WRITERS}.tabular:write_tags",
    "coco": f"{_WRITERS}.coco:write_coco",
    "labelstudio": f"{_WRITERS}.tools:write_labelstudio",
    "cvat": f"{_WRITERS}.tools:write_cvat",
    "fiftyone": f"{_WRITERS}.tools:write_fiftyone",
}
SUFFIXES = {
    **dict.fromkeys(("table", "long", "tags"), ".csv"),
    **{"coco": "", "labelstudio": ".json", "cvat": ".xml", "fiftyone": ".json"},
}
"""How the file of a format ends; "" for a folder."""


@dataclass(frozen=True)
class Export:
    """What is written."""

    records: Records
    """Names are UTF-8; of predictions no cell is unknown."""
    scores: np.ndarray | None = None
    """(N, C) probabilities in [0, 1] of a trained run, beside its labels; None for labels that people gave."""
    model: str = ""
    """What the scores are from."""
    prefix: str = ""
    """Text in front of each image name."""
    progress: Progress = field(default_factory=Silent)
    asked: np.ndarray | None = None
    """(N, C) bool: cells that somebody should look at; None where that is not said."""

    def image(self, row: int) -> str:
        """The name of an image in the file."""
        return self.prefix + self.records.images[row]

    def present(self, row: int) -> list[int]:
        """The columns of an image's present classes, ascending."""
        return (self.records.full_labels[row] == PRESENT).nonzero()[0].tolist()

    def is_labelled(self, row: int) -> bool:
        """Whether anything is known of an image."""
        return bool((self.records.full_labels[row] != UNKNOWN).any())

    def score(self, row: int, column: int) -> dict[str, float]:
        """{"score": probability} of a cell; nothing where people gave the labels."""
        return {} if self.scores is None else {"score": round(float(self.scores[row, column]), 6)}


class Written(NamedTuple):
    """What has to be known of a file."""

    dataset: str | None
    """The format that `prepare` reads it back by; None for what is not meant for that."""
    flags: tuple[str, ...] = ()
    """Options of `prepare`, beside the root and the images, that read it back."""
    notes: tuple[str, ...] = ()
    """A sentence for everything that is lost, or that another program has to know."""


Writer = Callable[[Export, Path], Written]
"""Writes an export to a path, whole or not at all, in the place of what stands there."""


def writer_of(name: str) -> Writer:
    """The function that writes a format. Raises ConfigError for an unknown one."""
    if name not in FORMATS:
        raise ConfigError(f"no format to write is called '{short(name)}'; {did_you_mean(name, FORMATS)}")
    return resolve_name(FORMATS[name])


def only_present(export: Export, name: str, knows_unlabelled: bool = False) -> Written:
    """Of a format that lists nothing but what is present; it may know images that nobody has looked at."""
    labels = export.records.full_labels
    labels = labels[(labels != UNKNOWN).any(axis=1)] if knows_unlabelled else labels
    absent, unknown = int((labels == ABSENT).sum()), int((labels == UNKNOWN).sum())
    flags = ("--unlisted", "unknown" if unknown else "absent")
    if not (absent and unknown):
        return Written(name, flags)
    lost = f"{name} lists only what is present: {absent} absent and {unknown} unknown cells look alike in it"
    return Written(name, flags, (f"{lost}; table, long and coco tell them apart",))


def without_present(export: Export) -> tuple[str, ...]:
    """The sentence on classes that vanish where only what is present has a name."""
    present = (export.records.full_labels == PRESENT).any(axis=0).tolist()
    missing = [short(name) for name, found in zip(export.records.classes, present, strict=True) if not found]
    return (
        agreeing(len(missing), f"classes are present in no image and are not in the file: {first_few(missing)}"),
    ) * bool(missing)
