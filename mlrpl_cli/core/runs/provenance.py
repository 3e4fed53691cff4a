"""What a result comes from: checksums of the data, the mask and the backbone, and the seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlrpl_cli.core.config import LAST
from mlrpl_cli.core.prepared.folder import Prepared, is_prepared, read_prepared


@dataclass(frozen=True)
class Provenance:
    """What a result comes from; None for what had no part in it."""

    data_sha256: str | None = None
    """Of classes, image names, splits and labels: `Prepared.sha256`."""
    mask_sha256: str | None = None
    """Of the known mask over the training and validation images."""
    backbone_sha256: str | None = None
    """Of the backbone's image weights."""
    seeds: Mapping[str, int] = field(default_factory=dict)
    """Seeds by what they decide: "mask" and "split" of the data, "train" of a run."""


def of_prepared(prepared: Prepared) -> Provenance:
    """Of what was read of a prepared folder."""
    reading = prepared.options.get("reading")
    found = {
        "mask": prepared.options.get("seed"),
        "split": reading.get("split_seed") if isinstance(reading, dict) else None,
    }
    return Provenance(prepared.sha256, prepared.mask_sha256, seeds=_numbers(found))


def of_folder(folder: Path) -> Provenance:
    """Of a prepared folder, of its data alone: a sweep draws its masks itself. Nothing where there is none yet."""
    return Provenance(read_prepared(folder).sha256) if is_prepared(folder) else Provenance()


def of_run(run: Path) -> Provenance:
    """Of what a run was trained on. Raises RunError for a folder that is no run, or a damaged one."""
    from mlrpl_cli.core.runs.checkpoint import load_checkpoint  # which brings PyTorch; labels do without
    from mlrpl_cli.core.runs.folder import load_config

    info = load_checkpoint(run, LAST).info
    seeds = _numbers({"train": load_config(run).seed})
    return Provenance(info.data_sha256, info.mask_sha256, info.fingerprint, seeds)


def of_run_on(run: Path, data: Path | None) -> tuple[Path, Provenance]:
    """The prepared folder that a run is measured on, by default its own, and what such a figure comes from.

    Raises RunError and DataError for what cannot be read.
    """
    from mlrpl_cli.core.runs.checkpoint import data_of, load_checkpoint

    prepared = read_prepared(data or data_of(run, load_checkpoint(run, LAST).info))
    of = replace(of_run(run), data_sha256=prepared.sha256, mask_sha256=prepared.mask_sha256)
    return prepared.folder, of


def _numbers(seeds: Mapping[str, Any]) -> dict[str, int]:
    return {name: seed for name, seed in seeds.items() if isinstance(seed, int)}
