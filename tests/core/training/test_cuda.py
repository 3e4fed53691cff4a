"""A GPU computes what a CPU does, in float32; where there is none, a second CPU stands in for it."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from mlrpl_cli.core.backbones.frozen import make_encoder
from mlrpl_cli.core.backbones.openai.architectures import (
    Architecture,
    ImageArchitecture,
    TextArchitecture,
    build_text_encoder,
    random_state,
)
from mlrpl_cli.core.config import FLOAT16, UINT8, make_config
from mlrpl_cli.core.evaluation.evaluate import evaluate
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.features.cache import FeatureCache, decoded, view_key
from mlrpl_cli.core.heads.bilinear import bilinear_scores
from mlrpl_cli.core.prediction.predictor import Predictor
from mlrpl_cli.core.runs.folder import read_log
from mlrpl_cli.core.training.train import train
from tests import small
from tests.core.heads.test_recognizers import random_features

CPU, CUDA = torch.device("cpu"), torch.device("cuda" if torch.cuda.is_available() else "cpu")
VIT = Architecture(ImageArchitecture((2,), 64, 8, small.SIZE, 32), TextArchitecture(64, 1, 8))


@pytest.fixture(autouse=True)
def _exact_convolutions():
    """TF32 keeps 10 bits of a factor: its differences would hide others."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("cuda")
    return {
        "data": str(small.write_prepared(folder / "prepared")),
        "backbone": str(small.write_backbone(folder / "clip.safetensors")),
        **small.OPTIONS,
        "epochs": 2,
    }


def fitted(flags: dict, run: Path, device: torch.device) -> Path:
    """A run trained on `device`, with a cache of its own."""
    own = {"run": str(run), "cache": str(run.with_name(run.name + "-cache")), "device": device.type}
    return train(make_config(flags={**flags, **own})).run


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_close(got: torch.Tensor, expected: torch.Tensor) -> None:
    assert got.device.type == CUDA.type
    torch.testing.assert_close(got.cpu(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", [small.ARCHITECTURE, VIT], ids=["ResNet", "ViT"])
def test_the_encoder_gives_the_same_features_on_cuda(architecture):
    state = random_state(architecture, 0)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3, 3, small.SIZE, small.SIZE), generator=generator, dtype=torch.uint8)
    expected, got = (make_encoder(small.backbone(state), small.SIZE, device)(pixels) for device in (CPU, CUDA))
    for field in fields(got):
        assert_close(getattr(got, field.name), getattr(expected, field.name))


def test_the_text_encoder_and_its_gradient_are_the_same_on_cuda():
    """Prompts of three lengths, through the folded encoder that training uses."""
    state = random_state(small.ARCHITECTURE, 0)
    end, results = torch.tensor([6, 3, 6, 4]), []
    for device in (CPU, CUDA):
        encoder = build_text_encoder(state)
        encoder.fold()
        embeddings = random(4, 7, encoder.width).to(device).requires_grad_()
        features = encoder.to(device)(embeddings, end.to(device))
        features.backward(random(*features.shape, seed=1).to(device))
        results.append([features.detach(), embeddings.grad])
    for expected, got in zip(*results, strict=True):
        assert_close(got, expected)


def test_bilinear_scores_and_their_gradients_are_the_same_on_cuda():
    results = []
    for device in (CPU, CUDA):
        given = [random(2, 9, 6), random(4, 6, seed=1), random(6, seed=2)]
        given = [tensor.to(device).requires_grad_() for tensor in given]
        scores = bilinear_scores(*given)
        scores.backward(random(*scores.shape, seed=3).to(device))
        results.append([scores.detach(), *(tensor.grad for tensor in given)])
    for expected, got in zip(*results, strict=True):
        assert_close(got, expected)


@pytest.mark.parametrize("dtype", [FLOAT16, UINT8])
def test_features_written_from_cuda_are_read_onto_cuda(tmp_path, dtype):
    features, keys = random_features(2), [view_key(f"{n:064x}", 0) for n in range(2)]
    FeatureCache(tmp_path / "cpu", dtype).put(keys, features)
    FeatureCache(tmp_path / "cuda", dtype).put(keys, features.map(lambda tensor: tensor.to(CUDA)))
    expected = decoded(FeatureCache(tmp_path / "cpu", dtype).get(keys), CPU, torch.float32)
    got = decoded(FeatureCache(tmp_path / "cuda", dtype).get(keys), CUDA, torch.float32)
    for field in fields(got):
        assert_close(getattr(got, field.name), getattr(expected, field.name))


def test_a_run_trained_on_the_cpu_predicts_the_same_on_cuda(flags, tmp_path):
    run = fitted(flags, tmp_path / "run", CPU)
    pixels = np.random.default_rng(0).integers(0, 256, (3, small.SIZE, small.SIZE, 3), dtype=np.uint8)
    expected, got = (Predictor.from_run(run, device=device.type).predict(pixels) for device in (CPU, CUDA))
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("views", [0, 2], ids=["without a cache", "with a cache"])
def test_training_on_cuda_comes_to_the_same_metrics(flags, tmp_path, views):
    """Two epochs; the run that was trained on the GPU is evaluated on the CPU."""
    logs = {}
    for name, device in (("cpu", CPU), ("cuda", CUDA)):
        run = fitted({**flags, "views": views}, tmp_path / name, device)
        logs[name] = read_log(run)
    for got, expected in zip(logs["cuda"], logs["cpu"], strict=True):
        assert got["loss"] == pytest.approx(expected["loss"], rel=1e-3)
        assert got["map"] == pytest.approx(expected["map"], abs=0.02)
    result = evaluate(EvaluationOptions(run, checkpoint="last", split="validation", workers=0, device="cpu"))
    assert result.metrics.mean_average_precision == pytest.approx(logs["cuda"][-1]["map"], abs=0.02)
