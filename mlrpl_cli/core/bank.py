"""The feature bank: frozen features on disk, encoded once, mapped into memory by every run that needs them.

    FOLDER/KEY/NAME.safetensors    a shard: the features of at most 64 views, their keys, and a checksum of all of it

KEY is a digest of all that decides a feature besides the image: weights, image size, precision, number format. A view's
key is the SHA-256 of its image file and the number of the view, so whatever shards are there can be used, whoever wrote
them. A shard appears under its name when it is complete, and one that does not match its checksum is encoded again.

Axes: N stored views, B of them in a batch, P grid positions, D channels, E joint embedding.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mlrpl_cli.core.config import UINT8
from mlrpl_cli.core.errors import DataError, RunError, one_line
from mlrpl_cli.core.files import TEMPORARY_PREFIX, atomic_file, sha256_of_file
from mlrpl_cli.core.models.image_features import ImageFeatures

SHARD_VIEWS = 64
ABANDONED_SECONDS = 3600
SUFFIX = ".safetensors"

ViewKey = str
"""SHA-256 of an image file, a hyphen, the number of the view."""

_VERSION = 1
_FIELDS = tuple(field.name for field in fields(ImageFeatures))
# What 8 bits are for: nearly all of the bytes. The pooled vector and the attention stay in float16.
_COARSE = ("grid", "joint")
_LOW, _STEP = ".low", ".step"


@dataclass(frozen=True)
class Shard:
    """One file of a bank, mapped into memory."""

    path: Path
    keys: tuple[ViewKey, ...]
    sha256: str
    """What the checksum of keys and tensors should be."""
    tensors: dict[str, Tensor]


class StoredRows:
    """The stored features of N views, in order, wherever they lie."""

    def __init__(self, rows: Sequence[tuple[Shard, int]]) -> None:
        self.rows = list(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, positions: Tensor, device: torch.device, dtype: torch.dtype = torch.float32) -> ImageFeatures:
        """Features of the views at `positions` (B,) in `dtype`, on `device`."""
        chosen = [self.rows[position] for position in positions.tolist()]
        return ImageFeatures(**{name: _read(name, chosen, device).to(dtype) for name in _FIELDS})


class FeatureBank:
    """The shards of one encoder in one number format."""

    def __init__(self, folder: Path, dtype: str) -> None:
        """See what is there. `dtype` is one of config.BANK_DTYPES."""
        self.folder, self.dtype = folder, dtype
        self.damaged: list[Path] = []
        """Shards that cannot be read or do not match their checksum: they count as not there."""
        self._where: dict[ViewKey, tuple[Shard, int]] = {}
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            if not path.name.startswith(TEMPORARY_PREFIX):
                self._add(path)

    def missing(self, keys: Iterable[ViewKey]) -> list[ViewKey]:
        """Those of `keys` that are not stored whole, each once, in order. Shards that hold none are not read."""
        wanted = dict.fromkeys(keys)
        shards = list({self._where[key][0].path: self._where[key][0] for key in wanted if key in self._where}.values())
        with ThreadPoolExecutor() as pool:  # reading and hashing release the interpreter's lock
            whole = list(pool.map(_is_whole, shards))
        for shard, intact in zip(shards, whole, strict=True):
            if not intact:
                self.damaged.append(shard.path)
                self._where = {key: where for key, where in self._where.items() if where[0] is not shard}
        return [key for key in wanted if key not in self._where]

    def write(self, keys: Sequence[ViewKey], features: ImageFeatures) -> None:
        """Store the features of `keys` as one shard.

        Raises DataError when the folder cannot be written to, RunError for a feature that the format cannot hold.
        """
        tensors = _encode(features, self.dtype)
        metadata = {"keys": json.dumps(list(keys)), "sha256": _checksum(tensors, keys)}
        name = hashlib.sha256("\n".join(keys).encode()).hexdigest()[:32]
        path = self.folder / f"{name}{SUFFIX}"
        with atomic_file(path) as temporary:
            try:
                save_file(tensors, temporary, metadata=metadata)
            except SafetensorError as error:  # how it tells of a full disk
                raise DataError(f"cannot write {path}: {one_line(error)}; free the disk or set another bank") from error

    def tidy(self) -> None:
        """Delete the damaged shards, and what processes that were killed long ago left half-written.

        A process that reads one of them goes on with what it has mapped.
        """
        long_ago = time.time() - ABANDONED_SECONDS
        left = self.folder.glob(f"{TEMPORARY_PREFIX}*{SUFFIX}")
        for path in [*self.damaged, *(path for path in left if _changed(path) < long_ago)]:
            path.unlink(missing_ok=True)

    def rows(self, keys: Sequence[ViewKey]) -> StoredRows:
        """The features of `keys`, in order. Raises RunError when some are not stored whole."""
        lost = self.missing(keys)
        if lost:
            raise RunError(f"the feature bank {self.folder} lost {len(lost)} views while it was used; run this again")
        return StoredRows([self._where[key] for key in keys])

    def _add(self, path: Path) -> None:
        shard = _open(path)
        if shard is None:
            self.damaged.append(path)
        else:
            self._where |= {key: (shard, row) for row, key in enumerate(shard.keys)}


def encoder_key(fingerprint: str, image_size: int, precision: str, dtype: str) -> str:
    """The name of an encoder's folder in a bank: 32 hexadecimal digits of all that decides a feature but the image."""
    told = json.dumps([_VERSION, fingerprint, image_size, precision, dtype])
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def image_digests(paths: Sequence[Path], workers: int) -> list[str]:
    """SHA-256 of each image file: a file that is moved keeps its features, and one that changes loses them."""
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        return list(pool.map(sha256_of_file, paths))


