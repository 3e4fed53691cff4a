"""The feature cache: frozen features on disk, encoded once, mapped into memory by every run that needs them.

    FOLDER/KEY/NAME.safetensors    a shard: the features of at most 64 views, their keys, and a checksum of all of it

KEY is a digest of all that decides a feature besides the image: weights, image size, precision, number format. A view's
key is the SHA-256 of its image file and the number of the view, so whatever shards are there can be used, whoever wrote
them. A shard appears under its name when it is complete, and one that does not match its checksum is encoded again.

Axes: N stored views, B of them in a batch, P grid positions, D channels, E joint embedding.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.config import UINT8
from mlrpl_cli.core.io.errors import DataError, RunError
from mlrpl_cli.core.io.files import TEMPORARY_PREFIX, sha256_of_file
from mlrpl_cli.core.io.tensorfiles import SUFFIX, TensorFile, open_tensors, write_tensors

SHARD_VIEWS = 64

ViewKey = str
"""SHA-256 of an image file, a hyphen, the number of the view."""

_VERSION = 3
_KEYS = "keys"
_FIELDS = tuple(field.name for field in fields(ImageFeatures))
# What 8 bits are for: nearly all of the bytes. The pooled vector and the attention stay in float16.
_COARSE = ("grid", "joint")
_LOW, _STEP = ".low", ".step"


@dataclass(frozen=True)
class Shard:
    """One file of a cache."""

    file: TensorFile
    keys: tuple[ViewKey, ...]

    @property
    def path(self) -> Path:
        return self.file.path


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


class FeatureCache:
    """The shards of one encoder in one number format."""

    def __init__(self, folder: Path, dtype: str) -> None:
        """See what is there. `dtype` is one of config.CACHE_DTYPES."""
        self.folder, self.dtype = folder, dtype
        self.damaged: list[Path] = []
        """Shards that cannot be read or do not match their checksum: they count as not there."""
        self._shapes: dict[str, tuple[int, ...]] = {}
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
        name = hashlib.sha256("\n".join(keys).encode()).hexdigest()[:32]
        tensors = _encode(features, self.dtype)
        write_tensors(self.folder / f"{name}{SUFFIX}", tensors, {_KEYS: json.dumps(list(keys))})

    def tidy(self) -> None:
        """Delete the damaged shards. A process that reads one of them goes on with what it has mapped."""
        for path in self.damaged:
            path.unlink(missing_ok=True)

    def rows(self, keys: Sequence[ViewKey]) -> StoredRows:
        """The features of `keys`, in order. Raises RunError when some are not stored whole."""
        lost = self.missing(keys)
        if lost:
            raise RunError(f"the feature cache {self.folder} lost {len(lost)} views while it was used; run this again")
        return StoredRows([self._where[key] for key in keys])

    def _add(self, path: Path) -> None:
        shard = _open(path)
        if shard is None or (self._shapes and _shapes(shard) != self._shapes):
            self.damaged.append(path)
        else:
            self._shapes = _shapes(shard)
            self._where |= {key: (shard, row) for row, key in enumerate(shard.keys)}


def encoder_key(fingerprint: str, image_size: int, precision: str, dtype: str) -> str:
    """The name of an encoder's folder in a cache: 32 hexadecimal digits of all that decides a feature but the image."""
    told = json.dumps([_VERSION, fingerprint, image_size, precision, dtype])
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def image_digests(paths: Sequence[Path], workers: int) -> list[str]:
    """SHA-256 of each image file: a file that is moved keeps its features, and one that changes loses them.

    Raises DataError for a file that cannot be read.
    """
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        return list(pool.map(_digest, paths))


def view_key(digest: str, view: int) -> ViewKey:
    return f"{digest}-{view}"


def bytes_per_view(positions: int, channels: int, embed_dim: int, dtype: str) -> int:
    """What one view takes on disk."""
    coarse, fine = positions * (channels + embed_dim), embed_dim + positions
    scales = 2 * 4 * (channels + embed_dim)  # lowest values and steps, in float32
    return (coarse + scales if dtype == UINT8 else 2 * coarse) + 2 * fine


def _digest(path: Path) -> str:
    try:
        return sha256_of_file(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check that it is still there") from error


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
    """(N, P, X) → 8-bit steps from the lowest value, at most half a step off.

    Both are those of a channel of one view, so that what it is encoded with changes nothing.
    """
    low, high = values.aminmax(dim=1)  # (N, X)
    step = (high - low) / 255
    smallest = torch.finfo(torch.float32).tiny
    coded = ((values - low[:, None]) / step[:, None].clamp_min(smallest)).round_().to(torch.uint8)
    return {name: coded, name + _LOW: low, name + _STEP: step}


def _read(name: str, chosen: Sequence[tuple[Shard, int]], device: torch.device) -> Tensor:
    def part(suffix: str = "") -> Tensor:
        rows = [shard.file.tensors[name + suffix][row] for shard, row in chosen]
        return torch.stack(rows).to(device, non_blocking=True)

    stored = part()
    if stored.dtype != torch.uint8:
        return stored
    return stored.float().mul_(part(_STEP)[:, None]).add_(part(_LOW)[:, None])


def _open(path: Path) -> Shard | None:
    """None for a file that is no shard, or that says another number of views than it has."""
    try:
        file = open_tensors(path)
        shard = Shard(file, tuple(json.loads(file.metadata[_KEYS])))
        rows = {len(file.tensors[name]) for name in _FIELDS}
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return shard if rows == {len(shard.keys)} and all(isinstance(key, str) for key in shard.keys) else None


def _shapes(shard: Shard) -> dict[str, tuple[int, ...]]:
    """Of one view of each field."""
    return {name: tuple(shard.file.tensors[name].shape[1:]) for name in _FIELDS}


def _is_whole(shard: Shard) -> bool:
    """Whether a shard matches its checksum: hashed once in a process, as long as the file stays the same."""
    try:
        status = shard.path.stat()
    except OSError:
        return False
    state = (shard.path, status.st_size, status.st_mtime_ns)
    if state not in _whole:
        if not shard.file.is_whole():
            return False
        _whole.add(state)
    return True


_whole: set[tuple[Path, int, int]] = set()
"""Path, size and time of the shards that this process found whole."""
