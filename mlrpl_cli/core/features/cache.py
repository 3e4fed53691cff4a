"""The feature cache: frozen features on disk, encoded once, read by every run that needs them.

    FOLDER/KEY/NAME.safetensors    a shard: the features of at most 32 views, their keys, and a checksum of all of it
    FOLDER/KEY/index.json          which views are in which shard, and which ones matched their checksum
    FOLDER/images.json             the digests of image files

KEY is a digest of all that decides a feature besides the image: weights, image size, precision, number format. A view's
key is the SHA-256 of its image file and the number of the view, so whatever shards are there can be used, whoever wrote
them. A shard appears under its name when it is complete. It is compared with its checksum once, and again when its size
or its time of change is another; one that does not match is encoded again.

Axes: N stored views, B of them in a batch, P grid positions, D channels, E joint embedding.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, KeysView, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields
from functools import cached_property, partial
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.config import UINT8
from mlrpl_cli.core.features.file_index import FileIndex
from mlrpl_cli.core.io import files, tensorfiles
from mlrpl_cli.core.io.errors import DataError, RunError, counted

CACHE = "features"
"""Name of the feature cache, beside the prepared folder."""
SHARD_VIEWS = 32

ViewKey = str
"""SHA-256 of an image file, a hyphen, the number of the view."""
Stored = dict[str, Tensor]
"""Features of B views as they are on disk, for `decoded`."""

_VERSION, _KEYS = 3, "keys"
_FIELDS = tuple(field.name for field in fields(ImageFeatures))
# What 8 bits are for: nearly all of the bytes. The pooled vector and the attention stay in float16.
_COARSE = ("grid", "joint")
_LOW, _STEP = ".low", ".step"
_SCALES = {name + part for name in _COARSE for part in (_LOW, _STEP)}
_DTYPES = {"F16": torch.float16, "F32": torch.float32, "U8": torch.uint8}


class Shard(NamedTuple):
    """One file: whose views it holds, and where they are in it."""

    path: Path
    keys: Sequence[ViewKey]
    places: Mapping[str, tuple[int, str, Sequence[int]]]

    @property
    def form(self) -> dict[str, tuple[str, Sequence[int]]]:
        """Dtype and shape of one view of each field."""
        return {name: (dtype, shape[1:]) for name, (_, dtype, shape) in self.places.items()}


class FeatureCache:
    """The features of one encoder in one number format. No file stays open or mapped from one call to the next."""

    def __init__(self, folder: Path, dtype: str) -> None:
        """`dtype` is "float16" or "uint8", as the option cache_dtype."""
        self.folder, self.dtype = folder, dtype
        self.damaged: list[Path] = []
        """Shards that `missing` could not read or that did not match their checksum: they count as not there."""
        self._where: dict[ViewKey, tuple[Shard, int]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process looks for itself."""
        return FeatureCache, (self.folder, self.dtype)

    @cached_property
    def _index(self) -> FileIndex:
        return FileIndex(self.folder / "index.json")

    def missing(self, keys: Iterable[ViewKey]) -> list[ViewKey]:
        """Those of `keys` that are not stored whole, each once, in order. Shards that hold none are not read whole."""
        wanted = dict.fromkeys(keys)
        paths = sorted(self.folder.glob(f"*{tensorfiles.SUFFIX}"))
        with ThreadPoolExecutor() as pool:  # reading and hashing release the interpreter's lock
            shards = [*filter(None, pool.map(partial(_shard, self._index, wanted.keys()), paths))]
        shards = [shard for shard in shards if shard.form == shards[0].form]
        intact = {shard.path for shard in shards}
        self.damaged = sorted(set(paths) - intact)
        self._where = {key: place for key, place in self._where.items() if place[0].path in intact}
        for shard in shards:
            self._where |= {key: (shard, row) for row, key in enumerate(shard.keys) if key in wanted}
        self._index.save()
        return [key for key in wanted if key not in self._where]

    def put(self, keys: Sequence[ViewKey], features: ImageFeatures) -> None:
        """Store the features of `keys` as one shard.

        Raises DataError when the folder cannot be written to, RunError for a feature that the format cannot hold.
        """
        path = self._path(keys)
        tensorfiles.write_tensors(path, _encoded(features, self.dtype), {_KEYS: json.dumps(list(keys))})
        self.believe([keys])

    def believe(self, shards: Iterable[Sequence[ViewKey]]) -> None:
        """Take the shards of these keys for whole: they were written just now, by this process or one beside it."""
        for keys in shards:
            with suppress(OSError):  # of another process that removes what it takes for damaged
                self._index.find(self._path(keys), "whole", lambda _: True)

    def get(self, keys: Sequence[ViewKey]) -> Stored:
        """The features of `keys`, in order. Raises RunError when some are not stored whole."""
        if not self._where.keys() >= set(keys) and (lost := self.missing(keys)):
            raise self.lost(len(lost))
        form, places = self._where[keys[0]][0].form, defaultdict[Path, list[tuple[int, Shard, int]]](list)
        for number, (shard, row) in enumerate(map(self._where.__getitem__, keys)):
            places[shard.path].append((number, shard, row))
        stored = {name: torch.empty(len(keys), *shape, dtype=_DTYPES[dtype]) for name, (dtype, shape) in form.items()}
        for path, views in places.items():
            try:
                with path.open("rb", buffering=0) as stream:
                    for number, shard, row in views:
                        _read(stream, shard, row, {name: tensor[number] for name, tensor in stored.items()})
            except (OSError, EOFError) as error:
                raise self.lost(len(views)) from error
        return stored

    def _path(self, keys: Sequence[ViewKey]) -> Path:
        return self.folder / f"{files.sha256_of_text(chr(10).join(keys))[:32]}{tensorfiles.SUFFIX}"

    def lost(self, views: int) -> RunError:
        """What to raise when so many are not there any more."""
        return RunError(
            f"the feature cache {self.folder} lost {counted(views, 'view')} while it was used; run this again"
        )