def view_key(digest: str, view: int) -> ViewKey:
    return f"{digest}-{view}"


def bytes_per_view(positions: int, channels: int, embed_dim: int, dtype: str) -> int:
    """What one view takes on disk."""
    coarse, fine = positions * (channels + embed_dim), embed_dim + positions
    return (1 if dtype == UINT8 else 2) * coarse + 2 * fine


def _encode(features: ImageFeatures, dtype: str) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name in _FIELDS:
        values = getattr(features, name).cpu()
        stored = _quantized(name, values.float()) if dtype == UINT8 and name in _COARSE else {name: values.half()}
        finite = torch.isfinite(values).all() and all(t.isfinite().all() for t in stored.values())
        if not finite:
            raise RunError(
                f"the backbone's {name} features reach {float(values.abs().max()):.3g}, more than {dtype} can hold: "
                "train with --set views=0, or another backbone"
            )
        tensors |= stored
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _quantized(name: str, values: Tensor) -> dict[str, Tensor]:
    """(N, P, X) → 8-bit steps from the lowest value, both per channel over the shard: at most half a step off."""
    low, high = values.amin(dim=(0, 1)), values.amax(dim=(0, 1))  # (X,)
    step = (high - low) / 255
    coded = ((values - low) / step.clamp_min(torch.finfo(torch.float32).tiny)).round_().to(torch.uint8)
    return {name: coded, name + _LOW: low, name + _STEP: step}


def _read(name: str, chosen: Sequence[tuple[Shard, int]], device: torch.device) -> Tensor:
    stored = torch.stack([shard.tensors[name][row] for shard, row in chosen]).to(device, non_blocking=True)
    if stored.dtype != torch.uint8:
        return stored
    low, step = (torch.stack([shard.tensors[name + part] for shard, _ in chosen]) for part in (_LOW, _STEP))
    return stored.float().mul_(step[:, None].to(device)).add_(low[:, None].to(device))


def _open(path: Path) -> Shard | None:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            keys = tuple(json.loads(metadata["keys"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            return Shard(path, keys, metadata["sha256"], tensors)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None


def _changed(path: Path) -> float:
    """When a file was last written to; now, when it has just gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()


def _is_whole(shard: Shard) -> bool:
    """Whether a shard matches its checksum: hashed once in a process, as long as the file stays the same."""
    try:
        status = shard.path.stat()
    except OSError:
        return False
    state = (shard.path, status.st_size, status.st_mtime_ns)
    if state not in _whole:
        if _checksum(shard.tensors, shard.keys) != shard.sha256:
            return False
        _whole.add(state)
    return True


_whole: set[tuple[Path, int, int]] = set()
"""Path, size and time of the shards that this process found whole."""


def _checksum(tensors: dict[str, Tensor], keys: Sequence[ViewKey]) -> str:
    digest = hashlib.sha256(json.dumps(list(keys)).encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}{tensors[name].dtype}".encode())
        digest.update(tensors[name].numpy().data)
    return digest.hexdigest()
