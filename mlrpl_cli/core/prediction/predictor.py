"""A trained run, or a backbone alone, in PyTorch. Axes: B images, C classes, H·W = P grid positions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mlrpl_cli.core.backbones.backbone import BackboneOptions
from mlrpl_cli.core.backbones.frozen import FrozenEncoder, make_encoder
from mlrpl_cli.core.backbones.registry import load_backbone
from mlrpl_cli.core.config import BEST
from mlrpl_cli.core.heads.text_inputs import check_class_names
from mlrpl_cli.core.io.devices import choose_device
from mlrpl_cli.core.io.errors import WeightsError
from mlrpl_cli.core.prediction.images import ImagePredictor, Prediction
from mlrpl_cli.core.runs.checkpoint import TrainedHead
from mlrpl_cli.core.runs.decided.decisions import Decision
from mlrpl_cli.core.runs.trained import TrainedRun, read_run


class Predictor(ImagePredictor):
    """A trained run, or a backbone alone, loaded once; images in, probabilities and maps out."""

    def __init__(self, head: nn.Module, encoder: FrozenEncoder, classes: Sequence[str]) -> None:
        """`head` makes a `Recognition` of C `classes` out of the encoder's features."""
        self.head, self.encoder, self.classes = head.to(encoder.device), encoder, tuple(classes)
        self.decision: Decision | None = None
        """How a run's scores become decisions; None for one without held-out images, and for a backbone alone."""
        self.checkpoint_sha256: str | None = None
        """Of the content of a run's checkpoint; None for a backbone alone."""
        self.notice: str | None = None
        """Why a run's decisions are not of its checkpoint, where that is so."""

    @classmethod
    def from_run(
        cls,
        run: str | Path | TrainedRun | None = None,
        checkpoint: str = BEST,
        device: str = "auto",
        backbone: str | None = None,
    ) -> TrainedPredictor:
        """Load `run`, a folder or a file of `pack` (None: the newest), and the backbone it was trained with.

        `backbone` says where that is, if it is not where the run says. Raises RunError or WeightsError.
        """
        trained = run if isinstance(run, TrainedRun) else read_run(run, checkpoint)
        head = TrainedHead(trained.checkpoint)
        encoder, _ = trained.load_encoder(head, choose_device(device), backbone=backbone)
        found = TrainedPredictor(head, encoder)
        found.decision, found.notice = trained.decision, trained.notice
        found.checkpoint_sha256 = trained.sha256
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
    def input(self) -> tuple[int, str]:
        return self.encoder.image_size, self.encoder.rule.resampling

    @property
    def takes_turns(self) -> bool:
        return self.encoder.device.type == "cpu"

    @property
    def calibrated(self) -> bool:
        return self.decision is not None and self.decision.calibration.checked

    @property
    def uncalibrated(self) -> tuple[str, ...]:
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

    def _prediction(self, path: Path, *scores: np.ndarray) -> Prediction:
        """Of the logits (C,) of an image and its attention."""
        logits, attention = scores
        (p,), told = self._probabilities(logits[None]), None
        if self.decision and self.calibrated:
            told = tuple(self.decision.verdicts(logits[None], self.learnable)[0].tolist())
        return Prediction(path, p, attention, self.learnable, _sigmoid(logits), told, self.calibrated)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return torch.sigmoid(torch.from_numpy(logits)).numpy()


class TrainedPredictor(Predictor):
    """A trained run and the backbone that it was trained with."""

    def __init__(self, head: TrainedHead, encoder: FrozenEncoder) -> None:
        super().__init__(head, encoder, head.info.classes)
        self.info, self.learnable, self.allow_truncated = head.info, head.info.learnable, head.info.allow_truncated
