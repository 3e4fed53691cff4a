"""What a run was trained on, as its checkpoints say it: the images by their content, and which classes they teach.

A checkpoint holds the images as tensors (N, 16) uint8, the first 16 bytes of each file's SHA-256. Axes: N images.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mlrpl_cli.core.io.errors import counted

TRAINED, SELECTED = "trained_images", "selected_images"
"""Names of the tensors: the images that were trained on, and those that the best epoch was selected by."""
IMAGE_TENSORS = (TRAINED, SELECTED)
DIGEST_BYTES = 16


def image_tensors(training: Sequence[str], selecting: Sequence[str]) -> dict[str, Tensor]:
    """Both tensors (N, 16) uint8 by name, of hexadecimal SHA-256s, in the order of the images."""
    return {TRAINED: _tensor(map(shortened, training)), SELECTED: _tensor(map(shortened, selecting))}


def images_in(tensors: Mapping[str, Tensor]) -> dict[str, frozenset[bytes]]:
    """The images of both tensors by name, each as `shortened` has it; empty where a checkpoint does not say them."""
    return {name: _images(tensors[name]) for name in IMAGE_TENSORS if name in tensors}


def joined(own: Mapping[str, Tensor], earlier: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The images of a run that goes on: its `own`, and what its `earlier` checkpoint has beside them.

    Empty where one of them does not say its images: what an earlier part was trained on is then not known.
    """
    now, before = images_in(own), images_in(earlier)
    more = {name: before[name] - images for name, images in now.items() if name in before}
    return {name: _tensor(sorted(now[name] | before[name])) if extra else own[name] for name, extra in more.items()}


def changed_images(stored: Mapping[str, Tensor], own: Mapping[str, Tensor], selection: str) -> list[str]:
    """A phrase for the training images, and one for those of the split `selection`, that hold other bytes than before.

    `stored` are a checkpoint's tensors, `own` those of the images as they are. Nothing where one does not say them.
    """
    named = {TRAINED: ("training image", "trained on"), SELECTED: (f"{selection} image", "selected by")}
    return [
        f"{count} of {counted(len(own[name]), kind)} have other content than the run was {how}"
        for name, (kind, how) in named.items()
        if name in stored and name in own and (count := _changed(stored[name], own[name]))
    ]


def _changed(stored: Tensor, own: Tensor) -> int:
    """How many images have other content than the one that was at their place.

    A tensor that has each content once and sorted, as older checkpoints do, says no places: those are counted then
    whose content it lacks.
    """
    before, now = ([row.tobytes() for row in tensor.numpy()] for tensor in (stored, own))
    known = set(before)
    if before == sorted(known):
        return sum(digest not in known for digest in now)
    return sum(new != old for new, old in zip(now, before, strict=False))


def shortened(digest: str) -> bytes:
    """The first 16 bytes of a hexadecimal SHA-256: two files that share them are the same file."""
    return bytes.fromhex(digest)[:DIGEST_BYTES]


def is_image_tensor(tensor: Tensor) -> bool:
    """Whether a tensor is one of digests."""
    return tensor.dtype == torch.uint8 and tensor.ndim == 2 and tensor.shape[1] == DIGEST_BYTES


def learnable(present: Collection[int], absent: Collection[int], images: int, from_unknown: bool) -> tuple[bool, ...]:
    """Which of C classes can be learned from so many known cells of each (C,) in so many training images.

    A class needs a present cell and an absent one. With `from_unknown`, a loss that learns from unknown cells, an
    unknown one does for the absent one.
    """
    unknown = (images - p - a if from_unknown else 0 for p, a in zip(present, absent, strict=True))
    return tuple(p > 0 and a + u > 0 for p, a, u in zip(present, absent, unknown, strict=True))


def _tensor(digests: Iterable[bytes]) -> Tensor:
    content = bytearray().join(digests)
    return torch.from_numpy(np.frombuffer(content, np.uint8).reshape(-1, DIGEST_BYTES))


def _images(tensor: Tensor) -> frozenset[bytes]:
    return frozenset(row.tobytes() for row in tensor.numpy())
