"""A run as one file that needs neither the run, nor its backbone, nor mlrpl."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mlrpl_cli.core.backbones.backbone import Backbone, BackboneOptions, InputRule
from mlrpl_cli.core.backbones.registry import describe, is_path
from mlrpl_cli.core.export.model import RunModel
from mlrpl_cli.core.export.model_options import SUFFIXES, ModelOptions
from mlrpl_cli.core.export.onnx_file import add_resize, content_of, onnx, onnx_model
from mlrpl_cli.core.export.quantized import Quantized, quantized
from mlrpl_cli.core.export.torch_file import archive_of, is_archive
from mlrpl_cli.core.export.writing import EXPORTS, name_of
from mlrpl_cli.core.io.devices import FLOAT32
from mlrpl_cli.core.io.errors import ConfigError, MlrplError, RunError
from mlrpl_cli.core.io.files import atomic_file, place_of_file
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.prediction.model_file import is_model_file
from mlrpl_cli.core.prediction.model_info import ModelInfo
from mlrpl_cli.core.prepared.folder import read_prepared
from mlrpl_cli.core.runs.checkpoint import RunInfo, TrainedHead, data_of, load_checkpoint
from mlrpl_cli.core.runs.decided.decisions import Decision, decision_of
from mlrpl_cli.core.runs.decided.scores import checkpoint_sha256
from mlrpl_cli.core.runs.folder import newest_run
from mlrpl_cli.core.runs.provenance import of_run


@dataclass(frozen=True)
class ExportedModel:
    """A run that was written as one file."""

    path: Path
    format: str
    """ "onnx" or "torch"."""
    precision: str
    """ "float32", or "int8" where convolutions and matrix products compute in 8 bits."""
    bytes: int
    """How large the file is."""
    run: Path
    classes: int
    image_size: int
    """Side in pixels of the images that it takes, or that it resizes them to."""
    resizes: bool
    """Whether it takes images of any size."""
    calibrated: bool
    """Whether its probabilities are calibrated and its decisions made; else these are all unsure."""
    backbone: str
    licence: str | None
    """Of the backbone's weights, which are in the file; None where it is not known."""
    map_before: float | None
    """With --int8, mAP on the validation images in float32, in [0, 1]."""
    map_after: float | None
    """The same of the file."""


def export_model(options: ModelOptions, progress: Progress | None = None, overwrite: bool = False) -> ExportedModel:
    """Write what `options` describe, whole or not at all, and say what it is.

    A file that mlrpl did not write is replaced only to `overwrite` it. Raises ConfigError for options that do not go
    together and where a library is not installed; RunError for a run that is missing or damaged, and where 8 bits cost
    more than they may; WeightsError for a backbone that has changed or cannot be exported; DataError for the rest.
    """
    progress = progress or Silent()
    _check(options)
    run = options.run or newest_run()
    head = TrainedHead(load_checkpoint(run, options.checkpoint))
    usual = EXPORTS / f"{name_of(run)}{SUFFIXES[options.format]}"
    is_ours = {"onnx": is_model_file, "torch": is_archive}[options.format]
    path = place_of_file(options.out or usual, is_ours, overwrite)
    decision, notice = decision_of(run, options.checkpoint, len(head.info.classes))
    if notice:
        progress.warn(notice)
    encoder, backbone = head.load_backbone(torch.device("cpu"), FLOAT32, progress, text=False)
    info = _told(options, run, head.info, backbone, decision)
    resizes_itself = options.with_resize and options.format == "torch"
    model = RunModel(encoder, head, decision, resizes_itself)
    if options.format == "torch":
        content, measured = archive_of(model, info), None
    else:
        content, measured = _onnx_content(model, info, options, run, progress)
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
    if head.info.precision != FLOAT32:
        trained = f"the run was trained in {head.info.precision}, by whose scores its thresholds were chosen"
        progress.warn(
            f"{trained}; the file computes in float32, and its probabilities may differ in the second decimal"
        )
    precision = "int8" if measured else info.precision
    figures = (measured.before, measured.after) if measured else (None, None)
    told = info.image_size, info.resizes, info.calibrated, info.backbone, info.licence
    size, classes = path.stat().st_size, len(info.classes)
    return ExportedModel(path, options.format, precision, size, run, classes, *told, *figures)


def _onnx_content(
    model: RunModel, info: ModelInfo, options: ModelOptions, run: Path, progress: Progress
) -> tuple[bytes, Quantized | None]:
    """The bytes of the file, and what 8 bits cost where they are asked for. Raises RunError where that is too much."""
    proto, measured = onnx_model(model), None
    if options.int8:
        prepared = read_prepared(options.data or data_of(run, model.head.info))
        measured = quantized(proto, replace(info, resizes=False), prepared, options.workers, progress)
        if measured.before - measured.after > options.int8_bound:
            fall = f"from {measured.before:.4f} to {measured.after:.4f} on the validation images"
            bound = f"more than --int8-bound {options.int8_bound:g}, and nothing is written"
            raise RunError(f"in 8 bits the mAP falls {fall}, {bound}; leave --int8 out, or allow more")
        proto, info = measured.proto, replace(info, precision="int8")
    if info.resizes:
        add_resize(proto, info.image_size, info.resampling)
    return content_of(proto, info), measured


def _check(options: ModelOptions) -> None:
    """Raises ConfigError for options that do not go together, and where a library is missing."""
    if options.format == "onnx":
        onnx()
    elif options.int8:
        raise ConfigError("--int8 is for --format onnx; leave it out for torch's archive")
    idle = [f"--{name}" for name in ("data", "workers") if getattr(options, name) is not None]
    if idle and not options.int8:
        raise ConfigError(f"{' and '.join(idle)} is for --int8, which is not given; leave it out")


def _told(options: ModelOptions, run: Path, info: RunInfo, backbone: Backbone, decision: Decision | None) -> ModelInfo:
    """What the file says of itself."""
    rule: InputRule = backbone.rule
    decided = decision if decision is not None and decision.calibration.checked else None
    unlike = decided.calibration.unlike if decided else range(len(info.classes))
    thresholds = decided.thresholds.tolist() if decided else [None] * len(info.classes)
    return ModelInfo(
        classes=info.classes,
        thresholds=tuple(None if t is None or t != t else t for t in thresholds),
        objective=str(decided.objective) if decided else None,
        calibrated=decided is not None,
        uncalibrated=tuple(info.classes[column] for column in unlike),
        learnable=info.learnable,
        image_size=info.image_size,
        mean=rule.mean,
        std=rule.std,
        resampling=rule.resampling,
        channels=rule.channels,
        resizes=options.with_resize,
        allow_truncated=info.allow_truncated,
        precision="float32",
        method=info.method,
        epoch=info.epoch,
        backbone=Path(info.backbone).name if is_path(info.backbone) else info.backbone,
        licence=_licence(info),
        run_sha256=checkpoint_sha256(run, options.checkpoint) or "",
        backbone_sha256=info.fingerprint,
        data_sha256=info.data_sha256,
        mask_sha256=info.mask_sha256,
        seed=of_run(run, info).seeds.get("train"),
    )


def _licence(info: RunInfo) -> str | None:
    """Of the backbone's weights; None where nobody says."""
    with suppress(MlrplError):
        return describe(BackboneOptions(info.backbone, recorded=info.backbone_record)).licence
    return None
