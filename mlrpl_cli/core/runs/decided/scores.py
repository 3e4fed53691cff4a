"""Scores of images that a run's checkpoints were not trained on, with their known cells: `held_out.safetensors`.

Axes: N images, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from mlrpl_cli.core.config import BEST, LAST
from mlrpl_cli.core.io.errors import RunError, one_line
from mlrpl_cli.core.io.tensorfiles import open_tensors, write_tensors
from mlrpl_cli.core.labels.states import ABSENT, PRESENT
from mlrpl_cli.core.runs.folder import HELD_OUT, checkpoint_path

Source = Literal["validation", "out-of-fold"]
VALIDATION: Source = "validation"
OUT_OF_FOLD: Source = "out-of-fold"
"""Whose scores they are: the checkpoint's own, or those of recognizers that were trained like it without the image."""
_TENSORS = {"rows": torch.int64, "labels": torch.int8, "logits": torch.float32}


@dataclass(frozen=True)
class HeldOut:
    """Scores that stand for what one checkpoint says of new images."""

    checkpoint: str
    """SHA-256 of the checkpoint's content."""
    source: Source
    """VALIDATION or OUT_OF_FOLD."""
    rows: np.ndarray
    """(N,) int64 rows of the images in the prepared folder."""
    labels: np.ndarray
    """(N, C) int8 label states; what is hidden is unknown here too."""
    logits: np.ndarray
    """(N, C) float32, finite."""

    @property
    def known(self) -> int:
        """How many cells are known."""
        return int(np.count_nonzero(self.labels))


def checkpoint_sha256(run: Path, which: str) -> str | None:
    """SHA-256 of the content of the "best" or "last" checkpoint, as its file says it; None for one that is not there.

    Raises RunError for a file that is no checkpoint.
    """
    path = checkpoint_path(run, which)
    if not path.is_file():
        return None
    try:
        return open_tensors(path).sha256
    except ValueError as error:
        raise RunError(f"{path} is damaged: {one_line(error)}; restore it, or train again") from error


def write_held_out(run: Path, of: Mapping[str, HeldOut]) -> None:
    """Write scores by "best" and "last", atomically; without any, remove what was written before."""
    if not of:
        (run / HELD_OUT).unlink(missing_ok=True)
        return
    tensors = {f"{which}.{name}": _tensor(getattr(one, name)) for which, one in of.items() for name in _TENSORS}
    told = {f"{which}.{name}": getattr(one, name) for which, one in of.items() for name in ("checkpoint", "source")}
    write_tensors(run / HELD_OUT, tensors, told)


def read_held_out(run: Path) -> dict[str, HeldOut]:
    """The scores of a run by "best" and "last", of those checkpoints that have some.

    Raises RunError for a file that is damaged or of something else.
    """
    path = run / HELD_OUT
    if not path.is_file():
        return {}
    try:
        file = open_tensors(path).checked()
        return {which: _of(which, file.metadata, file.tensors) for which in (BEST, LAST) if f"{which}.rows" in file[1]}
    except (ValueError, KeyError) as error:
        advice = "remove it, and train again to have it written"
        raise RunError(f"{path} is damaged: {one_line(error)}; {advice}") from error


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array))  # copied: safetensors takes no memory that two tensors share


def _of(which: str, told: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> HeldOut:
    """Raises ValueError for tensors of other types and shapes, and KeyError for one that is not there."""
    found = {name: tensors[f"{which}.{name}"] for name in _TENSORS}
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    if any(found[name].dtype != dtype for name, dtype in _TENSORS.items()):
        raise ValueError(f"expected {_TENSORS}, got { ({name: tensor.dtype for name, tensor in found.items()}) }")
    if len(shapes["logits"]) != 2 or shapes["labels"] != shapes["logits"] or shapes["rows"] != shapes["logits"][:1]:
        raise ValueError(f"expected rows (N,), labels and logits (N, C), got {shapes}")
    if (
        not torch.isfinite(found["logits"]).all()
        or not ((found["labels"] >= ABSENT) & (found["labels"] <= PRESENT)).all()
    ):
        raise ValueError("expected finite logits and labels of -1, 0 and 1")
    sources: dict[str, Source] = {VALIDATION: VALIDATION, OUT_OF_FOLD: OUT_OF_FOLD}
    if (source := told[f"{which}.source"]) not in sources:
        raise ValueError(f"expected scores of {VALIDATION} or {OUT_OF_FOLD}, got {source}")
    arrays = {name: tensor.numpy() for name, tensor in found.items()}
    return HeldOut(told[f"{which}.checkpoint"], sources[source], **arrays)
