import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from mlrpl_cli.core.io.errors import ConfigError, RunError
from mlrpl_cli.core.io.tensorfiles import write_tensors
from mlrpl_cli.core.runs.checkpoint import Checkpoint, RunInfo, data_of, load_checkpoint, save_checkpoint
from mlrpl_cli.core.runs.folder import read_log, write_log
from tests import small

INFO = RunInfo(
    method="baseline",
    classes=("cat", "dog"),
    dataset="table",
    data="pre\udcffpared",
    mask_sha256="0" * 64,
    data_sha256="1" * 64,
    backbone="tiny",
    fingerprint="2" * 64,
    image_size=64,
    precision="float32",
    epoch=2,
    best_epoch=1,
    best_map=0.5,
)
TENSORS = {
    "recognizer.log_scale": torch.zeros(()),
    "recognizer.bias": torch.zeros(2),
    "text_features": torch.zeros(2, 4),
}
ROW = {"epoch": 1, "loss": 0.5, "map": None, "split": "validation", "lr": 0.1}


def test_a_checkpoint_reads_back_as_it_was_written(tmp_path):
    """Also one of data in a folder whose name is no UTF-8."""
    save_checkpoint(Checkpoint(INFO, TENSORS), tmp_path / "best.safetensors")
    read = load_checkpoint(tmp_path)
    assert read.info == INFO
    assert all(read.tensors[name].equal(tensor) for name, tensor in TENSORS.items())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"epoch": -1, "precision": "half", "image_size": 1.5, "classes": ["cat", 3], "best_map": "high", "more": 1},
            "is damaged: unknown option 'more'; known: .*; classes.1: expected text, got 3; "
            "image_size: expected a whole number from 1 to 4096, got 1.5; "
            "precision: expected one of auto, float32, bf16, got 'half'; "
            "epoch: expected a whole number of at least 0, got -1; best_map: expected a number, got 'high'; restore it",
        ),
        ({"classes": []}, "is damaged: classes: expected a list, got "),
        ({"epoch": True}, "is damaged: epoch: expected a whole number of at least 0, got True"),
        ({"format": 5}, "expected checkpoint format 6, 7, 8 or 9, got 5; train again, or use the mlrpl that wrote it"),
        ({"method": "new"}, "was trained with the method 'new', which this mlrpl lacks; update mlrpl"),
    ],
)
def test_all_that_is_wrong_in_a_checkpoint_is_told_in_one_line(tmp_path, changes, sentence):
    told = json.dumps({**asdict(INFO), **changes})
    write_tensors(tmp_path / "best.safetensors", TENSORS, {"run": told})
    with pytest.raises(RunError, match=sentence) as error:
        load_checkpoint(tmp_path)
    assert "\n" not in str(error.value)


def test_a_log_reads_back_without_the_line_that_a_kill_cut_short(tmp_path):
    assert read_log(tmp_path) == []
    write_log(tmp_path, [ROW, {**ROW, "epoch": 2}])
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"epoch": 3')
    assert read_log(tmp_path) == [ROW, {**ROW, "epoch": 2}]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("[1]", r"line 2: expected a JSON object, got \[1\]"),
        ("{", "line 2: Expecting"),
        (
            '{"epoch": "1", "loss": null, "split": "test"}',
            "line 2: epoch: expected a whole number of at least 0, got '1'; loss: expected a number, got None; "
            "map: expected a number, got nothing; move it away, and --resume goes on",
        ),
    ],
)
def test_the_first_damaged_line_of_a_log_is_told_with_all_that_is_wrong_in_it(tmp_path, line, sentence):
    (tmp_path / "metrics.jsonl").write_text(f"{json.dumps(ROW)}\n{line}\n{line}\n")
    with pytest.raises(RunError, match=f"is damaged: expected a JSON object a line, got in {sentence}"):
        read_log(tmp_path)


def test_a_checkpoint_is_the_best_or_the_last(tmp_path):
    with pytest.raises(ConfigError, match=r"^checkpoint: expected one of best, last, got 'bset'$"):
        load_checkpoint(tmp_path, "bset")


def test_data_that_moved_together_with_its_run_are_found(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    small.write_prepared(old / "prepared", images=6)
    (old / "runs" / "a").mkdir(parents=True)
    info = replace(INFO, data=str(old / "prepared"), data_from_run="../../prepared")
    assert data_of(old / "runs" / "a", info) == old / "prepared"
    old.rename(new)
    assert data_of(new / "runs" / "a", info).resolve() == new / "prepared"
    assert data_of(new / "runs" / "a", replace(info, data_from_run=None)) == old / "prepared"
