"""Files and folders of weights, opened as tensors only: none may run code of its own."""

from __future__ import annotations

import argparse
import re
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from mlrpl_cli.core.backbones.files.wrappings import Entry, Found, Stored, find_model
from mlrpl_cli.core.backbones.filling import COUNTERS
from mlrpl_cli.core.io.errors import MlrplError, WeightsError, first_few, printable
from mlrpl_cli.core.io.files import sha256_of_file
from mlrpl_cli.core.io.reading import MIB, beginning_of, leads_outside, open_file, read_json, short

SAFE, INDEX = ".safetensors", ".index.json"
SUFFIXES = (SAFE, ".bin", ".pt", ".pth", ".ckpt")
LARGEST_INDEX = 64 * MIB
FIRST = (
    *("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin"),
    *("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"),
)
"""What open_clip and transformers call the weights in a folder: the first of these that is there is taken."""
PICKLE = b"\x80"
"""How a pickle of a protocol since 2 begins."""
_CODE = re.compile(r"GLOBAL ([\w.]+)")


@dataclass(frozen=True)
class Weights:
    """A model's tensors in a file, under the names that the model gives them; read when they are asked for."""

    path: Path
    entries: Mapping[str, Entry] = field(repr=False)
    archive: str | None = None
    """SHA-256 of the file, if it is a TorchScript archive that was hashed."""
    openai: bool = False
    """Whether the file says itself, by three sizes beside the tensors, that it is of OpenAI's making."""
    notes: tuple[str, ...] = ()
    """What of the file is not used, a sentence each."""

    def on_meta(self) -> dict[str, Tensor]:
        """Tensors of these shapes without values."""
        with _damage(self.path):
            return {name: torch.empty(tuple(entry.shape), device="meta") for name, entry in self.entries.items()}

    def read(self, wanted: Callable[[str], bool] = bool) -> dict[str, Tensor]:
        """The tensors whose names are `wanted`; of a safetensors file, nothing else is read.

        They are copied: what is mapped from a file changes with it, and where a tensor lies in a file, and so the last
        bit of a product, depends on the names in it.
        """
        by_file: dict[Path, dict[str, str]] = defaultdict(dict)
        tensors: dict[str, Tensor] = {}
        with _damage(self.path):
            for name in filter(wanted, self.entries):
                entry = self.entries[name]
                if isinstance(entry, Stored):
                    by_file[entry.file][name] = entry.name
                elif isinstance(entry, Tensor):
                    tensors[name] = entry.clone()
            for path, names in by_file.items():
                with safe_open(path, framework="pt") as file:
                    tensors |= {name: file.get_tensor(stored).clone() for name, stored in names.items()}
        return tensors


def open_weights(path: Path, trusted: Collection[str] = (), published: bool = False) -> Weights:
    """The one CLIP in a safetensors file, a sharded one, a checkpoint of PyTorch however it is wrapped, or a folder.

    A TorchScript archive holds code, so it is hashed before it is opened, and its SHA-256 has to be among the
    `trusted`; with `published` it is known to be. Raises WeightsError for damage, code, no model and several models.
    """
    path = weights_in(path) if path.is_dir() else path
    with _damage(path):
        open_file(path).close()  # a regular file, and not a pipe that would keep its reader waiting
        if path.name.endswith(INDEX):
            return _weights(path, find_model(path, _sharded(path)))
        if path.suffix == SAFE:
            return _weights(path, find_model(path, _stored(path)))
        if not _is_torchscript(path):
            return _weights(path, find_model(path, _loaded(path)))
        digest = None if published else sha256_of_file(path)
        if digest is not None and digest not in trusted:
            raise WeightsError(
                f"{path} is a TorchScript archive with SHA-256 {digest[:16]}…, none that OpenAI published; "
                "it could run code, so it stays closed: save its state dict as safetensors and give that"
            )
        return _weights(path, find_model(path, torch.jit.load(str(path), map_location="cpu").state_dict()), digest)


def read_state(
    path: Path, prefix: str = "", trusted: Collection[str] = (), published: bool = False
) -> dict[str, Tensor]:
    """The tensors in `path` whose names start with `prefix`: see `open_weights`."""
    return open_weights(path, trusted, published).read(lambda name: name.startswith(prefix))


