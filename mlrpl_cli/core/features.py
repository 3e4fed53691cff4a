"""Frozen features of many images: encoded once where they fit in memory, so that a head can train on them many times.

Axes: N images, P grid positions, D channels, E joint embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator
from torch import Tensor

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.data.loading import EpochOrder, ImageViews, Positions, batches_of, in_order, normalize, shuffled
from mlrpl_cli.core.errors import ConfigError, RunError
from mlrpl_cli.core.models.encoders import ImageEncoder, build_image_encoder
from mlrpl_cli.core.models.image_features import ImageFeatures
from mlrpl_cli.core.models.resnet import ResNetEncoder, fold_batch_norm
from mlrpl_cli.core.models.weights import TINY, fingerprint, load_state
from mlrpl_cli.core.progress import Progress
from mlrpl_cli.core.runtime import DTYPES, FLOAT32, choose_precision, make_generator

AUTO = "auto"
KEPT_DTYPE = torch.float16
TINY_SIZE, USUAL_SIZE = 256, 448
TINY_WIDTH, USUAL_WIDTH = 64, 1024


@dataclass(frozen=True)
class FrozenEncoder:
    """An image encoder on its device, and the input it is used with."""

    module: ImageEncoder
    image_size: int
    device: torch.device
    dtype: torch.dtype = torch.float32

    @property
    def positions(self) -> int:
        """P, grid positions of one image."""
        return (self.image_size // self.module.stride) ** 2

    def __call__(self, pixels: Tensor) -> ImageFeatures:
        """(B, 3, S, S) uint8 → float32 features on the encoder's device."""
        with torch.inference_mode():
            images = normalize(pixels.to(self.device, non_blocking=True))
            features = self.module(images.to(self.dtype, memory_format=torch.channels_last))
        # A copy, because no gradient may flow past a tensor of inference mode, and heads train on these.
        return features.map(lambda tensor: tensor.to(torch.float32, copy=True))


def default_image_size(backbone: str) -> int:
    """256 for tiny, whose scenes are that large, and else 448, the size the literature uses."""
    return TINY_SIZE if backbone == TINY else USUAL_SIZE


def default_attention_width(backbone: str) -> int:
    """K = 64 for tiny, for speed (docs/trials.md), and else 1024, the width of the literature."""
    return TINY_WIDTH if backbone == TINY else USUAL_WIDTH


def settled_precision(precision: str, backbone: str, device: torch.device) -> str:
    """What "auto" means for a backbone on a device: float32 for tiny, which is fast enough in it."""
    if precision != AUTO:
        return precision
    return FLOAT32 if backbone == TINY else choose_precision(device)


def image_size_problem(image_size: int, stride: int) -> str | None:
    """The one-line reason why a backbone of this stride cannot take images of that size, or None."""
    if image_size % stride == 0:
        return None
    lower = max(image_size // stride, 1) * stride
    return (
        f"image_size: expected a multiple of this backbone's stride {stride}, got {image_size}; "
        f"take {lower} or {lower + stride}"
    )


def make_encoder(
    module: ImageEncoder, image_size: int, device: torch.device, precision: str = FLOAT32
) -> FrozenEncoder:
    """Put `module`, which is changed for good, to use at `image_size`: batch norms folded, channels last.

    Raises ConfigError when the size is no multiple of its stride.
    """
    if problem := image_size_problem(image_size, module.stride):
        raise ConfigError(problem)
    if isinstance(module, ResNetEncoder):
        fold_batch_norm(module)
    dtype = DTYPES[precision]
    module = module.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return FrozenEncoder(module, image_size, device, dtype)


def load_encoder(
    backbone: str,
    expected: str,
    image_size: int,
    device: torch.device,
    precision: str = AUTO,
    progress: Progress | None = None,
) -> FrozenEncoder:
    """The encoder a run was trained with. Raises RunError when the weights are no longer those."""
    state = load_state(backbone, progress)
    found = fingerprint(state)
    if found != expected:
        raise RunError(
            f"this run was trained with other weights of {backbone}: "
            f"expected fingerprint {expected[:16]}…, got {found[:16]}…; put the original checkpoint back"
        )
    return make_encoder(build_image_encoder(state), image_size, device, settled_precision(precision, backbone, device))


class FeatureBatches(Protocol):
    """Features of some images in order, in batches, as often as they are asked for."""

    accelerator: Accelerator
    images: int
    """N, how many there are."""

    def __iter__(self) -> Iterator[tuple[ImageFeatures, Tensor]]:
        """(features, positions (B,)) batch by batch."""


class OrderedFeatures:
    """Batches of (features, positions) of some images in order; kept after the first pass if `keep_bytes` allow.

    In data-parallel work each process goes over its own part of every batch, and the last batch is filled up with
    images from the start: `positions` say which.
    """

    def __init__(
        self,
        encoder: FrozenEncoder,
        paths: Sequence[Path],
        accelerator: Accelerator,
        batch_size: int,
        workers: int,
        keep_bytes: float = 0,
    ) -> None:
        self.encoder, self.accelerator, self.images = encoder, accelerator, len(paths)
        dataset = ImageViews(paths, encoder.image_size)
        self.loader = accelerator.prepare(in_order(dataset, whole_batch(batch_size, accelerator), workers))
        self.keep = bytes_of(encoder, len(paths)) <= keep_bytes
        self._kept: list[tuple[ImageFeatures, Tensor]] = []

    def __len__(self) -> int:
        """Batches in one pass."""
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[ImageFeatures, Tensor]]:
        if self._kept:
            yield from ((_on(self.encoder.device, features), positions) for features, positions in self._kept)
            return
        kept = []
        for pixels, positions in batches_of(self.loader):
            features = self.encoder(pixels).map(_compact)
            if self.keep:
                kept.append((features.map(lambda tensor: tensor.cpu()), positions))
            yield _on(self.encoder.device, features), positions
        self._kept = kept


