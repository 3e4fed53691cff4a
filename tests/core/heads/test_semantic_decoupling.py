from functools import partial

import numpy as np
import pytest
import torch

from mlrpl_cli.core.heads import bilinear
from mlrpl_cli.core.heads.bilinear import DEVICE_NUMBERS, SIGMOID, TANH, Plan, bilinear_scores, plan_for
from mlrpl_cli.core.heads.semantic_decoupling import SemanticDecoupling, pool
from tests import reference

TILES = [(1, 1), (4, 1), (7, 1), (9, 1), (7, 2), (7, 5), (3, 2), (3, 9)]


@pytest.fixture
def decoupling() -> SemanticDecoupling:
    module = SemanticDecoupling(channels=6, semantic_size=5, width=7).double()
    module.initialize(torch.Generator().manual_seed(3))
    return module


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def parameters(module: SemanticDecoupling) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    projections = (module.image_projection.weight, module.semantic_projection.weight, module.score)
    return tuple(tensor.detach().numpy() for tensor in projections)


def test_attention_equals_the_equation(decoupling):
    """Against the equation evaluated position by position in numpy."""
    grid, semantics = random(2, 9, 6), random(4, 5, seed=1)
    expected = reference.semantic_attention(grid.numpy(), semantics.numpy(), *parameters(decoupling))
    np.testing.assert_allclose(decoupling(grid, semantics).detach(), expected, atol=1e-6)


def test_the_published_form_with_its_matrix_and_biases_gives_the_same_attention(decoupling):
    """w^T (P^T tanh(.) + b) + b' has the softmax of v·tanh(.) with v = P w: the biases cancel over positions."""
    grid, semantics = random(2, 9, 6), random(4, 5, seed=1)
    u, v, _ = parameters(decoupling)
    p, w = random(8, 7, seed=2).numpy(), random(8, seed=3).numpy()
    published = reference.published_attention(
        grid.numpy(), semantics.numpy(), u, v, p, w, (random(8, seed=4).numpy(), 0.7)
    )
    with torch.no_grad():
        decoupling.score.copy_(torch.from_numpy(p.T @ w))
    np.testing.assert_allclose(decoupling(grid, semantics).detach(), published, atol=1e-6)


PLANS = [Plan(function, regions, classes) for function in (SIGMOID, TANH) for regions, classes in TILES]


@pytest.mark.parametrize("plan", PLANS)
def test_every_plan_gives_the_equation_and_its_gradient(plan):
    """Seven regions, five classes, tiles that divide them and that do not; against numpy and finite differences."""
    image, semantics, score = (t.requires_grad_() for t in (random(1, 7, 4), random(5, 4, seed=1), random(4, seed=2)))
    expected = reference.bilinear_scores(image.detach().numpy(), semantics.detach().numpy(), score.detach().numpy())
    np.testing.assert_allclose(bilinear_scores(image, semantics, score, plan).detach(), expected, atol=1e-12)
    assert torch.autograd.gradcheck(partial(bilinear_scores, plan=plan), (image, semantics, score))


@pytest.mark.parametrize("plan", [None, Plan(SIGMOID, 8, 5), Plan(TANH, 32, 1)])
def test_no_tensor_with_positions_classes_and_width_is_made(plan):
    """The largest tensor of forward and backward is one tile, or the regions themselves; the product has far more."""
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                largest = max(largest, result.numel())
            return result

    image, semantics, score = random(2, 16, 32), random(20, 32, seed=1), random(32, seed=2)
    with Watch():
        bilinear_scores(image.requires_grad_(), semantics, score, plan).sum().backward()
    assert largest <= max(2 * 16, 8 * 5) * 32


def test_tiles_off_the_cpu_hold_many_classes_and_stay_within_their_bound():
    """COCO's classes at 448 px, a batch whose regions alone are larger than a tile, and an empty one."""
    for batch, width in ((8, 1024), (128, 1024), (1, 8), (0, 1024)):
        plan = plan_for(torch.empty(batch, 196, width, device="meta"))
        assert plan.regions * plan.classes * width <= DEVICE_NUMBERS
        assert plan.regions >= min(batch * 196, DEVICE_NUMBERS // width)
    assert plan_for(torch.empty(8, 196, 1024, device="meta")).classes == 10


@pytest.mark.parametrize(
    ("maker", "capability", "squashing"),
    [
        ("vendor_id : GenuineIntel", "AVX512", TANH),
        ("vendor_id : GenuineIntel", "AVX2", SIGMOID),
        ("vendor_id : AuthenticAMD", "AVX512", SIGMOID),
        ("", "DEFAULT", SIGMOID),
    ],
)
def test_the_processor_alone_decides_between_sigmoid_and_tanh(monkeypatch, maker, capability, squashing):
    monkeypatch.setattr(bilinear, "_processor", lambda: maker)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    assert bilinear._cpu_squashing.__wrapped__() == squashing


def test_pooling_and_an_affine_projection_commute():
    grid, attention = random(2, 9, 6), random(2, 4, 9, seed=1).softmax(-1)
    project = torch.nn.Linear(6, 3).double()
    torch.testing.assert_close(pool(attention, project(grid)), project(pool(attention, grid)))


def test_fitting_the_scale_makes_the_projected_grid_unit_variance(decoupling):
    grid = 1e4 * random(8, 9, 6)
    decoupling.fit_scale(grid)
    assert float(decoupling.image_projection(grid).detach().std()) == pytest.approx(1.0)


def test_fitting_the_scale_leaves_a_constant_grid_alone(decoupling):
    before = decoupling.image_projection.weight.clone()
    decoupling.fit_scale(torch.zeros(2, 9, 6, dtype=torch.float64))
    assert torch.equal(decoupling.image_projection.weight, before)
