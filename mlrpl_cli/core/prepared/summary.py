"""A prepared folder in short: what is known of each split and class, and what had to be found out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlrpl_cli.core.labels.records import SPLITS, TRAIN
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, STATES, classes_without
from mlrpl_cli.core.prepared.build import Made
from mlrpl_cli.core.prepared.differences import Changes
from mlrpl_cli.core.prepared.folder import Prepared


@dataclass(frozen=True)
class SplitCounts:
    """How much a split has, and how much of it training may see; of the test split all labels that are published."""

    images: int
    present: int
    """Label cells that are known to be present."""
    absent: int
    unknown: int

    @property
    def known_share(self) -> float:
        """Of its label cells, in [0, 1]."""
        known = self.present + self.absent
        return known / (known + self.unknown)


@dataclass(frozen=True)
class PrepareSummary:
    """What was prepared."""

    folder: Path
    """The prepared folder."""
    written: bool
    """False where what stood there is up to date."""
    dataset: str
    """The format that was read."""
    classes: tuple[str, ...]
    """In the order of the label columns."""
    splits: dict[str, SplitCounts]
    """Images and label cells of each split that has images."""
    rarest: dict[str, int]
    """The classes with the fewest known positives in training, and how many those are."""
    without_present: list[str]
    """Classes of which no cell is known to be present."""
    without_absent: list[str]
    """Classes of which no cell is known to be absent."""
    mask_sha256: str
    """Checksum of the known mask over the training and validation images."""
    unlisted: str | None
    """What a cell is that the labels say nothing of, and who says so."""
    notes: list[str]
    """What had to be found out to read the labels."""
    proposals: dict[str, int] | None
    """Cells of each split that a machine labelled and nobody verified; None where they were not asked for."""
    options: dict[str, Any]
    """All options, as the manifest has them."""
    changed: Changes | None
    """What is other than before; None without an update."""


def summary_of(made: Made) -> PrepareSummary:
    """Of a prepared folder that was just made."""
    prepared = made.prepared
    same = ("folder", "dataset", "classes", "mask_sha256", "unlisted", "notes", "proposals", "options")
    return PrepareSummary(
        **{name: getattr(prepared, name) for name in same},
        written=made.is_written,
        splits=counts_of_splits(prepared),
        rarest=rarest_classes(prepared),
        without_present=classes_without(PRESENT, prepared.classes, prepared.full_labels),
        without_absent=classes_without(ABSENT, prepared.classes, prepared.full_labels),
        changed=made.changes,
    )


def counts_of_splits(prepared: Prepared) -> dict[str, SplitCounts]:
    """Images, and the cells that are present, absent and unknown to training, of each split that has images."""
    observed = {split: prepared.observed_labels[prepared.rows(split)] for split in SPLITS if split in prepared.splits}
    counts = {
        split: {name: int((labels == s).sum()) for name, s in STATES.items()} for split, labels in observed.items()
    }
    return {split: SplitCounts(len(observed[split]), **cells) for split, cells in counts.items()}


def rarest_classes(prepared: Prepared, most: int = 5) -> dict[str, int]:
    """The classes with the fewest known positives among the training images, and how many those are, in order."""
    positives = (prepared.observed_labels[prepared.rows(TRAIN)] == PRESENT).sum(axis=0)
    return {prepared.classes[column]: int(positives[column]) for column in np.argsort(positives, kind="stable")[:most]}