class KeptViews:
    """All views of some images, encoded once; view v of stored image n is row v·stored + n of each tensor."""

    def __init__(self, features: ImageFeatures, views: int, device: torch.device, chosen: Tensor | None = None) -> None:
        """`chosen` (N,) picks N of the stored images, in order; None takes all of them."""
        self.features, self.views, self.device = features, views, device
        self.stored = len(features.pooled) // views
        self.chosen = torch.arange(self.stored) if chosen is None else chosen

    @property
    def images(self) -> int:
        """N, how many images can be selected."""
        return len(self.chosen)

    def select(self, positions: Tensor, views: Tensor) -> ImageFeatures:
        """Features of the images at `positions` (B,), each in its own view (B,), on the device."""
        rows = views * self.stored + self.chosen[positions]
        return _on(self.device, self.features.map(lambda tensor: tensor[rows]))

    def subset(self, positions: Tensor) -> KeptViews:
        """Some of the images, without a copy of their features."""
        return KeptViews(self.features, self.views, self.device, self.chosen[positions])


class KeptOrder:
    """The plain views of kept images, in order and in batches."""

    def __init__(self, kept: KeptViews, accelerator: Accelerator, batch_size: int) -> None:
        self.kept, self.accelerator, self.batch_size = kept, accelerator, batch_size
        self.images = kept.images

    def __iter__(self) -> Iterator[tuple[ImageFeatures, Tensor]]:
        for positions in torch.arange(self.images).split(self.batch_size):
            yield self.kept.select(positions, torch.zeros_like(positions)), positions


def keep_views(
    encoder: FrozenEncoder,
    paths: Sequence[Path],
    config: TrainConfig,
    accelerator: Accelerator,
    progress: Progress,
    what: str = "training images",
) -> KeptViews:
    """Encode `config.views` views of each image; every process ends up with all of them."""
    images, views = len(paths), config.views
    kept = _empty_features(encoder, images * views)
    with progress.task(f"encoding {what}", images * views) as task:
        for view in range(views):
            dataset = ImageViews(paths, encoder.image_size, config.seed, view)
            loader = in_order(dataset, whole_batch(config.batch_size, accelerator), config.workers)
            for pixels, positions in batches_of(accelerator.prepare(loader)):
                features = encoder(pixels).map(_compact)
                rows = accelerator.gather(positions).cpu() + view * images
                for name, tensor in vars(features).items():
                    getattr(kept, name)[rows] = accelerator.gather(tensor).cpu()
                task.advance(len(rows))
    return KeptViews(kept, views, encoder.device)


def views_fit(encoder: FrozenEncoder, images: int, config: TrainConfig) -> bool:
    """Whether `config.views` views of `images` images may be kept under `config.cache_gib`."""
    return config.views > 0 and bytes_of(encoder, images * config.views) <= config.cache_gib * 2**30


def bytes_of(encoder: FrozenEncoder, images: int) -> int:
    """Memory that the kept features of `images` images take."""
    per_position = encoder.module.channels + encoder.module.embed_dim + 1
    return images * KEPT_DTYPE.itemsize * (encoder.positions * per_position + encoder.module.embed_dim)


