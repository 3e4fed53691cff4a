"""A backbone without a run: its own logits, and what they are compared with."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.prediction.zero_shot import ZeroShotHead
from tests import small

NAMES = ("dog", "traffic light", "cat")


def features(seed: int = 0) -> ImageFeatures:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((2, 4, 64), (2, 4, 8), (2, 8), (2, 4))
    return ImageFeatures(*(torch.randn(shape, generator=generator) for shape in shapes))


def cosines(head: ZeroShotHead, pooled: torch.Tensor) -> np.ndarray:
    pooled = pooled.double().numpy()
    return pooled @ head.text.double().numpy().T / np.linalg.norm(pooled, axis=1, keepdims=True)


def test_clip_says_the_softmax_over_the_names_at_its_own_scale():
    backbone = small.backbone()
    head, given = ZeroShotHead(backbone, NAMES), features()
    scores = np.exp(math.exp(backbone.logit_scale) * cosines(head, given.pooled))
    expected = scores / scores.sum(axis=1, keepdims=True)
    recognition = head(given)
    np.testing.assert_allclose(torch.sigmoid(recognition.logits).numpy(), expected, rtol=1e-4)
    assert recognition.attention.shape == (2, 3, 4)


def test_a_backbone_with_a_bias_says_of_each_name_by_itself():
    record = {"logit_scale": math.log(10), "logit_bias": -3.0}
    head, given = ZeroShotHead(replace(small.backbone(), record=record), NAMES[:1]), features()
    np.testing.assert_allclose(head(given).logits.numpy(), 10 * cosines(head, given.pooled) - 3, rtol=1e-4, atol=1e-5)


def test_one_name_cannot_be_compared():
    with pytest.raises(ConfigError, match=r"small only says which of several classes fits best, got one"):
        ZeroShotHead(small.backbone(), ["dog"])


@pytest.fixture
def image(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small.write_backbone(tmp_path / "clip.safetensors")
    Image.new("RGB", (80, 50), "red").save("a.png")
    return "a.png"


def test_the_command_predicts_without_a_run_and_says_that_it_is_uncalibrated(image, mlrpl):
    done = mlrpl("predict", image, "--backbone", "clip.safetensors", "--classes", "dog, cat", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert "uncalibrated" in told["warnings"][0]
    assert "uncalibrated" in done.err
    classes = told["result"][0]["classes"]
    assert {entry["class"] for entry in classes} == {"dog", "cat"}
    assert sum(entry["probability"] for entry in classes) == pytest.approx(1)
    assert told["backbone_sha256"] == small.backbone().fingerprint


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--backbone", "clip.safetensors"], 'needs the names to look for; add --classes "cat, dog, sofa"'),
        (
            ["--run", "run", "--backbone", "clip.safetensors", "--backbone-config", "openai"],
            "a run knows its own, leave",
        ),
        (["--backbone", "clip.safetensors", "--classes", "a,b", "--checkpoint", "last"], "--checkpoint is of a run"),
        (["--backbone", "tiny", "--classes", "a,b", "--backbone-config", "openai"], "tiny says all of itself"),
        (["--backbone-config", "openai"], "--backbone-config is for --backbone without a run; a run knows its own"),
        (["--backbone", "RN5O", "--classes", "a,b"], "did you mean 'RN50'?"),
    ],
)
def test_what_does_not_go_together_is_told(image, mlrpl, options, told):
    done = mlrpl("predict", image, *options)
    assert (done.code, told in done.err) == (1, True), done.err


def test_lite_recognises_photographs_from_the_command_line(mlrpl, monkeypatch, fitted_lite):
    photographs = Path(pytest.importorskip("skimage").__file__).parent / "data"
    expected = {"chelsea.png": "cat", "coffee.png": "coffee cup", "rocket.jpg": "rocket"}
    monkeypatch.setenv("MLRPL_CACHE", str(fitted_lite))
    names = "astronaut, bicycle, cat, coffee cup, dog, motorcycle, rocket, sofa, train"
    images = [str(photographs / name) for name in expected]
    done = mlrpl("predict", *images, "--backbone", "lite", "--classes", names, "--json")
    assert done.code == 0, done.err
    found = {Path(row["image"]).name: row["classes"][0]["class"] for row in json.loads(done.out)["result"]}
    assert found == expected
