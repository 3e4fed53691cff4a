"""`mlrpl runs` as a user types it, and how much every command says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mlrpl_cli.core.config import make_config
from mlrpl_cli.core.training.train import train
from tests import small

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Two prepared folders and two runs; the names do not tell their order."""
    folder = tmp_path_factory.mktemp("place")
    backbone = str(small.write_backbone(folder / "clip.safetensors"))
    for number, name in enumerate(("later", "first")):
        data = small.write_prepared(folder / "prepared" / name, keep=0.7 - number / 10)
        flags = {**small.OPTIONS, "data": str(data), "backbone": backbone, "run": str(folder / "runs" / name)}
        train(make_config(flags={**flags, "epochs": 1}))
        for path in (data / "manifest.json", folder / "runs" / name / "last.safetensors"):
            os.utime(path, (1e9 - number, 1e9 - number))
    return folder


@pytest.fixture(autouse=True)
def _inside(place, monkeypatch) -> None:
    monkeypatch.chdir(place)


def test_runs_lists_what_there_is_the_newest_first(place, mlrpl):
    outcome = mlrpl("runs", "--json")
    told = json.loads(outcome.out)["result"]
    assert outcome.code == 0
    assert [(entry["folder"], entry["newest"], entry["keep"]) for entry in told["prepared"]] == [
        ("prepared/later", True, 0.7),
        ("prepared/first", False, 0.6),
    ]
    runs = [(entry["folder"], entry["newest"], entry["keep"], entry["method"]) for entry in told["runs"]]
    assert runs == [("runs/later", True, 0.7, "sarl-anchored"), ("runs/first", False, 0.6, "sarl-anchored")]
    assert told["prepared"][0]["images"] == {"train": 24, "validation": 6, "test": 6}
    assert told["runs"][0]["epochs"] == told["runs"][0]["epochs_done"] == 1


def test_runs_prints_the_same_as_tables(mlrpl):
    lines = mlrpl("runs").out.splitlines()
    assert [line.split("│")[1].strip() for line in lines if line.startswith("│")] == [
        "prepared/later",
        "prepared/first",
        "runs/later",
        "runs/first",
    ]
    assert [line.count("newest") for line in lines if line.startswith("│")] == [1, 0, 1, 0]


def test_the_figure_of_a_cross_validated_run_is_listed(place, mlrpl, tmp_path):
    """And a damaged one is told, and its run left out."""
    data, run = small.write_folds(tmp_path / "folds", images=24), tmp_path / "runs" / "crossed"
    flags = {**small.OPTIONS, "data": str(data), "backbone": "clip.safetensors", "run": str(run), "epochs": 1}
    made = train(make_config(flags=flags))
    assert "out-of-fold" not in mlrpl("runs").out
    options = [f"--prepared={tmp_path}", f"--runs={tmp_path / 'runs'}"]
    (entry,) = json.loads(mlrpl("runs", *options, "--json").out)["result"]["runs"]
    assert (entry["folds"], entry["best_map"], entry["out_of_fold_map"]) == (3, None, made.out_of_fold_map)
    out = mlrpl("runs", *options).out
    assert "out-of-fold mAP" in out
    assert f"{100 * made.out_of_fold_map:.2f}" in out
    (run / "out_of_fold.json").write_text('{"folds": 3, "map": 2.5}')
    outcome = mlrpl("runs", *options)
    assert "out_of_fold.json is damaged: map: " in outcome.err
    assert "Runs: none" in outcome.out


def test_a_damaged_run_is_named_and_the_others_are_listed(place, mlrpl):
    (place / "runs" / "broken").mkdir()
    (place / "runs" / "broken" / "last.safetensors").write_bytes(b"nothing")
    outcome = mlrpl("runs", "--json")
    told = json.loads(outcome.out)
    assert [entry["folder"] for entry in told["result"]["runs"]] == ["runs/later", "runs/first"]
    assert len(told["warnings"]) == 1
    assert "runs/broken" in told["warnings"][0]
    assert f"mlrpl: warning: {told['warnings'][0]}" in outcome.err


def test_a_prepared_folder_whose_manifest_says_no_number_to_keep_is_listed_without_one(place, mlrpl):
    path = place / "prepared" / "first" / "manifest.json"
    text = path.read_text()
    path.write_text(text.replace('"keep": 0.6', '"keep": "much"'))
    os.utime(path, (1e9 - 1, 1e9 - 1))
    outcome = mlrpl("runs")
    path.write_text(text)
    os.utime(path, (1e9 - 1, 1e9 - 1))
    shown = [line.split("│")[7].strip() for line in outcome.out.splitlines() if "│ prepared/" in line]
    assert (outcome.code, shown) == (0, ["70%", "–"])


def test_where_there_is_nothing_it_says_what_to_type(tmp_path, mlrpl):
    outcome = mlrpl("runs", f"--prepared={tmp_path}", f"--runs={tmp_path / 'none'}")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "Prepared folders: none; make one with mlrpl prepare",
        "Runs: none; make one with mlrpl train",
    ]


def test_a_quiet_command_says_its_result_and_its_warnings_and_a_verbose_one_every_epoch(place, mlrpl):
    flags = [f"--set={key}={value}" for key, value in {**small.OPTIONS, "backbone": "clip.safetensors"}.items()]
    usual, quiet, verbose = (
        mlrpl("train", "--data=prepared/first", "--epochs=20", f"--run=voices/{number}", *flags, *said)
        for number, said in enumerate(([], ["--quiet"], ["--verbose"]))
    )
    epochs = [sum(line.startswith("epoch ") for line in outcome.err.splitlines()) for outcome in (usual, verbose)]
    assert epochs == [10, 20]
    assert quiet.err == ""
    assert quiet.out.splitlines()[1:] == usual.out.splitlines()[1:]


def test_warnings_are_said_to_the_quiet_too_and_stand_beside_the_result(place, mlrpl, tmp_path):
    flags = [f"--set={key}={value}" for key, value in {**small.OPTIONS, "backbone": "clip.safetensors"}.items()]
    data = small.write_positives(tmp_path / "data")
    outcome = mlrpl("train", f"--data={data}", f"--run={tmp_path / 'run'}", "--epochs=1", *flags, "--quiet", "--json")
    told = json.loads(outcome.out)["warnings"]
    assert [line.removeprefix("mlrpl: warning: ") for line in outcome.err.splitlines()] == told
    assert any("no training cell is known to be absent" in warning for warning in told)


def test_quiet_and_verbose_together_are_wrong_usage(mlrpl):
    outcome = mlrpl("runs", "--quiet", "--verbose")
    assert outcome.code == 2
    assert "--quiet and --verbose were both given" in outcome.err


def test_every_result_says_what_it_comes_from(place, mlrpl):
    """What `train --json` says beside its result; the result's own fields stand beside it as well."""
    flags = [f"--set={key}={value}" for key, value in {**small.OPTIONS, "backbone": "clip.safetensors"}.items()]
    told = json.loads(mlrpl("train", "--data=prepared/first", "--epochs=1", "--run=json", *flags, "--json").out)
    manifest = json.loads((place / "prepared" / "first" / "manifest.json").read_text())
    assert (told["schema"], told["command"], told["seeds"]) == (1, "train", {"train": 0})
    assert told["mask_sha256"] == manifest["mask_sha256"]
    assert told["options"]["epochs"] == 1
    assert told["options"]["loss"] == "asl"
    assert told["seconds"] > 0
    assert {name: told[name] for name in told["result"]} == told["result"]
