import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from mlrpl_cli.core.backbones.backbone import CLIP_RULE
from mlrpl_cli.core.config import make_config
from mlrpl_cli.core.evaluation.evaluate import evaluate
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.io.errors import ConfigError, RunError
from mlrpl_cli.core.prediction.images import Prediction, Unreadable
from mlrpl_cli.core.prediction.predictor import Predictor
from mlrpl_cli.core.prepared.folder import read_prepared
from mlrpl_cli.core.runs.checkpoint import load_checkpoint
from mlrpl_cli.core.training.train import train
from tests import small


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return train(make_config(flags=small.write_training(folder, epochs=2))).run


def test_prediction_gives_the_probabilities_that_evaluation_gives(run):
    """Two code paths over the same images: batches of features there, decoded files here."""
    result = evaluate(EvaluationOptions(run=run, workers=0, device="cpu"))
    prepared = read_prepared(run.parent / "prepared")
    predictor = Predictor.from_run(run, device="cpu")
    predicted = list(predictor.predict_files(prepared.paths(prepared.rows("test")), batch_size=4))
    # In bf16 a feature's last bits depend on the batch it was computed in.
    np.testing.assert_allclose([p.probabilities for p in predicted], result.probabilities, atol=2e-3)


def test_prediction_imports_and_reads_nothing_that_it_does_not_use(run, tmp_path):
    """A process of its own: no tokenizer, no training code, no metrics, and of the backbone the image encoder alone."""
    Image.new("RGB", (30, 20), "red").save(tmp_path / "a.png")
    code = f"""
import sys
from pathlib import Path
from mlrpl_cli.core.prediction.predictor import Predictor
from mlrpl_cli.core.backbones.openai import text, tokenizer
from mlrpl_cli.core.backbones.files.family import Weights
from mlrpl_cli.core.backbones.openai.architectures import VISUAL
read = Weights.read
def recorded(weights, wanted):
    state = read(weights, wanted)
    assert state
    assert all(name.startswith(VISUAL) for name in state)
    return state
Weights.read = recorded
text.TextEncoder.__init__ = tokenizer.tokenize = None
list(Predictor.from_run(Path({str(run)!r}), device="cpu").predict_files([Path({str(tmp_path / "a.png")!r})]))
unused = ("open_clip", "clip", "sklearn", "tensorboard", "accelerate", "matplotlib", "pycocotools", "torch._dynamo")
print([name for name in unused if name in sys.modules])
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "[]\n"


def test_attention_maps_are_shares_over_the_grid(run):
    pixels = np.random.default_rng(0).integers(0, 256, (2, small.SIZE, small.SIZE, 3), dtype=np.uint8)
    probabilities, attention = Predictor.from_run(run, device="cpu").predict(pixels)
    assert probabilities.shape == (2, 3)
    assert attention.shape == (2, 3, 2, 2)
    np.testing.assert_allclose(attention.sum((2, 3)), 1, rtol=1e-5)


def test_an_unreadable_image_is_reported_in_its_place_and_the_others_predicted(run, tmp_path):
    Image.new("RGB", (30, 20), "red").save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_text("no image")
    Image.new("L", (30, 20)).save(tmp_path / "c.png")
    predictor = Predictor.from_run(run, device="cpu")
    results = list(predictor.predict_files([tmp_path / name for name in ("a.png", "b.jpg", "c.png")], batch_size=2))
    assert [type(result) for result in results] == [Prediction, Unreadable, Prediction]
    assert "b.jpg" in results[1].reason
    assert results[0].learnable == predictor.learnable == (True, True, True)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_results_keep_the_order_of_their_images_whether_or_not_the_next_batch_is_read_ahead(device, tmp_path):
    """The network is stood in for by the mean of the pixels: 0, 10, …, 60 in batches of two, one of them unreadable."""
    paths = [tmp_path / f"{grey}.png" for grey in range(0, 70, 10)]
    for grey, path in zip(range(0, 70, 10), paths, strict=True):
        Image.new("L", (9, 9), grey).save(path)
    paths[3].write_text("no image")
    predictor = Predictor.__new__(Predictor)
    predictor.encoder = SimpleNamespace(device=torch.device(device), image_size=8, rule=CLIP_RULE)
    predictor.allow_truncated, predictor.learnable = False, None
    predictor.decision, predictor._probabilities = None, lambda logits: logits
    predictor._scores = lambda pixels: (pixels.mean((1, 2, 3))[:, None], pixels)
    found = [getattr(result, "probabilities", "-") for result in predictor.predict_files(paths, 2, workers=2)]
    assert found == [0, 10, 20, "-", 40, 50, 60]


def test_nothing_to_predict_gives_nothing(run):
    assert list(Predictor.from_run(run, device="cpu").predict_files([])) == []


def test_a_misspelt_class_is_answered_with_the_closest(run):
    with pytest.raises(ConfigError, match=r"the run knows no class 'red thin'; did you mean 'red thing'\?"):
        Predictor.from_run(run, device="cpu").class_index("red thin")


def test_other_backbone_weights_are_refused(run):
    backbone = run.parent / "clip.safetensors"
    original = backbone.read_bytes()
    try:
        small.write_backbone(backbone, seed=1)
        with pytest.raises(RunError, match=r"trained with other weights of .*: expected fingerprint"):
            Predictor.from_run(run, device="cpu")
    finally:
        backbone.write_bytes(original)


@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_a_truncated_run_checkpoint_is_one_line(run, tmp_path, kept):
    content = (run / "best.safetensors").read_bytes()
    (tmp_path / "best.safetensors").write_bytes(content[:kept])
    with pytest.raises(RunError, match=r"best\.safetensors is damaged: .*; restore it, take --checkpoint last"):
        load_checkpoint(tmp_path)


def test_a_folder_that_is_no_run_says_so(tmp_path):
    with pytest.raises(RunError, match=r"has no best\.safetensors: expected a run folder that `mlrpl train` wrote"):
        load_checkpoint(tmp_path)
