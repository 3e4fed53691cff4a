"""A trained run, loaded: what evaluation, prediction and a sweep score images with."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from mlrpl_cli.core.backbones.checkpoints import load_state
from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.backbones.frozen import FrozenEncoder, make_encoder
from mlrpl_cli.core.backbones.openai.architectures import VISUAL
from mlrpl_cli.core.config import AUTO
from mlrpl_cli.core.heads.methods import rebuild_recognizer
from mlrpl_cli.core.heads.recognizers import Recognition
from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.runs.folder import BEST, RECOGNIZER, TEXT_FEATURES, Checkpoint, fitting, load_checkpoint


class TrainedHead(nn.Module):
    """The recognizer of a checkpoint with its stored text features: no text encoder, no tokenizer, frozen."""

    text: Tensor
    """Text features (C, E), or (2C, E) for pairs: neither tokenizer nor text encoder is needed."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Raises RunError for tensors that no recognizer of the checkpoint's method and classes has."""
        super().__init__()
        self.info = info = checkpoint.info
        with fitting(info):  # its sizes are read off the tensors
            self.recognizer = rebuild_recognizer(info.method, len(info.classes), checkpoint.group(RECOGNIZER))
        self.register_buffer("text", checkpoint.tensors[TEXT_FEATURES])

    @classmethod
    def of_run(cls, run: Path, which: str = BEST) -> TrainedHead:
        """The head of a run's "best" or "last" checkpoint, on the CPU. Raises what `load_checkpoint` raises."""
        return cls(load_checkpoint(run, which))

    def forward(self, features: ImageFeatures) -> Recognition:
        """Frozen features of B images → logits (B, C) and attention."""
        return self.recognizer(features, self.text)

    def load_encoder(
        self, device: torch.device, precision: str = AUTO, progress: Progress | None = None
    ) -> FrozenEncoder:
        """The image encoder that the run was trained with, in `precision`; "auto" is the run's own.

        Raises RunError when its weights are no longer the same, and WeightsError when they cannot be loaded.
        """
        info, state = self.info, load_state(self.info.backbone, progress, VISUAL)
        encoder = make_encoder(state, info.image_size, device, info.precision if precision == AUTO else precision)
        if encoder.fingerprint != info.fingerprint:
            raise RunError(
                f"this run was trained with other weights of {info.backbone}: expected fingerprint "
                f"{info.fingerprint[:16]}…, got {encoder.fingerprint[:16]}…; put the original checkpoint back"
            )
        return encoder
