"""Small runs with thresholds, and what their model files say of pixels."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from mlrpl_cli.core.backbones.openai.architectures import (
    Architecture,
    ImageArchitecture,
    random_state,
)
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.decisions.of_run import decision
from mlrpl_cli.core.prediction.predictor import Predictor
from mlrpl_cli.core.runs.decided.decisions import write_decisions
from mlrpl_cli.core.runs.decided.objective import parse_objective
from mlrpl_cli.core.runs.decided.scores import VALIDATION, HeldOut, checkpoint_sha256
from mlrpl_cli.core.runs.decided.verdicts import NO, UNSURE, YES
from mlrpl_cli.core.training.train import train
from tests import small

needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))), reason="pip install 'mlrpl[onnx]'"
)
NUMBERS = {YES: 1, UNSURE: 0, NO: -1}
CLOSE = 1e-4
"""How far probabilities of a file may be from those of its run."""


def write_vit(path: Path) -> Path:
    """An untrained CLIP of the other form than `small`'s: one block of a ViT, 64 channels and 2×2 positions."""
    image = ImageArchitecture((1,), 64, 8, small.SIZE, 32)
    save_file({**random_state(Architecture(image, small.ARCHITECTURE.text), 0), **small.OPENAI_MARKS}, path)
    return path


def decided(run: Path) -> Path:
    """The run, with a calibration and thresholds of scores that were drawn around 0."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 1, (90, 3)).astype(np.float32)
    labels = np.where(generator.random((90, 3)) < 1 / (1 + np.exp(-2 * logits)), 1, -1).astype(np.int8)
    held = HeldOut(checkpoint_sha256(run, "best") or "", VALIDATION, np.arange(90), labels, logits)
    write_decisions(run, small.CLASSES, {"best": decision(held, parse_objective("f1"), 0)})
    return run


def trained(options: dict[str, Any], **more: Any) -> Path:
    """A run of an epoch that decides."""
    return decided(train(TrainConfig(**options | more)).run)


def pixels(images: int = 12, size: int = small.SIZE) -> np.ndarray:
    """(B, S, S, 3) uint8 of all colours and contrasts."""
    generator = np.random.default_rng(1)
    tint, spread = generator.uniform(0, 255, (images, 1, 1, 3)), generator.uniform(5, 80, (images, 1, 1, 1))
    return np.clip(tint + spread * generator.normal(size=(images, size, size, 3)), 0, 255).astype(np.uint8)


def by_run(run: Path, images: np.ndarray) -> list[np.ndarray]:
    """What the run itself says, in the order of the file's outputs."""
    predictor = Predictor.from_run(run, device="cpu")
    logits, attention = predictor._scores(images)
    assert predictor.decision is not None
    told = predictor.decision.verdicts(logits, predictor.learnable)
    raw = 1 / (1 + np.exp(-logits.astype(float)))
    return [predictor.decision.probabilities(logits), raw, np.vectorize(NUMBERS.get)(told).astype(np.int8), attention]


def assert_same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Equal decisions, everything else to CLOSE."""
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=0 if one.dtype == np.int8 else CLOSE)
    assert [one.dtype for one in found] == [np.float32, np.float32, np.int8, np.float32]
