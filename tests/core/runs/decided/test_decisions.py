"""What a run folder keeps of its decisions reads back, and what is damaged or of another checkpoint is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mlrpl_cli.core.decisions.of_run import decision
from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.io.tensorfiles import open_tensors, write_tensors
from mlrpl_cli.core.runs.decided.calibration import sigmoid
from mlrpl_cli.core.runs.decided.decisions import decision_of, read_decisions, write_decisions
from mlrpl_cli.core.runs.decided.objective import parse_objective
from mlrpl_cli.core.runs.decided.scores import OUT_OF_FOLD, VALIDATION, HeldOut, read_held_out, write_held_out
from mlrpl_cli.core.runs.folder import DECISIONS, HELD_OUT, checkpoint_path

CLASSES = ("a", "b", "c")


def held(checkpoint: str = "0" * 64, source: str = VALIDATION) -> HeldOut:
    """Scores of 80 images, of which half the cells are known, drawn from z/2 - 1."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (80, 3)).astype(np.float32)
    truth = np.where(generator.random((80, 3)) < sigmoid(logits / 2 - 1), 1, -1)
    labels = np.where(generator.random((80, 3)) < 0.5, truth, 0).astype(np.int8)
    return HeldOut(checkpoint, source, np.arange(80), labels, logits)


@pytest.mark.parametrize("objective", ["f1", "precision=0.99", "cost=5:1"])
def test_decisions_read_back_as_they_were_written(tmp_path: Path, objective: str) -> None:
    made = decision(held(), parse_objective(objective), 0)
    write_decisions(tmp_path, CLASSES, {"best": made})
    read = read_decisions(tmp_path)["best"]
    logits = held().logits
    assert str(read.objective) == objective
    assert (read.checkpoint, read.source, read.images) == (made.checkpoint, made.source, 80)
    assert (read.before, read.after) == (made.before, made.after)
    np.testing.assert_array_equal(read.thresholds, made.thresholds)
    np.testing.assert_array_equal(read.probabilities(logits), made.probabilities(logits))
    np.testing.assert_array_equal(read.verdicts(logits), made.verdicts(logits))


def test_scores_read_back_and_nothing_to_keep_removes_the_file(tmp_path: Path) -> None:
    write_held_out(tmp_path, {"best": held(), "last": held("1" * 64, OUT_OF_FOLD)})
    read = read_held_out(tmp_path)
    assert (read["best"].source, read["last"].source, read["last"].checkpoint) == (VALIDATION, OUT_OF_FOLD, "1" * 64)
    for name in ("rows", "labels", "logits"):
        np.testing.assert_array_equal(getattr(read["last"], name), getattr(held(), name))
    write_held_out(tmp_path, {})
    assert read_held_out(tmp_path) == {}


def test_the_decision_of_another_checkpoint_is_left_out_and_told(tmp_path: Path) -> None:
    write_tensors(checkpoint_path(tmp_path, "best"), {"x": torch.zeros(1)})
    digest = open_tensors(checkpoint_path(tmp_path, "best")).sha256
    made = decision(held(digest), parse_objective("f1"), 0)
    assert decision_of(tmp_path, "best", 3) == (None, None)  # a run without decisions is nothing to speak of
    write_decisions(tmp_path, CLASSES, {"best": made})
    found, notice = decision_of(tmp_path, "best", 3)
    assert found is not None
    assert notice is None
    write_decisions(tmp_path, CLASSES, {"best": replace(made, checkpoint="2" * 64)})
    found, notice = decision_of(tmp_path, "best", 3)
    assert found is None
    assert "of another best checkpoint: the probabilities are uncalibrated; `mlrpl train --resume" in str(notice)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("family", "isotonic", "family: expected one of none, temperature, platt, beta, got 'isotonic'"),
        ("thresholds", [0.5], r"thresholds: expected \(3,\), got \(1,\)"),
        ("thresholds", [2.0, 0.5, 0.5], "thresholds"),
        ("coefficients", [[1.0], [1.0], []], "coefficients"),
        ("present", [-1, 2, 3], "present"),
        ("more", 1, "unknown option 'more'"),
    ],
)
def test_damaged_decisions_are_told_in_one_line(tmp_path: Path, name: str, value: object, told: str) -> None:
    write_decisions(tmp_path, CLASSES, {"last": decision(held(), parse_objective("f1"), 0)})
    content = json.loads((tmp_path / DECISIONS).read_text())
    content["last"][name] = value
    (tmp_path / DECISIONS).write_text(json.dumps(content))
    with pytest.raises(RunError, match=rf"decisions\.json is damaged: .*{told}.*; remove it, or run `mlrpl decide`"):
        read_decisions(tmp_path)


def test_damaged_scores_are_told_in_one_line(tmp_path: Path) -> None:
    write_held_out(tmp_path, {"best": held()})
    content = bytearray((tmp_path / HELD_OUT).read_bytes())
    content[-1] ^= 1
    (tmp_path / HELD_OUT).write_bytes(content)
    with pytest.raises(RunError, match="is damaged: its content does not match its checksum; remove it"):
        read_held_out(tmp_path)
