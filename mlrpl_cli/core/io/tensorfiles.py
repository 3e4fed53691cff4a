"""Files of tensors that tell when a bit of them has changed: safetensors with a checksum over all that they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mlrpl_cli.core.io.errors import one_line
from mlrpl_cli.core.io.files import atomic_file

SUFFIX = ".safetensors"
_METADATA, _CHECKSUM = "mlrpl", "sha256"


@dataclass(frozen=True)
class TensorFile:
    """One file, mapped into memory."""

    metadata: dict[str, str]
    """What the file says of itself."""
    tensors: dict[str, Tensor]
    sha256: str
    """What the checksum of `metadata` and `tensors` should be."""

    def check(self) -> None:
        """Raise ValueError unless everything is as it was written; reads all of it."""
        if _checksum(self.metadata, self.tensors) != self.sha256:
            raise ValueError("its content does not match its checksum")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write `tensors` and what there is to say of them, atomically. Raises DataError when that is not possible."""
    told = dict(metadata or {})
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # One entry, because safetensors writes several in no order: the same content gives the same bytes.
    entry = json.dumps({**told, _CHECKSUM: _checksum(told, own)}, sort_keys=True)
    with atomic_file(path) as temporary:
        temporary.write_bytes(save(own, metadata={_METADATA: entry}))


def open_tensors(path: Path) -> TensorFile:
    """A file of tensors, its checksum not looked at yet. Raises ValueError, which says why, when it is none."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get(_METADATA, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, AttributeError, RuntimeError, TypeError) as error:
        raise ValueError(one_line(error)) from error
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("it does not say what it is")
    return TensorFile(metadata, tensors, metadata.pop(_CHECKSUM, ""))


def tensor_places(path: Path) -> dict[str, tuple[int, str, list[int]]]:
    """Where the tensors of a whole file are: name → (first byte, safetensors' name of the dtype, shape)."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    return {name: (8 + length + told["data_offsets"][0], told["dtype"], told["shape"]) for name, told in header.items()}


def read_tensors(path: Path) -> TensorFile:
    """A file that `write_tensors` wrote. Raises ValueError, which says why, when it is not whole."""
    file = open_tensors(path)
    file.check()
    return file


def _checksum(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}{tensors[name].dtype}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
