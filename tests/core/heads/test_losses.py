from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.heads.losses import (
    assume_negative,
    count_all,
    count_known,
    default_loss,
    entropy_maximization,
    make_count,
    make_loss,
    partial_asl,
    partial_bce,
)
from mlrpl_cli.core.heads.registry import LOSSES
from tests import reference

LOGITS = np.random.default_rng(0).normal(0, 3, (6, 5))
LABELS = np.random.default_rng(1).integers(-1, 2, (6, 5)).astype(np.int8)


def evaluate(name: str, logits: np.ndarray, labels: np.ndarray, **options) -> float:
    config, states = TrainConfig(loss=name, gamma_negative=3.0, **options), torch.from_numpy(labels)
    return float(make_loss(config)(torch.from_numpy(logits), states, make_count(config)(states)))


def test_partial_bce_equals_the_cell_by_cell_sum():
    assert evaluate("bce", LOGITS, LABELS) == pytest.approx(reference.partial_bce(LOGITS, LABELS), rel=1e-9)


def test_partial_asl_with_the_configured_options_equals_the_cell_by_cell_sum():
    expected = reference.partial_asl(LOGITS, LABELS, 3.0, 1.0, 0.05)
    assert evaluate("asl", LOGITS, LABELS) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("weight", [1.0, 0.3, 0.0])
def test_assume_negative_equals_the_cell_by_cell_sum(weight):
    expected = reference.assume_negative(LOGITS, LABELS, weight)
    assert evaluate("an", LOGITS, LABELS, unknown_weight=weight) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 2.0])
def test_entropy_maximization_equals_the_cell_by_cell_sum(alpha):
    expected = reference.entropy_maximization(LOGITS, LABELS, alpha)
    assert evaluate("em", LOGITS, LABELS, entropy_weight=alpha) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["an", "em"])
def test_where_everything_is_known_the_losses_of_single_positives_are_bce(name):
    labels = np.where(LABELS == 0, -1, LABELS).astype(np.int8)
    assert evaluate(name, LOGITS, labels) == pytest.approx(evaluate("bce", LOGITS, labels), rel=1e-12)


@pytest.mark.parametrize(("labels", "expected"), [([[1, 0]], "an"), ([[1, 0], [0, -1]], "asl"), ([[0, 0]], "asl")])
def test_the_loss_is_that_of_single_positives_when_something_is_present_and_nothing_absent(labels, expected):
    assert default_loss(np.array(labels, np.int8)) == expected


def test_asl_without_focusing_and_margin_is_bce():
    labels = torch.from_numpy(LABELS)
    known = count_known(labels)
    asl = partial_asl(torch.from_numpy(LOGITS), labels, known, gamma_negative=0, gamma_positive=0, margin=0)
    torch.testing.assert_close(asl, partial_bce(torch.from_numpy(LOGITS), labels, known))


ALL_CELLS = [assume_negative, entropy_maximization]


@pytest.mark.parametrize("loss", [partial_bce, partial_asl, *ALL_CELLS])
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
    assert float(value.detach()) == 0
    assert torch.isfinite(logits.grad).all()


def value_and_gradient(loss, logits, labels, **options) -> tuple[float, torch.Tensor]:
    """Of logits (B, C) as float32, over all known cells."""
    states = torch.tensor(labels, dtype=torch.int8)
    leaf = torch.tensor(logits, dtype=torch.float32, requires_grad=True)
    value = loss(leaf, states, count_known(states), **options)
    value.backward()
    return float(value.detach()), leaf.grad


LARGEST = torch.finfo(torch.float32).max
OF_SINGLE_POSITIVES = [
    pytest.param(assume_negative, id="an"),
    pytest.param(partial(assume_negative, unknown_weight=0.0), id="an-without-unknown"),
    pytest.param(entropy_maximization, id="em"),
    pytest.param(partial(entropy_maximization, entropy_weight=10.0), id="em-tenfold"),
]
VARIANTS = [
    pytest.param(partial_bce, id="bce"),
    pytest.param(partial_asl, id="asl"),
    pytest.param(partial(partial_asl, margin=0.0), id="no-margin"),
    pytest.param(partial(partial_asl, margin=1.0), id="all-margin"),
    pytest.param(partial(partial_asl, gamma_negative=0.5, gamma_positive=0.5, margin=0.0), id="half-powers"),
    pytest.param(partial(partial_asl, gamma_negative=10.0, gamma_positive=10.0), id="tenth-powers"),
]


