"""A run as one file with which another machine predicts: `mlrpl pack`."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor

from mlrpl_cli.core.backbones.backbone import Backbone
from mlrpl_cli.core.backbones.licences import shareable
from mlrpl_cli.core.backbones.registry import family_name, portable_name
from mlrpl_cli.core.export.models import place_for
from mlrpl_cli.core.export.pack_options import PackOptions
from mlrpl_cli.core.export.writing import EXPORTS
from mlrpl_cli.core.io.errors import ConfigError, MlrplError, RunError
from mlrpl_cli.core.io.files import sha256_of_file
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.runs.checkpoint import check_fingerprint
from mlrpl_cli.core.runs.folder import load_config
from mlrpl_cli.core.runs.packed.file import SUFFIX, Pack, without_places, write_pack
from mlrpl_cli.core.runs.packed.info import PackInfo
from mlrpl_cli.core.runs.trained import TrainedRun, read_run

OF_A_MACHINE = ("data", "run", "cache", "cache_gib", "device", "workers")
"""Options of training that say where it ran, and change nothing that was learned."""


@dataclass(frozen=True)
class PackedRun:
    """A run that was packed into one file."""

    path: Path
    bytes: int
    """How large the file is."""
    sha256: str
    """Of the file: the same run, packed again by the same mlrpl, has the same."""
    run: Path
    checkpoint: str
    """ "best" or "last"."""
    classes: int
    calibrated: bool
    """Whether its probabilities are calibrated and its decisions made."""
    backbone: str
    weights: bool
    """Whether the backbone's image weights are in the file."""
    licence: str | None
    """Of these weights; null where it is not known."""
    licence_by: str | None
    """Who says so: "maker", or "packer" for --weights-licence."""
    address: str | None
    """Where the weights can be had; null where that is not known."""
    file: str | None
    """What the backbone's file or folder is called; null for a backbone that is known by name."""
    file_sha256: str | None
    """Of that file; null for a folder."""
    left_out: str | None
    """Why they are not in the file; null where they are."""


class _Right(NamedTuple):
    """By which licence weights are passed on, and who says so; or why they are not."""

    licence: str | None
    by: Literal["maker", "packer"] | None
    left_out: str | None


def pack_run(options: PackOptions, progress: Progress | None = None, overwrite: bool = False) -> PackedRun:
    """Write what `options` describe, whole or not at all, and say what it is.

    A file that mlrpl did not write is replaced only to `overwrite` it. Raises ConfigError for options that do not go
    together; RunError for a run that is missing or damaged, and for a backbone that is not the run's; WeightsError for
    one that cannot be loaded; DataError for a place that cannot be written to.
    """
    progress = progress or Silent()
    if options.without_weights and options.weights_licence is not None:
        raise ConfigError("--weights-licence is for weights in the file, got --without-weights too; leave one out")
    run = read_run(options.run, options.checkpoint)
    if run.pack is not None:
        raise RunError(f"{run.place} is packed already; name a run folder")
    path = place_for("pack", options.out or EXPORTS / f"{run.name}{SUFFIX}", overwrite)
    if run.notice:
        progress.warn(run.notice)
    load = cache(lambda: _trained_with(run, progress))
    right, weights = _weights(run, options, load)
    info = PackInfo(
        checkpoint=options.checkpoint,
        run_sha256=run.sha256,
        seed=run.provenance.seeds.get("train"),
        family=None if right.left_out else family_name(run.info.backbone),
        licence=right.licence,
        licence_by=right.by,
        address=run.described.address if run.described else None,
        file=run.backbone_name if run.backbone_name != run.info.backbone else None,
        file_sha256=_sha256_of(run, load, progress),
        left_out=right.left_out,
        config=_config(run.place),
    )
    name = run.backbone_name
    write_pack(without_places(Pack(info, run.checkpoint, run.decision, weights), name), path)
    if right.left_out and not options.without_weights:
        progress.warn(f"the weights of {name} are not in the file: {right.left_out}")
    calibrated = run.decision is not None and run.decision.calibration.checked
    told = bool(weights), right.licence, right.by, info.address, info.file, info.file_sha256, right.left_out
    size, digest, classes = path.stat().st_size, sha256_of_file(path), len(run.info.classes)
    return PackedRun(path, size, digest, run.place, options.checkpoint, classes, calibrated, name, *told)


def _weights(run: TrainedRun, options: PackOptions, load: Callable[[], Backbone]) -> tuple[_Right, dict[str, Tensor]]:
    """By which right the backbone's weights are in the file, and these; none where there is no right."""
    right = _right(options, run.licence)
    if right.left_out:
        return right, {}
    weights = load().weights
    if weights is None:
        left_out = f"{run.backbone_name} is of a family that cannot be built from weights alone"
        return right._replace(left_out=left_out), {}
    return right, dict(weights)


def _trained_with(run: TrainedRun, progress: Progress) -> Backbone:
    """The backbone where the run says. Raises RunError for other weights than it was trained with."""
    backbone = run.load_backbone(progress)
    check_fingerprint(run.info, backbone)
    return backbone


def _right(options: PackOptions, licence: str | None) -> _Right:
    known = shareable(licence)
    by_maker: Literal["maker"] | None = None if licence is None else "maker"
    if options.without_weights:
        return _Right(known or licence, by_maker, "--without-weights was given")
    if known:
        return _Right(known, by_maker, None)
    if options.weights_licence is not None:
        return _Right(options.weights_licence, "packer", None)
    why = f"their licence, {licence}, is none that is known to let" if licence else "no licence is known that lets"
    way = "--weights-licence NAME puts them in, where you have the right by a licence of that name"
    return _Right(licence, by_maker, f"{why} you pass them on; {way}")


def _sha256_of(run: TrainedRun, load: Callable[[], Backbone], progress: Progress) -> str | None:
    """Of the backbone's file; None for a name, a folder, and a file that is gone or is not the run's any more."""
    backbone = run.info.backbone
    if not (os.path.isabs(backbone) and os.path.isfile(backbone)):
        return None
    try:
        load()
    except MlrplError:
        progress.warn(f"{backbone} is not what the run was trained with: the file does not say what checksum that has")
        return None
    return sha256_of_file(Path(backbone))


def _config(run: Path) -> dict[str, Any] | None:
    """The options of the training, paths by their last part; None where nothing but a checkpoint is left of the run."""
    with suppress(RunError):
        given = asdict(load_config(run))
        kept = {name: value for name, value in given.items() if name not in OF_A_MACHINE}
        texts = {name: portable_name(value) for name, value in kept.items() if isinstance(value, str)}
        return kept | texts
    return None
