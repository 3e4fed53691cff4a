"""A model file in onnxruntime: what `mlrpl export --format onnx` wrote, read and run without PyTorch's modules.

A file ends in a property that holds the SHA-256 of all before it: an entry of the repeated field `metadata_props` may
stand behind everything else in a serialized ModelProto, and every reader of ONNX takes it for one of the properties.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from mlrpl_cli.core.io.errors import ConfigError, DataError, WeightsError, one_line
from mlrpl_cli.core.io.reading import GIB, open_file, short
from mlrpl_cli.core.prediction.images import ImagePredictor, Prediction
from mlrpl_cli.core.prediction.model_info import IMAGES, OUTPUTS, ModelInfo, info_of
from mlrpl_cli.core.runs.decided.verdicts import NO, UNSURE, YES

SEAL, DIGITS = b"\x72\x4a\x0a\x06sha256\x12\x40", 64
"""The last property of a file up to its value, which is 64 hexadecimal digits: field 14 of ModelProto, with a key of 6
bytes as its field 1 and a value of 64 as its field 2."""
CHECKSUM = "sha256"
MOST_BYTES = 2 * GIB
"""What a serialized message of protobuf, and so an ONNX file in one piece, can have."""
ZIP = b"PK\x03\x04"
AGAIN = "`mlrpl export RUN` writes one"
DECISIONS = {1: YES, 0: UNSURE, -1: NO}
"""What the graph's numbers mean."""
TYPES = {
    IMAGES: "tensor(uint8)",
    **dict.fromkeys(("probabilities", "raw", "attention"), "tensor(float)"),
    "decisions": "tensor(int8)",
}
"""Of the input and the outputs, as onnxruntime calls them."""
ERRORS_ONLY = 3


def sealed(content: bytes) -> bytes:
    """A serialized model with the property that holds its checksum."""
    return content + SEAL + hashlib.sha256(content).hexdigest().encode()


def is_model_file(path: Path) -> bool:
    """Whether `path` ends as a model file of ours does; False for what cannot be read."""
    try:
        with open_file(path) as stream:
            stream.seek(-min(len(SEAL) + DIGITS, path.stat().st_size), 2)
            return stream.read().startswith(SEAL)
    except (OSError, DataError):
        return False


def read_content(path: Path) -> bytes:
    """The bytes of a model file, whole to the bit. Raises DataError for anything else."""
    try:
        with open_file(path, MOST_BYTES) as stream:
            content = stream.read()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}; check --model") from error
    body, seal, digest = content[: -len(SEAL) - DIGITS], content[-len(SEAL) - DIGITS : -DIGITS], content[-DIGITS:]
    if content.startswith(ZIP):
        raise DataError(f"{path} is a zip archive, as of export --format torch; expected a file of --format onnx")
    if seal != SEAL:
        raise DataError(f"{path} is no model file of mlrpl, or its end is missing; {AGAIN}")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise DataError(f"{path} is damaged: its content is not what its checksum is of; {AGAIN}")
    return content


def runtime() -> Any:
    """The module onnxruntime. Raises ConfigError where it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError("model files need onnxruntime; pip install 'mlrpl[onnx]'") from error
    return onnxruntime


class ModelPredictor(ImagePredictor):
    """A model file, loaded once, on the CPU; images in, probabilities, decisions and maps out."""

    takes_turns = True

    def __init__(self, content: bytes, name: str) -> None:
        """Of the bytes of a model file that is called `name` in messages. Raises DataError and ConfigError."""
        onnxruntime = runtime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            told = self._session.get_modelmeta().custom_metadata_map
        except Exception as error:  # onnxruntime has an exception of its own for each kind of failure
            reason = f"onnxruntime {onnxruntime.__version__} does not load it: {short(one_line(error))}"
            raise DataError(f"{name}: {reason}; update onnxruntime, or export it again") from error
        try:
            self.info = info_of({key: value for key, value in told.items() if key != CHECKSUM})
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
        _check_graph(self._session, self.info, name)
        self.classes, self.learnable = self.info.classes, self.info.learnable
        self.allow_truncated = self.info.allow_truncated

    @classmethod
    def from_file(cls, path: str | Path) -> ModelPredictor:
        """Load a file that `mlrpl export --format onnx` wrote.

        Raises DataError for another, damaged or missing one, and ConfigError where onnxruntime is not installed.
        """
        return cls(read_content(Path(path)), str(path))

    @property
    def input(self) -> tuple[int, str]:
        """Pillow resizes, as `predict --run` does: a graph that resizes leaves such images as they are."""
        return self.info.image_size, self.info.resampling

    @property
    def calibrated(self) -> bool:
        return self.info.calibrated

    @property
    def uncalibrated(self) -> tuple[str, ...]:
        return self.info.uncalibrated

    def predict(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """(B, S, S, 3) uint8 RGB → the graph's outputs by their names (`model_info.OUTPUTS`).

        Raises WeightsError where a probability is NaN, and DataError for a graph that cannot be run.
        """
        try:
            outputs = self._session.run(list(OUTPUTS), {IMAGES: pixels})
        except MemoryError:
            raise
        except Exception as error:  # onnxruntime has kinds of its own, for whatever a graph cannot do
            raise DataError(f"the model cannot be run ({short(one_line(error))}); export it again") from error
        found = dict(zip(OUTPUTS, outputs, strict=True))
        if not all(np.isfinite(found[name]).all() for name in ("raw", "probabilities", "attention")):
            raise WeightsError("the model's probabilities are NaN; export it again, of other weights")
        if not np.isin(found["decisions"], list(DECISIONS)).all():
            raise DataError("the model's decisions are other than 1, 0 and -1; export it again")
        return found

    def _scores(self, pixels: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(self.predict(pixels).values())

    def _prediction(self, path: Path, *scores: np.ndarray) -> Prediction:
        probabilities, raw, decisions, attention = scores
        told = tuple(DECISIONS[number] for number in decisions.tolist()) if self.calibrated else None
        return Prediction(path, probabilities, attention, self.learnable, raw, told, self.calibrated)


def _check_graph(session: Any, info: ModelInfo, name: str) -> None:
    """Raises DataError for other inputs and outputs than those that are documented."""
    found = {one.name: one.type for one in (*session.get_inputs(), *session.get_outputs())}
    columns = {tuple(one.shape[1:2]) for one in session.get_outputs()}
    if found != TYPES or columns != {(len(info.classes),)}:
        raise DataError(f"{name} has not the inputs and outputs of a model file; export it again")