def check_floating(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise WeightsError for weights that are stored as integers, which stand for other numbers."""
    for name, tensor in tensors.items():
        if not (tensor.is_floating_point() or name.endswith(COUNTERS)):
            raise WeightsError(
                f"{path}: {short(name)} is stored as {tensor.dtype}, expected floating point; "
                "a quantised checkpoint is not read, give the one that it was made from"
            )


def weights_in(folder: Path) -> Path:
    """The file of weights in a folder. Raises WeightsError when there is none, or several that could be meant."""
    for name in FIRST:
        if (folder / name).is_file():
            return folder / name
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file())
    except OSError as error:
        raise WeightsError(f"cannot read {folder}: {error.strerror}; give a file of weights") from error
    if len(found) == 1:
        return found[0]
    got = f"{len(found)} ({first_few(path.name for path in found)})" if found else "none"
    expected = f"expected one file of weights ({', '.join(SUFFIXES)}), got {got}"
    raise WeightsError(f"{folder}: {expected}; give the path of the file that you mean")


def _weights(path: Path, found: Found, archive: str | None = None) -> Weights:
    return Weights(path, found.entries, archive, found.openai, found.notes)


def _stored(path: Path) -> dict[str, Stored]:
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        return {name: Stored(path, name, tuple(file.get_slice(name).get_shape())) for name in names}


def _sharded(path: Path) -> dict[str, Any]:
    """What the files that an index names hold together."""
    index = read_json(path, LARGEST_INDEX)
    places = index["weight_map"]
    files = sorted(set(places.values()))
    if outside := [name for name in files if leads_outside(name)]:
        raise WeightsError(f"{path} names files outside its folder ({first_few(map(short, outside))}); fetch it again")
    if missing := [name for name in files if not (path.parent / name).is_file()]:
        raise WeightsError(
            f"{path} names {len(missing)} of {len(files)} files that are not beside it "
            f"({first_few(map(short, missing))}); put them there"
        )
    entries: dict[str, Any] = {}
    for name in files:
        shard = path.parent / name
        entries |= _stored(shard) if shard.suffix == SAFE else _loaded(shard)
    if absent := [name for name in places if name not in entries]:
        raise WeightsError(
            f"{path} names {len(absent)} tensors that its files do not hold ({first_few(map(short, absent))}); "
            "fetch them again"
        )
    return entries


def _loaded(path: Path) -> Any:
    """What a pickle of PyTorch holds, its tensors mapped from the file where the format allows it."""
    mapped = zipfile.is_zipfile(path)
    try:
        with torch.serialization.safe_globals(_plain_values()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that others than PyTorch wrote
            return torch.load(str(path), map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        if type(error).__name__ != "UnpicklingError":
            raise
        if not (found := _CODE.search(str(error))) and beginning_of(path, 1) != PICKLE:
            raise
        code = f"the code of {printable(short(found[1]))}" if found else "more than tensors"
        raise WeightsError(
            f"{path} is a pickle that needs {code}, so it stays closed: where it was made, "
            "run torch.save(model.state_dict(), 'model.pt') and give that file"
        ) from error


def _plain_values() -> list[Any]:
    """What checkpoints keep beside tensors and is data: command lines, and numbers of NumPy."""
    number = np.float64(0).__reduce__()[0]
    kinds = (np.float64, np.float32, np.int64, np.int32, np.bool_)
    return [argparse.Namespace, number, np.dtype, *{type(np.dtype(kind)) for kind in kinds}]


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """One line for whatever a file that is not what it should be makes its reader raise."""
    try:
        yield
    except WeightsError:
        raise
    except MlrplError as error:
        raise WeightsError(str(error)) from error
    except FileNotFoundError as error:
        raise WeightsError(f"{path} is not there; check the path") from error
    except PermissionError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}; allow it, or give another file") from error
    except Exception as error:
        # A file that is no checkpoint can raise nearly anything inside an unpickler.
        raise WeightsError(f"{path} is not a readable checkpoint, or only part of one; fetch it again") from error


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(Path(name).name == "constants.pkl" for name in archive.namelist())
