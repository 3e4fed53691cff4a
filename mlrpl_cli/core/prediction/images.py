"""Image files through whatever recognises classes in them, a batch at a time. Axes: B images, C classes, H x W grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from mlrpl_cli.core.images.decode import EncodedImage, load_pixels
from mlrpl_cli.core.images.loading import ahead
from mlrpl_cli.core.io.devices import decoding_workers
from mlrpl_cli.core.io.errors import ConfigError, DataError, did_you_mean

T = TypeVar("T")

TOP_K = 3
"""How many classes are told where there is little room and nothing else is asked for."""


@dataclass(frozen=True)
class Prediction:
    """What a run says of one image."""

    path: Path
    probabilities: np.ndarray
    """(C,) float32 in [0, 1], independent per class."""
    attention: np.ndarray
    """(C, H, W) float32 where each class's feature was taken from; a class's map sums to at most 1."""
    learnable: tuple[bool, ...] | None = None
    """(C,) whether the run could learn each class; None where it is not known."""
    raw: np.ndarray | None = None
    """(C,) float32 in [0, 1], before calibration; the probabilities themselves where there is none."""
    decisions: tuple[str, ...] | None = None
    """(C,) "yes", "no" or "unsure"; None where no threshold was chosen."""
    calibrated: bool = False
    """Whether the probabilities were calibrated by held-out cells."""


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be predicted, and why."""

    path: Path
    reason: str


class ImagePredictor:
    """Predicts image files; what computes is a subclass's."""

    classes: tuple[str, ...]
    learnable: tuple[bool, ...] | None = None
    """(C,) whether a run could learn each class; None where it is not known."""
    allow_truncated: bool = False
    """Whether JPEGs may lack their last bytes."""

    @property
    def input(self) -> tuple[int, str]:
        """S, the side of the images that are computed, and how they are resized to it."""
        raise NotImplementedError

    @property
    def takes_turns(self) -> bool:
        """Whether decoding waits while a batch is computed, since both need the same cores."""
        raise NotImplementedError

    @property
    def calibrated(self) -> bool:
        """Whether probabilities are calibrated by held-out cells of the run."""
        raise NotImplementedError

    @property
    def uncalibrated(self) -> tuple[str, ...]:
        """Classes whose probabilities are as the method gives them."""
        raise NotImplementedError

    def _scores(self, pixels: np.ndarray) -> tuple[np.ndarray, ...]:
        """(B, S, S, 3) uint8 → arrays of B rows each, of which `_prediction` takes one image's."""
        raise NotImplementedError

    def _prediction(self, path: Path, *scores: np.ndarray) -> Prediction:
        """Of the rows of one image."""
        raise NotImplementedError

    def predict_files(
        self, paths: Iterable[Path], batch_size: int = 32, workers: int | None = None
    ) -> Iterator[Prediction | Unreadable]:
        """One result for each path, in order."""
        return self.predict_images(paths, lambda path: path, batch_size, workers)

    def predict_images(
        self,
        images: Iterable[T],
        encoded: Callable[[T], Path | EncodedImage],
        batch_size: int = 32,
        workers: int | None = None,
    ) -> Iterator[Prediction | Unreadable]:
        """One result for each of `images`, in order; `encoded` fetches one, and raises DataError where it cannot.

        The next batch is decoded while a GPU computes this one. On a CPU the two would take the cores from each other,
        and the threads of a matrix product wait for the slowest: there, decoding and computing take turns. No more
        than two batches are held.
        """
        rest = iter(images)
        batches = iter(lambda: list(islice(rest, batch_size)), [])
        with ThreadPoolExecutor(max(decoding_workers(workers), 1)) as pool:
            decoded = (list(pool.map(lambda image: self._load(image, encoded), batch)) for batch in batches)
            for loaded in decoded if self.takes_turns else ahead(decoded):
                pixels = [image for _, image in loaded if not isinstance(image, Unreadable)]
                results = zip(*self._scores(np.stack(pixels)), strict=True) if pixels else iter(())
                for path, image in loaded:
                    yield image if isinstance(image, Unreadable) else self._prediction(path, *next(results))

    def class_index(self, name: str) -> int:
        """The position of a class. Raises ConfigError, naming the closest one, for a name the run does not know."""
        if name not in self.classes:
            raise ConfigError(f"the run knows no class '{name}'; {did_you_mean(name, self.classes)}")
        return self.classes.index(name)

    def selection(
        self,
        classes: Sequence[str] | None = None,
        top_k: int | None = None,
        threshold: float | None = None,
        few: bool = False,
    ) -> Callable[[np.ndarray], list[tuple[str, float]]]:
        """What picks (class, probability), most probable first, out of an image's probabilities (C,).

        Of the named `classes`, or of all. With both limits a class must pass both. With `few`, the TOP_K most probable
        where nothing at all is asked for. Raises ConfigError for a class that the run does not know.
        """
        columns = [self.class_index(name) for name in classes or ()] or range(len(self.classes))
        most = TOP_K if few and top_k is None and threshold is None and classes is None else top_k

        def selected(probabilities: np.ndarray) -> list[tuple[str, float]]:
            scores = sorted(((self.classes[c], float(probabilities[c])) for c in columns), key=lambda pair: -pair[1])
            return [pair for pair in scores if threshold is None or pair[1] > threshold][:most]

        return selected

    def _load(self, image: T, encoded: Callable[[T], Path | EncodedImage]) -> tuple[Path, np.ndarray | Unreadable]:
        path, (size, resampling) = Path(str(image)), self.input
        try:
            return path, load_pixels(encoded(image), size, self.allow_truncated, resampling)
        except DataError as error:
            return path, Unreadable(path, str(error))
