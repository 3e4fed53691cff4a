import numpy as np
import pytest
import torch

from mlrpl_cli.core.heads import attention as module_of_decoupling
from mlrpl_cli.core.heads.attention import SemanticDecoupling, bilinear_scores, pool
from tests import reference


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


def test_gradients_equal_finite_differences():
    image, semantics, score = (t.requires_grad_() for t in (random(2, 3, 4), random(5, 4, seed=1), random(4, seed=2)))
    assert torch.autograd.gradcheck(bilinear_scores, (image, semantics, score))


@pytest.mark.parametrize("regions", [1, 4, 6, 7])
def test_chunks_of_regions_change_nothing(monkeypatch, regions):
    """Seven regions in chunks that divide them and that do not."""
    monkeypatch.setattr(module_of_decoupling, "CACHED_NUMBERS", 4 * regions)
    image, semantics, score = (t.requires_grad_() for t in (random(1, 7, 4), random(5, 4, seed=1), random(4, seed=2)))
    expected = torch.tanh(image[:, :, None] * semantics) @ score
    torch.testing.assert_close(bilinear_scores(image, semantics, score), expected)
    assert torch.autograd.gradcheck(bilinear_scores, (image, semantics, score))


def test_no_tensor_with_positions_classes_and_width_is_made():
    """The largest tensor of forward and backward is far below B·P·C·K elements."""
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
        bilinear_scores(image.requires_grad_(), semantics, score).sum().backward()
    assert largest == 2 * 16 * 32


def test_pooling_and_an_affine_projection_commute():
    grid, attention = random(2, 9, 6), random(2, 4, 9, seed=1).softmax(-1)
    project = torch.nn.Linear(6, 3).double()
    torch.testing.assert_close(pool(attention, project(grid)), project(pool(attention, grid)))


def test_calibration_makes_the_projected_grid_unit_variance(decoupling):
    grid = 1e4 * random(8, 9, 6)
    decoupling.calibrate(grid)
    assert float(decoupling.image_projection(grid).detach().std()) == pytest.approx(1.0)


def test_calibration_leaves_a_constant_grid_alone(decoupling):
    before = decoupling.image_projection.weight.clone()
    decoupling.calibrate(torch.zeros(2, 9, 6, dtype=torch.float64))
    assert torch.equal(decoupling.image_projection.weight, before)
