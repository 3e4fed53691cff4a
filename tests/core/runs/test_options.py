"""Which folder a run writes to, and what is left of it when the run fails."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from mlrpl_cli.core.config import TrainConfig, make_config
from mlrpl_cli.core.io.errors import ConfigError, DataError, RunError
from mlrpl_cli.core.io.tensorfiles import open_tensors, write_tensors
from mlrpl_cli.core.prepared.folder import Prepared, read_prepared
from mlrpl_cli.core.runs.checkpoint import TrainedHead, load_checkpoint
from mlrpl_cli.core.runs.options import config_problems, label_notes, resolve_config, resume_config, unused_notes
from mlrpl_cli.core.training.train import train
from tests import small


@pytest.fixture
def flags(tmp_path, monkeypatch) -> dict:
    monkeypatch.chdir(tmp_path)
    small.write_prepared(Path("prepared/small"))
    return {"backbone": str(small.write_backbone(Path("clip.safetensors"))), **small.OPTIONS, "epochs": 1}


def test_glove_needs_its_file():
    with pytest.raises(ConfigError, match="semantics glove needs glove, the path of a GloVe text file"):
        make_config(flags={"semantics": "glove"}, problems=config_problems)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"context_tokens": 4}, "context_tokens"),
        (
            {"method": "linear", "context_template": "a", "attention_width": 3},
            "attention_width, context_template",
        ),
        ({"loss": "bce", "margin": 0.1}, "margin"),
        ({"method": "sarl", "context_tokens": 4, "margin": 0.1}, None),
    ],
)
def test_an_option_that_the_method_and_the_loss_have_no_use_for_is_told(given, named):
    asked = TrainConfig(**given)
    notes = unused_notes(asked, TrainConfig(**{"loss": "asl", **given}))
    assert [f" has no use for {named}: " in note for note in notes] == ([True] if named else [])


@pytest.mark.parametrize("run", [None, "some/run"])
def test_a_training_that_fails_before_its_first_checkpoint_leaves_no_run_folder(flags, run):
    image = Path("prepared/small/images/003.png")
    pixels = image.read_bytes()
    image.write_text("no image")
    for _ in range(2):
        with pytest.raises(DataError, match="003"):
            train(make_config(flags={**flags, "run": run}))
        assert [*Path("runs").glob("*"), *Path("some").glob("*")] == []
    image.write_bytes(pixels)
    summary = train(make_config(flags={**flags, "run": run}))
    assert summary.run == Path(run or "runs/small-sarl-anchored-seed0")


def test_a_training_that_fails_in_a_folder_of_the_users_leaves_the_folder(flags):
    Path("run").mkdir()
    Path("prepared/small/images/003.png").write_text("no image")
    with pytest.raises(DataError):
        train(make_config(flags={**flags, "run": "run"}))
    assert Path("run").is_dir()


@pytest.mark.parametrize(
    ("folder", "sentence"),
    [
        ("prepared/small", "prepared/small is a prepared folder, expected one for a run; name it with --data"),
        ("other", "other holds other files, expected a new folder for a run; choose another --run"),
        ("own", "own holds other files"),  # a configuration of the user's, which a run would overwrite
    ],
)
def test_a_folder_that_is_not_for_a_run_is_refused_before_anything_is_read(tmp_path, monkeypatch, folder, sentence):
    monkeypatch.chdir(tmp_path)
    small.write_prepared(Path("prepared/small"))
    Path("other").mkdir()
    Path("other/results.jsonl").touch()
    Path("own").mkdir()
    Path("own/config.yaml").write_text("epochs: 3\n")
    with pytest.raises(RunError, match=sentence):
        train(make_config(flags={"run": folder, "data": "not-there"}))


def test_a_run_whose_best_checkpoint_is_gone_is_not_resumed(flags):
    run = train(make_config(flags={**flags, "method": "linear"})).run
    (run / "best.safetensors").unlink()
    with pytest.raises(RunError, match="its best checkpoint, of epoch 1, is gone; put it back, evaluate with"):
        train(resume_config(run, None, {}), resume=True)


def test_a_run_of_an_older_mlrpl_is_told_to_be_trained_again(tmp_path):
    (tmp_path / "config.yaml").write_text("bank: features\nepochs: 3\n")
    with pytest.raises(RunError, match=r"is not what this mlrpl writes: unknown option 'bank'; .*; train again$"):
        resume_config(tmp_path, None, {})


def edited(change) -> Prepared:
    """The small data after `change` has been made to its training labels in place."""
    prepared = read_prepared(Path("prepared/small"))
    rows = prepared.rows("train")
    labels = prepared.observed_labels[rows]
    change(labels)
    prepared.observed_labels[rows] = labels
    return prepared


def only_positives(labels: np.ndarray) -> None:
    labels[labels == -1] = 0


def first_class_positive(labels: np.ndarray) -> None:
    only_positives(labels[:, :1])


def test_a_loss_is_chosen_when_none_is_asked_for_and_what_was_chosen_is_said(flags):
    asked = make_config(flags=flags)
    assert asked.loss is None
    whole, positives = edited(lambda labels: None), edited(only_positives)
    assert resolve_config(asked, whole).loss == "asl"
    assert label_notes(asked, resolve_config(asked, whole), whole) == []
    chosen = resolve_config(asked, positives)
    assert chosen.loss == "an"
    named, told = label_notes(asked, chosen, positives)
    assert named == "no training cell is known to be absent for 3 of 3 classes: red thing, green thing, blue thing"
    assert re.fullmatch("no class has a known absent cell: the loss is 'an', .*; --loss chooses another", told)


def test_a_loss_that_is_asked_for_is_kept_and_classes_without_an_absent_cell_are_still_named(flags):
    asked, prepared = make_config(flags={**flags, "loss": "bce"}), edited(first_class_positive)
    chosen = resolve_config(asked, prepared)
    assert chosen.loss == "bce"
    named = "no training cell is known to be absent for 1 of 3 classes: red thing"
    assert label_notes(asked, chosen, prepared) == [named]


def test_the_configuration_of_a_run_that_knew_fewer_options_is_read(flags):
    run = train(make_config(flags=flags)).run
    lines = (run / "config.yaml").read_text().splitlines(keepends=True)
    older = [line for line in lines if not line.startswith(("unknown_weight", "entropy_weight"))]
    assert len(older) == len(lines) - 2
    (run / "config.yaml").write_text("".join(older))
    assert resume_config(run, None, {}).loss == "asl"


def test_a_run_keeps_the_options_of_its_method_and_is_resumed_with_no_others(flags):
    run = train(make_config(flags={**flags, "method": "sa:attention_temperature=0.2"})).run
    assert run == Path("runs/small-sa-attention_temperature=0.2-seed0")
    assert load_checkpoint(run).info.method_options == {"attention_temperature": 0.2}
    assert resume_config(run, None, {"method": "sa:attention_temperature=0.2"}).method == "sa"
    for method, got in (("sa", "0.05"), ("sa:attention_temperature=0.3", "0.3")):
        with pytest.raises(ConfigError, match=rf"--resume keeps method_options .*0\.2.*, got .*{got}"):
            resume_config(run, None, {"method": method})
    with pytest.raises(ConfigError, match="--resume keeps method sa, got sarl"):
        resume_config(run, None, {"method": "sarl"})


def test_a_run_whose_options_are_the_defaults_is_named_after_its_method_alone(flags):
    assert train(make_config(flags={**flags, "method": "sa:attention_temperature=0.05"})).run.name == "small-sa-seed0"


def test_a_checkpoint_of_format_6_is_read_as_one_whose_method_has_its_defaults(flags):
    run = train(make_config(flags={**flags, "method": "sa"})).run
    path = run / "best.safetensors"
    file = open_tensors(path).checked()
    told = json.loads(file.metadata["run"])
    del told["method_options"]
    write_tensors(path, file.tensors, {"run": json.dumps({**told, "format": 6})})
    head = TrainedHead(load_checkpoint(run))
    assert head.info.format == 6
    assert head.recognizer.visual_head.temperature == 0.05
