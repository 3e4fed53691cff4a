"""What makes one space of an image classifier and a sentence encoder: the classifier's labels, which both speak of.

An image says √p, the square roots of the classifier's probabilities; a text says q = softmax(k · t / τ), how near it is
to each label. Both are shortened to E numbers by U, the first eigenvectors of exp((k kᵀ - 1) / τ), the kernel that
tells which labels mean nearly the same, with its mean over rows and columns taken out (kernel PCA): what a text says of
all labels alike is then no likeness to an image. Nothing is trained on an image. docs/lite.md has what else was tried.

Axes: L labels of ImageNet, W text width, E joint embedding.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mlrpl_cli.core.backbones.lite.packages import FILES
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.tensorfiles import SUFFIX, open_tensors, write_tensors

TEMPLATE, TEMPERATURE, EMBED_DIM = "a photo of a {}", 0.1, 512
METHOD = "labels 1"
"""Another one when the fit changes: files of the older one are then not used."""

Labels = Sequence[tuple[str, str]]
"""Of each label, its name and its definition."""
Encode = Callable[[Sequence[str]], Tensor]
"""Texts → their embeddings (…, W) of unit length."""


@dataclass(frozen=True)
class JointSpace:
    """What the towers share, in float32."""

    mean: Tensor
    """(W,) of the labels' embeddings."""
    keys: Tensor
    """(L, W) the labels' embeddings less their mean, of unit length."""
    basis: Tensor
    """(L, E) U, its columns orthonormal; the largest entry of each is positive."""


def fit(encode: Encode, labels: Labels, temperature: float = TEMPERATURE, embed_dim: int = EMBED_DIM) -> JointSpace:
    """A label's embedding is that of its name in the template plus that of its definition, of unit length.

    Computed in float64: eigenvectors of close eigenvalues would else differ from machine to machine.
    """
    names, definitions = zip(*labels, strict=True)
    embedded = encode([TEMPLATE.format(name) for name in names]).double() + encode(definitions).double()
    embedded = F.normalize(embedded, dim=-1)
    mean = embedded.mean(dim=0)
    keys = F.normalize(embedded - mean, dim=-1)
    kernel = ((keys @ keys.T - 1) / temperature).exp()
    across = kernel.mean(dim=0)
    _, vectors = torch.linalg.eigh(kernel - across - across[:, None] + across.mean())  # smallest eigenvalue first
    basis = vectors.flip(1)[:, :embed_dim]
    largest = basis.gather(0, basis.abs().argmax(dim=0, keepdim=True))
    return JointSpace(mean.float(), keys.float(), (basis * largest.sign()).float())


def digest_of(labels: Labels) -> str:
    """SHA-256 over all that decides the fit, and with it what a joint feature means."""
    decides = [METHOD, TEMPLATE, TEMPERATURE, EMBED_DIM, [file.sha256 for file in FILES], list(labels)]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()


def cached_fit(labels: Labels, encode: Callable[[], Encode]) -> JointSpace:
    """The fit for `labels`, from the user's cache folder, or made, which takes seconds, and kept there.

    A file there that is damaged is replaced. Where nothing can be kept, the fit is made each time.
    """
    path = _cache() / f"lite-{digest_of(labels)}{SUFFIX}"
    with suppress(ValueError, TypeError):
        return JointSpace(**open_tensors(path).checked().tensors)
    space = fit(encode(), labels)
    with suppress(DataError):
        write_tensors(path, vars(space))
    return space


def _cache() -> Path:
    """The folder MLRPL_CACHE, or one in the home folder, as far as there is one."""
    if given := os.environ.get("MLRPL_CACHE"):
        return Path(given)
    return Path(os.path.expanduser("~")) / ".cache" / "mlrpl"
