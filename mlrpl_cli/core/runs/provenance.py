"""What a result comes from: checksums of the data, the mask and the backbone, and the seeds."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.prepared.folder import Prepared, is_prepared, read_prepared
from mlrpl_cli.core.runs.folder import load_config

if TYPE_CHECKING:  # it brings PyTorch, which labels do without
    from mlrpl_cli.core.runs.checkpoint import RunInfo


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


def of_run(run: Path, info: RunInfo, measured: Prepared | None = None) -> Provenance:
    """Of a run whose checkpoint says `info` of itself, and of other data if it was `measured` on some.

    Where nothing but a checkpoint is left of the run, its seed is not known.
    """
    seeds: dict[str, int] = {}
    with suppress(RunError):
        seeds = {"train": load_config(run).seed}
    data = measured or info
    sums = (measured.sha256 if measured else info.data_sha256), data.mask_sha256
    return Provenance(*sums, info.fingerprint, seeds)


def _numbers(seeds: Mapping[str, Any]) -> dict[str, int]:
    return {name: seed for name, seed in seeds.items() if isinstance(seed, int)}
