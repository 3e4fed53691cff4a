"""What the benchmarks count and judge. Nothing is timed here."""

import json
from dataclasses import replace

import pytest
import torch
import typer

from benchmarks import __main__ as program
from benchmarks import textbook
from benchmarks.measure import Ceilings, Needs, Promise, Row, interleaved, needs_of
from benchmarks.networks import scaled
from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.heads.semantic_decoupling import SemanticDecoupling, pool

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


def test_a_gpu_is_judged_by_errors_alone():
    """Ratios of time and memory were promised of a CPU."""
    assert KEPT.promise.on(torch.device("cpu")) == KEPT.promise
    assert KEPT.promise.on(torch.device("cuda", 0)) == Promise(error=0.1)


def test_a_part_that_fails_leaves_the_rows_of_the_others(monkeypatch, capsys):
    def rows_of(name, *_):
        if name == "epoch":
            raise RuntimeError("CUDA error\nof many lines")
        yield replace(KEPT, name=name, limit=0.5)

    monkeypatch.setattr(program, "_rows", rows_of)
    monkeypatch.setattr(program, "measure_ceilings", lambda device: Ceilings())
    with pytest.raises(typer.Exit) as stopped:
        program.main(only="encode,epoch,step", as_json=True)
    assert stopped.value.exit_code == 1
    out, err = capsys.readouterr()
    printed = json.loads(out)
    assert [row["name"] for row in printed["rows"]] == ["encode", "step"]
    assert printed["failed"] == ["epoch: not measured: RuntimeError: CUDA error"]
    assert err.splitlines()[-1] == printed["failed"][0]
    told = "encode: 2.50x (1.000 s, 2.500 s), memory 0.00 GiB and 0.00 GiB, limit 0.500 s, error 5.0e-02"
    assert err.splitlines()[0] == told


def test_ctrl_c_keeps_what_was_measured():
    def rows_of(name):
        yield replace(KEPT, name=name)
        if name == "epoch":
            raise KeyboardInterrupt

    rows, failed = program.measure_parts(["encode", "epoch", "step"], rows_of)
    assert [row.name for row in rows] == ["encode", "epoch"]
    assert failed == ["epoch: stopped"]


def test_features_are_scaled_where_they_are():
    """The meta device refuses a factor that lies on the CPU, as a GPU does."""
    features = ImageFeatures(*(torch.empty(2, 3, device="meta") for _ in range(4)))
    assert scaled(features).grid.device.type == "meta"


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
