"""What the benchmarks count and judge. Nothing is timed here."""

from dataclasses import replace

import pytest
import torch

from benchmarks import textbook
from benchmarks.measure import Ceilings, Needs, Promise, Row, interleaved, needs_of
from mlrpl_cli.core.heads.attention import SemanticDecoupling, pool

KEPT = Row("part", "other", Promise(2, 3, 1.5, 100, 0.1), 1.0, 2.5, memory=50, other_memory=200, error=0.05)


def test_a_row_within_its_promises_breaks_none():
    assert KEPT.broken() == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"other_seconds": 1.9}, "part: promised 2 times as fast, got 1.9"),
        ({"other_memory": 100}, "part: promised 3 times less memory, got 2"),
        ({"seconds": 1.6, "other_seconds": 9.0}, "part: promised 1.5 seconds, got 1.6"),
        ({"memory": 101, "other_memory": 999}, "part: promised 100 bytes, got 101"),
        ({"error": 0.2}, "part: promised 0.1 relative error, got 0.2"),
    ],
)
def test_each_promise_is_told_when_it_is_broken(change, sentence):
    assert replace(KEPT, **change).broken() == [sentence]


def test_works_run_in_turn_after_one_run_each():
    order = []
    interleaved([lambda: order.append("a"), lambda: order.append("b")], 2, torch.device("cpu"))
    assert order == ["a", "b", "a", "b", "a", "b"]


def test_a_product_needs_its_arithmetic_and_its_tensors():
    left, right = torch.zeros(3, 5), torch.zeros(5, 7)
    needs = needs_of(lambda: (left @ right).relu(), torch.float32)
    assert needs.flops == 2 * 3 * 5 * 7
    assert needs.bytes == 4 * (3 * 5 + 5 * 7 + 3 * 7)


def test_the_products_of_inference_mode_count_too():
    image, kernel = torch.zeros(1, 2, 4, 4), torch.zeros(3, 2, 1, 1)
    with torch.inference_mode():
        needs = needs_of(lambda: torch.nn.functional.conv2d(image, kernel), torch.float32)
    assert needs.flops == 2 * 2 * 3 * 16
    assert needs.bytes == 4 * (2 * 16 + 2 * 3 + 3 * 16)


def test_the_limit_is_the_slower_of_arithmetic_and_transfer_and_then_the_sigmoids():
    ceilings = Ceilings({"float32": 10.0}, copy=2.0, sigmoid=4.0)
    assert Needs(flops=50, bytes=8).seconds(ceilings) == 5
    assert Needs(flops=10, bytes=8, sigmoids=2).seconds(ceilings) == 4.5


def test_the_materialised_form_gives_the_same_class_features():
    """With v = Pᵀ w the biases cancel in the softmax."""
    torch.manual_seed(0)
    plain, ours = textbook.MaterialisedDecoupling(6, 5, 7), SemanticDecoupling(6, 5, 7)
    ours.initialize(torch.Generator().manual_seed(1))
    plain.share_weights(ours)
    grid, semantics = torch.randn(2, 9, 6), torch.randn(4, 5)
    torch.testing.assert_close(pool(ours(grid, semantics), grid), plain(grid, semantics))
