"""EfficientNet-Lite against the network of the package `efficientnet-lite-pytorch`, which shares no code with it."""

import pytest
import torch
from scipy.special import softmax

from mlrpl_cli.core.backbones.lite.image import LITE2, Form, LiteTower, renamed

LITE0 = Form(1.0, 1.0)
EMBED_DIM = 7


@pytest.fixture
def basis():
    return torch.linalg.qr(torch.randn(1000, EMBED_DIM, generator=torch.Generator().manual_seed(0)))[0]


def theirs(name, size):
    """Their network with drawn weights, and batch norms whose statistics are not those they start with."""
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="pip install efficientnet-lite-pytorch")
    torch.manual_seed(0)
    network = package.EfficientNet.from_name(f"efficientnet-{name}", image_size=size).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize(("name", "form"), [("lite0", LITE0), ("lite2", LITE2)])
@pytest.mark.parametrize("size", [32, 96])
@torch.inference_mode()
def test_the_grid_and_the_classifier_are_those_of_the_package(name, form, size, folded, basis):
    network = theirs(name, size)
    tower = LiteTower(form, basis).eval()
    tower.load_state_dict({**dict(renamed(network.state_dict())), "basis": basis})
    if folded:
        tower.fold()
        assert not [module for module in tower.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    features = tower(images)
    expected = network.extract_features(images)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(features.grid, expected.flatten(2).transpose(1, 2), rtol=0, atol=1e-4)
    torch.testing.assert_close(tower.classifier(features.grid.mean(dim=1)), network(images), rtol=0, atol=1e-4)


@torch.inference_mode()
def test_the_joint_grid_is_the_square_root_of_what_the_classifier_says_in_the_basis(basis):
    torch.manual_seed(0)
    tower = LiteTower(LITE0, basis).eval()
    features = tower(torch.randn(2, 3, 64, 64))
    weight, bias = (value.numpy() for value in (tower.classifier.weight, tower.classifier.bias))
    shares = softmax(features.grid.numpy() @ weight.T + bias, axis=-1)
    assert features.joint.shape == (2, 4, EMBED_DIM)
    assert features.grid.shape == (2, 4, 1280)
    torch.testing.assert_close(features.joint, torch.from_numpy(shares**0.5 @ basis.numpy()), rtol=0, atol=1e-5)
    torch.testing.assert_close(features.pooled, features.joint.mean(dim=1))
    torch.testing.assert_close(features.attention, torch.full((2, 4), 0.25))


def test_channels_are_rounded_as_published():
    """EfficientNet-Lite2's head takes 352 channels, its stages give 16, 24, 48, 88, 120 and 208."""
    assert [LITE2.channels(of) for of in (16, 24, 40, 80, 112, 192, 320)] == [16, 24, 48, 88, 120, 208, 352]
    assert [LITE2.blocks(stage) for stage in range(7)] == [1, 3, 3, 4, 4, 5, 1]