def decoded(stored: Stored, device: torch.device, dtype: torch.dtype) -> ImageFeatures:
    """What `FeatureCache.get` returned as features in `dtype` on `device`, where 8 bits are turned into numbers."""
    moved = {name: tensor.to(device, non_blocking=True) for name, tensor in stored.items()}
    for name in _COARSE:
        if name + _STEP in moved:
            moved[name] = moved[name].float().mul_(moved[name + _STEP][:, None]).add_(moved[name + _LOW][:, None])
    return ImageFeatures(**{name: moved[name].to(dtype) for name in _FIELDS})


def encoder_key(fingerprint: str, image_size: int, precision: str, dtype: str) -> str:
    """The name of an encoder's folder in a cache: 32 hexadecimal digits of all that decides a feature but the image."""
    return files.sha256_of_text(json.dumps([_VERSION, fingerprint, image_size, precision, dtype]))[:32]


def image_digests(paths: Sequence[Path], workers: int, folder: Path | None = None) -> list[str]:
    """SHA-256 of each image file: a file that is moved keeps its features, and one that changes loses them.

    They are remembered in `folder`, if one is given. Raises DataError for a file that cannot be read.
    """
    index = FileIndex(folder / "images.json") if folder else None

    def digest(path: Path) -> str:
        try:
            return index.find(path, "sha256", files.sha256_of_file) if index else files.sha256_of_file(path)
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}; check that it is still there") from error

    with ThreadPoolExecutor(max(workers, 1)) as pool:
        digests = list(pool.map(digest, paths))
    if index:
        index.save()
    return digests


def view_key(digest: str, view: int) -> ViewKey:
    return f"{digest}-{view}"


def view_keys(digests: Sequence[str], views: int) -> list[ViewKey]:
    """Those of `views` views of each image, view after view."""
    return [view_key(digest, view) for view in range(views) for digest in digests]


def bytes_per_view(positions: int, channels: int, embed_dim: int, dtype: str) -> int:
    """What one view takes on disk."""
    coarse, fine = positions * (channels + embed_dim), embed_dim + positions
    scales = 2 * 4 * (channels + embed_dim)  # lowest values and steps, in float32
    return (coarse + scales if dtype == UINT8 else 2 * coarse) + 2 * fine


def _encoded(features: ImageFeatures, dtype: str) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, values in vars(features).items():
        stored = _quantized(name, values.float()) if dtype == UINT8 and name in _COARSE else {name: values.half()}
        if not all(tensor.isfinite().all() for tensor in (values, *stored.values())):
            reached = f"{float(values.abs().max()):.3g}, more than {dtype} can hold"
            advice = "train with --set views=0, or another backbone"
            raise RunError(f"the backbone's {name} features reach {reached}: {advice}")
        tensors |= stored
    return tensors


def _quantized(name: str, values: Tensor) -> dict[str, Tensor]:
    """(N, P, X) → 8-bit steps from the lowest value, at most half a step off.

    Both are those of a channel of one view, so that what it is encoded with changes nothing.
    """
    low, high = values.aminmax(dim=1)  # (N, X)
    step = (high - low) / 255
    coded = ((values - low[:, None]) / step[:, None].clamp_min(torch.finfo(step.dtype).tiny)).round_().to(torch.uint8)
    return {name: coded, name + _LOW: low, name + _STEP: step}


def _shard(index: FileIndex, wanted: KeysView[ViewKey], path: Path) -> Shard | None:
    """None for one that is damaged; whether one that holds none of `wanted` is whole need not be known."""
    with suppress(OSError):  # it has gone meanwhile
        header = index.find(path, "header", _header)
        if header and (wanted.isdisjoint(header[0]) or index.find(path, "whole", _is_whole)):
            return Shard(path, *header)
    return None


def _header(path: Path) -> tuple[Any, ...] | None:
    """Keys and places of a shard; None for a file that is none, or that says another number of views than it has."""
    try:
        keys, places = json.loads(tensorfiles.open_tensors(path).metadata[_KEYS]), tensorfiles.tensor_places(path)
        rows = {shape[0] for _, _, shape in places.values()}
        known = all(dtype in _DTYPES for _, dtype, _ in places.values())
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None
    complete = set(places) in (set(_FIELDS), _SCALES.union(_FIELDS))
    texts = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    return (keys, places) if known and complete and texts and rows == {len(keys)} else None


def _is_whole(path: Path) -> bool:
    with suppress(ValueError):
        tensorfiles.open_tensors(path).checked()
        return True
    return False


def _read(stream: FileIO, shard: Shard, row: int, view: Stored) -> None:
    """Copy one view of an open shard to `view`. Raises OSError, and EOFError for a file cut short."""
    for name, (first, _, _) in shard.places.items():
        target = view[name].view(torch.uint8).numpy()
        stream.seek(first + row * target.nbytes)
        if stream.readinto(target.data) != target.nbytes:
            raise EOFError