class TrainingFeatures:
    """Shuffled batches of (features, positions) of the training images."""

    def __init__(self, dataset: Positions | ImageViews, config: TrainConfig, accelerator: Accelerator, workers: int):
        self.accelerator, self.seed, self.images = accelerator, config.seed, len(dataset)
        self.order = EpochOrder(self.images, config.seed)
        batch_size = whole_batch(min(config.batch_size, self.images), accelerator)
        self.loader = accelerator.prepare(shuffled(dataset, self.order, batch_size, workers))
        if not len(self.loader):
            raise RunError(f"{self.images} training images are too few for {accelerator.num_processes} processes")

    def __len__(self) -> int:
        """Steps an epoch."""
        return len(self.loader)

    def epoch(self, epoch: int) -> Iterator[tuple[ImageFeatures, Tensor]]:
        """Batches of epoch 1, 2, …: features, and the positions (B,) of their images."""
        raise NotImplementedError

    def sample(self, images: int) -> ImageFeatures:
        """Features of the first `images` training images in their plain view, in every process the same."""
        raise NotImplementedError


class KeptTraining(TrainingFeatures):
    """Takes a random one of the kept views of each image in every epoch."""

    def __init__(self, kept: KeptViews, config: TrainConfig, accelerator: Accelerator) -> None:
        super().__init__(Positions(kept.images), config, accelerator, workers=0)
        self.kept = kept

    def epoch(self, epoch: int) -> Iterator[tuple[ImageFeatures, Tensor]]:
        self.order.start(epoch)
        generator = make_generator(self.seed, "kept view", epoch)
        views = torch.randint(self.kept.views, (self.images,), generator=generator)
        for positions in self.loader:
            own = positions.cpu()
            yield self.kept.select(own, views[own]), positions

    def sample(self, images: int) -> ImageFeatures:
        positions = torch.arange(min(images, self.images))
        return self.kept.select(positions, torch.zeros_like(positions))


class EncodedTraining(TrainingFeatures):
    """Encodes a new random view of each image in every epoch."""

    def __init__(
        self, encoder: FrozenEncoder, paths: Sequence[Path], config: TrainConfig, accelerator: Accelerator
    ) -> None:
        self.encoder, self.views = encoder, ImageViews(paths, encoder.image_size, config.seed)
        super().__init__(self.views, config, accelerator, config.workers)
        self.batch_size = config.batch_size

    def epoch(self, epoch: int) -> Iterator[tuple[ImageFeatures, Tensor]]:
        self.order.start(epoch)
        self.views.view = epoch
        for pixels, positions in batches_of(self.loader):
            yield self.encoder(pixels), positions

    def sample(self, images: int) -> ImageFeatures:
        plain = ImageViews(self.views.paths[:images], self.encoder.image_size)
        batches = batches_of(in_order(plain, self.batch_size, workers=0))
        return ImageFeatures.concatenate([self.encoder(pixels) for pixels, _ in batches])


def training_features(
    encoder: FrozenEncoder, paths: Sequence[Path], config: TrainConfig, accelerator: Accelerator, progress: Progress
) -> TrainingFeatures:
    """Training features as `config` asks: from kept views where they fit in memory, else encoded as they come."""
    if views_fit(encoder, len(paths), config):
        return KeptTraining(keep_views(encoder, paths, config, accelerator, progress), config, accelerator)
    if config.views:
        progress.note(f"kept views would need more than {config.cache_gib:g} GiB: encoding anew every epoch")
    return EncodedTraining(encoder, paths, config, accelerator)


def whole_batch(size: int, accelerator: Accelerator) -> int:
    """`size` rounded down to a multiple of the number of processes, and at least one image each."""
    return max(size // accelerator.num_processes, 1) * accelerator.num_processes


def _empty_features(encoder: FrozenEncoder, rows: int) -> ImageFeatures:
    positions, channels, embed_dim = encoder.positions, encoder.module.channels, encoder.module.embed_dim
    shapes = {
        "grid": (rows, positions, channels),
        "joint": (rows, positions, embed_dim),
        "pooled": (rows, embed_dim),
        "attention": (rows, positions),
    }
    return ImageFeatures(**{name: torch.empty(shape, dtype=KEPT_DTYPE) for name, shape in shapes.items()})


def _compact(tensor: Tensor) -> Tensor:
    return tensor.to(KEPT_DTYPE)


def _on(device: torch.device, features: ImageFeatures) -> ImageFeatures:
    return features.map(lambda tensor: tensor.to(device, non_blocking=True).float())
