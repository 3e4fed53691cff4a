"""Files of tensors that tell when a bit of them has changed: safetensors with a checksum over all that they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mlrpl_cli.core.errors import DataError, one_line
from mlrpl_cli.core.files import atomic_file

SUFFIX = ".safetensors"
_CHECKSUM = "sha256"


@dataclass(frozen=True)
class TensorFile:
    """One file, mapped into memory."""

    path: Path
    about: dict[str, str]
    """What the file says of itself."""
    tensors: dict[str, Tensor]
    sha256: str
    """What the checksum of `about` and `tensors` should be."""

    def is_whole(self) -> bool:
        """Whether everything is as it was written; reads all of it."""
        return _checksum(self.about, self.tensors) == self.sha256

    def check(self) -> None:
        """Raise ValueError unless it is whole."""
        if not self.is_whole():
            raise ValueError("its content does not match its checksum")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str] | None = None) -> None:
    """Write `tensors` and what there is to say of them, atomically. Raises DataError when that is not possible."""
    told = dict(about or {})
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_file(path) as temporary:
        try:
            save_file(own, temporary, metadata={**told, _CHECKSUM: _checksum(told, own)})
        except SafetensorError as error:  # how it tells of a full disk
            raise DataError(f"cannot write {path}: {one_line(error)}; free space or choose another place") from error


def open_tensors(path: Path) -> TensorFile:
    """A file of tensors, its checksum not looked at yet. Raises ValueError, which says why, when it is none."""
    try:
        with safe_open(path, framework="pt") as file:
            about = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, AttributeError, RuntimeError, TypeError) as error:
        raise ValueError(one_line(error)) from error
    return TensorFile(path, about, tensors, about.pop(_CHECKSUM, ""))


def read_tensors(path: Path) -> TensorFile:
    """A file that `write_tensors` wrote. Raises ValueError, which says why, when it is not whole."""
    file = open_tensors(path)
    file.check()
    return file


def _checksum(about: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}{tensors[name].dtype}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
