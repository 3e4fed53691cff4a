"""Prediction on image files with a trained run. Axes: B images, C classes, H·W = P grid positions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from mlrpl_cli.core.backbones.backbone import BackboneOptions
from mlrpl_cli.core.backbones.frozen import FrozenEncoder, make_encoder
from mlrpl_cli.core.backbones.registry import load_backbone
from mlrpl_cli.core.config import BEST
from mlrpl_cli.core.heads.text_inputs import check_class_names
from mlrpl_cli.core.images.decode import EncodedImage, load_pixels
from mlrpl_cli.core.images.loading import ahead
from mlrpl_cli.core.io.devices import choose_device, decoding_workers
from mlrpl_cli.core.io.errors import ConfigError, DataError, WeightsError, did_you_mean
from mlrpl_cli.core.runs.checkpoint import TrainedHead, load_checkpoint
from mlrpl_cli.core.runs.decided.decisions import Decision, decision_of
from mlrpl_cli.core.runs.folder import newest_run

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


class Predictor:
    """A trained run, or a backbone alone, loaded once; images in, probabilities and maps out."""

    def __init__(self, head: nn.Module, encoder: FrozenEncoder, classes: Sequence[str]) -> None:
        """`head` makes a `Recognition` of C `classes` out of the encoder's features."""
        self.head, self.encoder, self.classes = head.to(encoder.device), encoder, tuple(classes)
        self.learnable: tuple[bool, ...] | None = None
        """(C,) whether a run could learn each class; None where it is not known."""
        self.allow_truncated = False
        """Whether JPEGs may lack their last bytes."""
        self.decision: Decision | None = None
        """How a run's scores become decisions; None for one without held-out images, and for a backbone alone."""
        self.notice: str | None = None
        """Why a run's decisions are not of its checkpoint, where that is so."""

    @classmethod
    def from_run(cls, run: str | Path | None = None, checkpoint: str = BEST, device: str = "auto") -> TrainedPredictor:
        """Load `run` (None: the newest) and the backbone it was trained with. Raises RunError or WeightsError."""
        run = newest_run() if run is None else Path(run)
        head = TrainedHead(load_checkpoint(run, checkpoint))
        found = TrainedPredictor(head, head.load_encoder(choose_device(device)))
        found.decision, found.notice = decision_of(run, checkpoint, len(found.classes))
        return found

    @classmethod
    def from_backbone(
        cls, name: str, classes: Sequence[str], config: str | None = None, device: str = "auto"
    ) -> Predictor:
        """A backbone as it is, at the size of its training, for any `classes`: its probabilities are uncalibrated.

        `config` says what the tensors of a file do not. Raises WeightsError, and ConfigError like `ZeroShotHead`.
        """
        check_class_names(classes)
        backbone = load_backbone(BackboneOptions(name, config))
        encoder = make_encoder(backbone, backbone.rule.size, choose_device(device))
        from mlrpl_cli.core.prediction.zero_shot import ZeroShotHead  # it brings the tokenizer, which runs do without

        return cls(ZeroShotHead(backbone, classes), encoder, classes)

    @property
    def calibrated(self) -> bool:
        """Whether probabilities are calibrated by held-out cells of the run."""
        return self.decision is not None and self.decision.calibration.checked

    @property
    def uncalibrated(self) -> tuple[str, ...]:
        """Classes whose probabilities are as the method gives them."""
        if self.decision is None or not self.calibrated:
            return self.classes
        return tuple(self.classes[column] for column in self.decision.calibration.unlike)

    def predict(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, S, S, 3) uint8 of the run's image size → probabilities (B, C) and attention (B, C, H, W), float32.

        They are calibrated where the predictor is.
        """
        logits, attention = self._scores(pixels)
        return self._probabilities(logits), attention

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(B, C) logits → (B, C) float32."""
        return self.decision.probabilities(logits) if self.decision else _sigmoid(logits)

    @torch.no_grad()
    def _scores(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same as `predict`, of logits (B, C) float32. Raises WeightsError where one is NaN or infinite."""
        features = self.encoder(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()))
        recognition = self.head(features)
        side = self.encoder.grid_side
        attention = recognition.attention.reshape(len(pixels), len(self.classes), side, side)
        logits = recognition.logits.float().cpu().numpy()
        if not np.isfinite(logits).all():
            raise WeightsError("the backbone's features are NaN or infinite; use precision float32, or other weights")
        return logits, attention.float().cpu().numpy()

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
            taking_turns = self.encoder.device.type == "cpu"
            for loaded in decoded if taking_turns else ahead(decoded):
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

    def _prediction(self, path: Path, logits: np.ndarray, attention: np.ndarray) -> Prediction:
        """Of the logits (C,) of an image."""
        (p,), told = self._probabilities(logits[None]), None
        if self.decision and self.calibrated:
            told = tuple(self.decision.verdicts(logits[None], self.learnable)[0].tolist())
        return Prediction(path, p, attention, self.learnable, _sigmoid(logits), told, self.calibrated)

    def _load(self, image: T, encoded: Callable[[T], Path | EncodedImage]) -> tuple[Path, np.ndarray | Unreadable]:
        path = Path(str(image))
        try:
            rule, size = self.encoder.rule, self.encoder.image_size
            return path, load_pixels(encoded(image), size, self.allow_truncated, rule.resampling)
        except DataError as error:
            return path, Unreadable(path, str(error))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return torch.sigmoid(torch.from_numpy(logits)).numpy()


class TrainedPredictor(Predictor):
    """A trained run and the backbone that it was trained with."""

    def __init__(self, head: TrainedHead, encoder: FrozenEncoder) -> None:
        super().__init__(head, encoder, head.info.classes)
        self.info, self.learnable, self.allow_truncated = head.info, head.info.learnable, head.info.allow_truncated
