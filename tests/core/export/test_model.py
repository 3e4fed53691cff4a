"""The module that becomes a file: it computes what the run computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim

from mlrpl_cli.core.backbones.backbone import ImageTower
from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.export.model import Calibrating, Deciding, RunModel
from mlrpl_cli.core.export.tracing import MOST, TowerAlone, converted, traced
from mlrpl_cli.core.heads.bilinear import bilinear_scores
from mlrpl_cli.core.heads.recognizers import Recognition
from mlrpl_cli.core.io.errors import ConfigError, WeightsError
from mlrpl_cli.core.prediction.predictor import Predictor
from mlrpl_cli.core.runs.decided.calibration import FAMILIES, IDENTITY, SLOPES, Calibration
from mlrpl_cli.core.runs.decided.decisions import Decision, Measured
from mlrpl_cli.core.runs.decided.objective import Objective
from mlrpl_cli.core.runs.decided.verdicts import verdicts
from scripts.small_backbones import backbone_of, lively_state, model_cfg
from tests import small
from tests.core.export.exported import NUMBERS, assert_same, by_run, pixels, trained

CLASSES = 40


def drawn(family: str, seed: int) -> Decision:
    """A decision of random coefficients; the thresholds have 0, 1 and none among them."""
    generator, size = np.random.default_rng(seed), len(IDENTITY[family])
    coefficients = generator.normal(0, 1, (CLASSES, size))
    coefficients[:, : SLOPES[family]] = np.abs(coefficients[:, : SLOPES[family]]) + 0.1
    roots = generator.normal(0, 0.2, (CLASSES, size, size))
    counts, shared = np.ones(CLASSES, int), np.zeros(CLASSES, bool)
    calibration = Calibration(family, coefficients, roots @ roots.transpose(0, 2, 1), counts, counts, shared, 1.0)
    thresholds = generator.random(CLASSES)
    thresholds[:3] = 0, 1, np.nan
    measured = Measured(None, None, None)
    return Decision("", "validation", 1, Objective(), calibration, thresholds, measured, measured)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(3))
def test_calibration_and_decisions_of_a_graph_are_those_of_the_run(family: str, seed: int) -> None:
    """All but ties, of which 200 images by 40 classes have none: of each class some logits are far out."""
    made = drawn(family, seed)
    logits = np.random.default_rng(seed).normal(0, 6, (200, CLASSES)).astype(np.float32)
    logits[:, 1] *= 20  # whose threshold is 1, which float64 reaches
    learnable = tuple(column % 7 != 5 for column in range(CLASSES))
    given = torch.from_numpy(logits)
    calibrated = Calibrating(made.calibration)(given)
    np.testing.assert_allclose(torch.sigmoid(calibrated).numpy(), made.probabilities(logits), atol=2e-6)
    expected = verdicts(logits, made.calibration, made.thresholds, np.array(learnable))
    assert {*expected[:, 1]} >= {"yes", "no"}
    found = Deciding(made, learnable)(given, calibrated).numpy()
    np.testing.assert_array_equal(found, np.vectorize(NUMBERS.get)(expected))
    assert {*np.unique(found)} == {-1, 0, 1}


@pytest.mark.parametrize("classes", [1, 3, 64, 130])
def test_scores_of_a_traced_graph_are_those_of_the_tiles(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    arguments = [torch.randn(shape, generator=generator) for shape in ((2, 5, 6), (classes, 6), (6,))]
    tiled = bilinear_scores(*arguments)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(bilinear_scores(*arguments), tiled)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(small.write_training(tmp_path_factory.mktemp("trained"), epochs=1))


def model_of(run: Path) -> RunModel:
    found = Predictor.from_run(run, device="cpu")
    return RunModel(found.encoder, found.head, found.decision)


def test_the_module_says_what_the_predictor_says(run: Path) -> None:
    images = pixels()
    found = [tensor.numpy() for tensor in model_of(run)(torch.from_numpy(images))]
    assert_same(found, by_run(run, images))
    assert {*np.unique(found[2])} >= {-1, 1}


def test_a_run_that_does_not_decide_is_unsure_of_all(run: Path) -> None:
    found = Predictor.from_run(run, device="cpu")
    probabilities, raw, decisions, _ = RunModel(found.encoder, found.head, None)(torch.from_numpy(pixels()))
    assert torch.equal(probabilities, raw)
    assert not decisions.any()


@pytest.mark.parametrize("family", ["CLIPA ViT", "SigLIP, SigLIP 2", "CoCa ViT", "timm ResNet, abs_attn"])
def test_towers_of_open_clip_are_traced_with_any_number_of_images(family: str) -> None:
    """Of each kind of pool one: what a tower takes for a constant shows when another number of images comes."""
    architecture = model_cfg(family)
    backbone = backbone_of(architecture, lively_state(architecture))
    size = backbone.rule.size
    tower = backbone.image_tower(size)
    program = traced(TowerAlone(tower), torch.zeros(2, 3, size, size), {0: Dim("batch", max=MOST)})
    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    expected = vars(tower(images)).values()
    for one, other in zip(program.module()(images), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


class Stubborn(ImageTower):
    """Looks at its values to choose what to compute, which no graph can."""

    def forward(self, images: torch.Tensor) -> ImageFeatures:
        grid = images.flatten(2).transpose(1, 2) if images.sum() > 0 else images
        return ImageFeatures(grid, grid, grid[:, 0], grid[..., 0])


class StubbornHead(nn.Module):
    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.info = replace(head.info, method="sarl")

    def forward(self, features: ImageFeatures) -> Recognition:
        logits = features.pooled[:, :3]
        return Recognition(logits, logits[..., None].expand(-1, -1, 4) if logits.sum() > 0 else logits)


def test_a_backbone_and_a_method_whose_modules_cannot_be_traced_are_named(run: Path) -> None:
    model = model_of(run)
    name = model.head.info.backbone
    model.tower = Stubborn()
    with pytest.raises(WeightsError, match=f"the modules of the backbone '{name}' cannot be exported: "):
        converted(model, lambda program: program)
    model = model_of(run)
    model.head = StubbornHead(model.head)
    with pytest.raises(ConfigError, match=r"the method 'sarl' of mlrpl cannot be exported: .*; train with another"):
        converted(model, lambda program: program)
