"""Files of tensors that tell when a bit of them has changed: safetensors with a checksum over all that they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mlrpl_cli.core.io.errors import one_line
from mlrpl_cli.core.io.files import atomic_file

SUFFIX = ".safetensors"
_METADATA, _CHECKSUM = "mlrpl", "sha256"


class TensorFile(NamedTuple):
    """One file, mapped into memory: what it says of itself, its tensors, and what the checksum of both should be."""

    metadata: dict[str, str]
    tensors: dict[str, Tensor]
    sha256: str

    def checked(self) -> TensorFile:
        """Itself, all of it read. Raises ValueError unless everything is as it was written."""
        if _checksum(self.metadata, self.tensors) != self.sha256:
            raise ValueError("its content does not match its checksum")
        return self


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
    with _read(path) as (metadata, file):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    return TensorFile(metadata, tensors, metadata.pop(_CHECKSUM, ""))


def metadata_of(path: Path) -> dict[str, str]:
    """What a file of tensors says of itself, nothing of it checked. Raises ValueError as `open_tensors`."""
    with _read(path) as (metadata, _):
        return metadata


def tensor_places(path: Path) -> dict[str, tuple[int, str, list[int]]]:
    """Where the tensors of a whole file are: name → (first byte, safetensors' name of the dtype, shape)."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    return {name: (8 + length + told["data_offsets"][0], told["dtype"], told["shape"]) for name, told in header.items()}


@contextmanager
def _read(path: Path) -> Iterator[tuple[dict[str, str], Any]]:
    """What a file says of itself, and safetensors' reader of it."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get(_METADATA, "{}"))
            if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
                raise ValueError("it does not say what it is")
            yield metadata, file
    except (OSError, SafetensorError, AttributeError, RuntimeError, TypeError) as error:
        raise ValueError(one_line(error)) from error


def _checksum(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}{tensors[name].dtype}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
