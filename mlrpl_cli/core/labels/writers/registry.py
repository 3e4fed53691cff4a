"""The formats that labels are written to. To add one: a function as those here, and its line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from mlrpl_cli.core.io.errors import ConfigError, did_you_mean
from mlrpl_cli.core.labels.records import Records

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
SUFFIXES = {"table": ".csv", "long": ".csv", "tags": ".csv", "coco": "", "cvat": ".xml"}
"""Of the file that is written when none is named; .json for the others, and "" for a folder."""


@dataclass(frozen=True)
class Export:
    """What is written."""

    records: Records
    scores: np.ndarray | None = None
    """(N, C) probabilities in [0, 1] of a trained run, beside its labels; None for labels that people gave."""
    model: str = ""
    """What the scores are from."""
    prefix: str = ""
    """Text in front of each image name, such as "/data/local-files/?d=photos/"."""

    def image(self, row: int) -> str:
        """The name of an image in the file."""
        return self.prefix + self.records.images[row]


Writer = Callable[[Export, Path], list[str]]
"""Writes an export to a path, and returns a sentence for everything that is lost or has to be known to read it back."""


def writer_of(name: str) -> Writer:
    """The function that writes a format. Raises ConfigError for an unknown one."""
    if name not in FORMATS:
        raise ConfigError(f"no format to write is called '{name}'; {did_you_mean(name, FORMATS)}")
    return resolve_name(FORMATS[name])


def lost_states(export: Export, dataset: str) -> list[str]:
    """What a format loses that lists only what is present."""
    labels = export.records.full_labels
    absent, unknown = bool((labels == -1).any()), int((labels == 0).sum())
    if not unknown:
        return [f"read it back with --dataset {dataset} --unlisted absent: every cell that is not listed is absent"]
    if not absent:
        return [f"read it back with --dataset {dataset} --unlisted unknown: every cell that is not listed is unknown"]
    return [f"{dataset} lists only what is present: {unknown} unknown cells look like the absent ones"]
