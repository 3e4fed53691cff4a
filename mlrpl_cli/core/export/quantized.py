"""A model in 8 bits: static quantisation by onnxruntime, and what it costs.

Axes: N images, C classes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrpl_cli.core.evaluation.evaluate import check_classes, labels_of
from mlrpl_cli.core.evaluation.metrics import compute_metrics, measurable
from mlrpl_cli.core.export.onnx_file import content_of, onnx
from mlrpl_cli.core.export.tracing import quiet
from mlrpl_cli.core.images.decode import load_pixels
from mlrpl_cli.core.io.errors import DataError, RunError
from mlrpl_cli.core.io.progress import Progress, track
from mlrpl_cli.core.labels.records import TRAIN, VALIDATION
from mlrpl_cli.core.prediction.images import Unreadable
from mlrpl_cli.core.prediction.model_file import ModelPredictor, runtime
from mlrpl_cli.core.prediction.model_info import IMAGES, ModelInfo
from mlrpl_cli.core.prepared.folder import Prepared

if TYPE_CHECKING:
    from onnx import ModelProto

MOST_IMAGES = 200
"""Training images that show the ranges of activations."""
OPERATIONS = ["Conv", "MatMul", "Gemm"]
BATCH = 8


@dataclass(frozen=True)
class Quantized:
    """A model in 8 bits, and what it is worth."""

    proto: ModelProto
    before: float
    """mAP on the validation images in float32, in [0, 1]."""
    after: float
    """The same of the model in 8 bits."""


def quantized(
    proto: ModelProto, info: ModelInfo, prepared: Prepared, workers: int | None, progress: Progress
) -> Quantized:
    """`proto` in 8 bits by the ranges that training images show, measured on validation images.

    Raises RunError for data without validation images that tell an mAP, or other than the run was trained on, and
    DataError for an image that cannot be read.
    """
    runtime()
    check_classes(info.classes, prepared)
    paths, labels = prepared.paths(prepared.rows(VALIDATION)), labels_of(prepared, VALIDATION)
    if not len(paths) or not measurable(labels).any():
        told = "no validation images with a present and an absent known cell of a class, by which --int8 is measured"
        raise RunError(f"{prepared.folder} has {told}; `mlrpl prepare` with --validation-fraction 0.1 holds some out")
    if info.data_sha256 and prepared.sha256 != info.data_sha256:
        told = f"{prepared.folder} is not the data that the run was trained on, as they were"
        why = "by others --int8 may be measured on images that it learned from"
        raise RunError(f"{told}; {why}: give those with --data")
    before = _map(proto, info, paths, labels, workers, progress, "measuring float32")
    made = _quantize(proto, _Ranges(prepared, info, progress))
    after = _map(made, replace(info, precision="int8"), paths, labels, workers, progress, "measuring int8")
    return Quantized(made, before, after)


def _quantize(proto: ModelProto, ranges: _Ranges) -> ModelProto:
    # Weights of 7 bits: with 8, the sums of processors without VNNI overflow, and every machine has its own accuracy.
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory() as name, quiet():
        given, made = Path(name) / "float32.onnx", Path(name) / "int8.onnx"
        given.write_bytes(proto.SerializeToString())
        quantize_static(
            given,
            made,
            ranges,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=OPERATIONS,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx().load(made)


class _Ranges:
    """Training images, one after the other, evenly over their rows, as onnxruntime asks for them."""

    def __init__(self, prepared: Prepared, info: ModelInfo, progress: Progress) -> None:
        rows = prepared.rows(TRAIN)
        chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_IMAGES)).astype(int)]
        self._images: Iterator[np.ndarray] = iter(
            load_pixels(path, info.image_size, prepared.allow_truncated, info.resampling)
            for path in track(progress, prepared.paths(chosen), "finding ranges", len(chosen))
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        return None if image is None else {IMAGES: image[None]}


def _map(
    proto: ModelProto,
    info: ModelInfo,
    paths: list[Path],
    labels: np.ndarray,
    workers: int | None,
    progress: Progress,
    description: str,
) -> float:
    """mAP of a model's scores as `eval` computes it, in [0, 1]. Raises DataError for an unreadable image."""
    predictor = ModelPredictor(content_of(_copy(proto), info), "the model")
    scores: list[Any] = []
    for result in track(progress, predictor.predict_files(paths, BATCH, workers), description, len(paths)):
        if isinstance(result, Unreadable):
            raise DataError(result.reason)
        scores.append(result.raw)
    return compute_metrics(np.stack(scores), labels).mean_average_precision


def _copy(proto: ModelProto) -> ModelProto:
    copied = onnx().ModelProto()
    copied.CopyFrom(proto)
    return copied
