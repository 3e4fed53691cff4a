import numpy as np
import pytest
import torch

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.losses import LOSSES, count_known, partial_asl, partial_bce
from tests import reference

LOGITS = np.random.default_rng(0).normal(0, 3, (6, 5))
LABELS = np.random.default_rng(1).integers(-1, 2, (6, 5)).astype(np.int8)


def evaluate(name: str, logits: np.ndarray, labels: np.ndarray) -> float:
    loss = LOSSES[name](TrainConfig())
    given = torch.from_numpy(labels)
    return float(loss(torch.from_numpy(logits), given, count_known(given)))


def test_partial_bce_equals_the_cell_by_cell_sum():
    assert evaluate("bce", LOGITS, LABELS) == pytest.approx(reference.partial_bce(LOGITS, LABELS), rel=1e-9)


def test_partial_asl_equals_the_cell_by_cell_sum():
    expected = reference.partial_asl(LOGITS, LABELS, 2.0, 1.0, 0.05)
    assert evaluate("asl", LOGITS, LABELS) == pytest.approx(expected, rel=1e-9)


def test_asl_without_focusing_and_margin_is_bce():
    labels = torch.from_numpy(LABELS)
    known = count_known(labels)
    asl = partial_asl(torch.from_numpy(LOGITS), labels, known, gamma_negative=0, gamma_positive=0, margin=0)
    torch.testing.assert_close(asl, partial_bce(torch.from_numpy(LOGITS), labels, known))


@pytest.mark.parametrize("loss", [partial_bce, partial_asl])
def test_gradients_equal_finite_differences(loss):
    labels = torch.from_numpy(LABELS)
    logits = torch.from_numpy(LOGITS).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, labels, count_known(labels)), (logits,))


@pytest.mark.parametrize("loss", [partial_bce, partial_asl])
def test_unknown_cells_get_no_gradient_and_change_nothing(loss):
    labels = torch.from_numpy(LABELS)
    logits = torch.from_numpy(LOGITS).requires_grad_()
    value = loss(logits, labels, count_known(labels))
    value.backward()
    assert (logits.grad[labels == 0] == 0).all()
    moved = torch.where(labels == 0, 99.0, logits.detach())
    value = value.detach()
    assert float(loss(moved, labels, count_known(labels))) == float(value)


@pytest.mark.parametrize("loss", [partial_bce, partial_asl])
@pytest.mark.parametrize("shape", [(3, 4), (0, 4)])
def test_nothing_known_gives_zero_loss_and_finite_gradients(loss, shape):
    labels = torch.zeros(shape, dtype=torch.int8)
    logits = torch.full(shape, 1e4).requires_grad_()
    value = loss(logits, labels, count_known(labels))
    value.backward()
    assert float(value) == 0
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("loss", [partial_bce, partial_asl])
@pytest.mark.parametrize("size", [-1e4, 1e4])
def test_extreme_logits_give_finite_loss_and_gradients(loss, size):
    labels = torch.tensor([[1, -1]], dtype=torch.int8)
    logits = torch.full((1, 2), size).requires_grad_()
    value = loss(logits, labels, count_known(labels))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


def test_a_confidently_wrong_absent_cell_still_gets_its_gradient_without_a_margin():
    """With γ⁻ = 2 and margin 0 the loss is p² softplus(x), whose slope tends to 1."""
    labels, logits = torch.tensor([[-1]], dtype=torch.int8), torch.tensor([[25.0]]).requires_grad_()
    partial_asl(logits, labels, count_known(labels), margin=0.0).backward()
    assert float(logits.grad) == pytest.approx(1.0, abs=1e-3)


def test_two_halves_with_the_count_of_the_whole_sum_to_the_whole():
    """What data-parallel training does: each process divides by the known cells of all processes."""
    logits, labels = torch.from_numpy(LOGITS), torch.from_numpy(LABELS)
    known = count_known(labels)
    halves = sum(partial_asl(logits[part], labels[part], known) for part in (slice(0, 2), slice(2, 6)))
    torch.testing.assert_close(halves, partial_asl(logits, labels, known))