@pytest.mark.parametrize("loss", VARIANTS + OF_SINGLE_POSITIVES)
@pytest.mark.parametrize("size", [1e4, -1e4, LARGEST, -LARGEST])
@pytest.mark.parametrize("state", [1, 0, -1])
def test_extreme_logits_give_finite_loss_and_gradients(loss, size, state):
    value, gradient = value_and_gradient(loss, [[size]], [[state]])
    assert 0 <= value < np.inf
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("loss", VARIANTS + OF_SINGLE_POSITIVES)
@pytest.mark.parametrize("state", [1, -1])
def test_an_infinite_logit_on_the_right_side_costs_nothing_and_gets_no_gradient(loss, state):
    value, gradient = value_and_gradient(loss, [[state * np.inf]], [[state]])
    assert (value, float(gradient)) == (0, 0)


@pytest.mark.parametrize("loss", VARIANTS)
@pytest.mark.parametrize("logit", [np.inf, -np.inf, np.nan])
def test_an_unknown_cell_is_not_looked_at_even_if_it_is_no_number(loss, logit):
    alone = value_and_gradient(loss, [[0.5]], [[1]])
    value, gradient = value_and_gradient(loss, [[0.5, logit]], [[1, 0]])
    assert value == alone[0]
    assert gradient.tolist() == [[float(alone[1]), 0.0]]


@pytest.mark.parametrize("loss", [partial_bce, partial(partial_asl, margin=0.0), *ALL_CELLS])
@pytest.mark.parametrize("state", [1, -1])
def test_the_wrong_side_costs_the_logit_itself_however_large(loss, state):
    """-log σ(-x) tends to x, its weight to 1, and the slope of both to 1 and 0."""
    value, gradient = value_and_gradient(loss, [[-state * 1e4]], [[state]])
    assert (value, float(gradient)) == (pytest.approx(1e4), pytest.approx(-state))


def sound_gradient(loss, data):
    """Labels and the gradient of a loss at drawn logits, which is finite, as the loss is, and that is not negative."""
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=5))
    logits = data.draw(hnp.arrays(np.float32, shape, elements=st.floats(-(2.0**100), 2.0**100, width=32)))
    labels = data.draw(hnp.arrays(np.int8, shape, elements=st.sampled_from([-1, 0, 1])))
    value, gradient = value_and_gradient(loss, logits, labels)
    assert 0 <= value < np.inf
    assert torch.isfinite(gradient).all()
    return labels, gradient


@pytest.mark.parametrize("loss", VARIANTS)
@settings(max_examples=50, deadline=None, derandomize=True)
@given(data=st.data())
def test_losses_are_finite_and_not_negative_and_blind_to_unknown_cells(loss, data):
    labels, gradient = sound_gradient(loss, data)
    assert (gradient.numpy()[labels == 0] == 0).all()


@pytest.mark.parametrize("loss", OF_SINGLE_POSITIVES)
@settings(max_examples=50, deadline=None, derandomize=True)
@given(data=st.data())
def test_losses_of_single_positives_are_finite_and_not_negative(loss, data):
    sound_gradient(loss, data)


@pytest.mark.parametrize("logit", [-30.0, -2.0, 0.0, 1e-3, 5.0, 30.0])
def test_an_unknown_cell_is_drawn_to_one_half_by_the_slope_of_its_entropy(logit):
    """d(-α H)/dx = α x p (1-p)."""
    _, gradient = value_and_gradient(entropy_maximization, [[logit, 0.0]], [[0, 1]])
    expected = 0.1 * logit * reference.sigmoid(logit) * reference.sigmoid(-logit)
    assert float(gradient[0, 0]) == pytest.approx(expected, rel=1e-4, abs=1e-8)


def test_a_confidently_wrong_absent_cell_still_gets_its_gradient_without_a_margin():
    """With γ⁻ = 2 and margin 0 the loss is p² softplus(x), whose slope tends to 1."""
    labels, logits = torch.tensor([[-1]], dtype=torch.int8), torch.tensor([[25.0]]).requires_grad_()
    partial_asl(logits, labels, count_known(labels), margin=0.0).backward()
    assert float(logits.grad) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_two_halves_with_the_count_of_the_whole_sum_to_the_whole(name):
    """What data-parallel training does: each process divides by the cells that count in all processes."""
    config = TrainConfig(loss=name)
    loss, count = make_loss(config), make_count(config)
    logits, labels, parts = torch.from_numpy(LOGITS), torch.from_numpy(LABELS), (slice(0, 2), slice(2, 6))
    total = sum(count(labels[part]) for part in parts)
    assert total == (count_all(labels) if name in ("an", "em") else count_known(labels))
    halves = sum(loss(logits[part], labels[part], total) for part in parts)
    torch.testing.assert_close(halves, loss(logits, labels, count(labels)))
