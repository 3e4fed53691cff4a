"""What `--json` of every command prints is what docs/json.md and its schema say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from mlrpl_cli import __version__
from mlrpl_cli.commands.results import RESULTS, SCHEMA, type_of
from mlrpl_cli.core.io.schema import fields_of
from mlrpl_cli.core.prepared.folder import read_prepared
from scripts.make_json_docs import schema
from tests import small

pytestmark = pytest.mark.usefixtures("one_thread")
SET = [f"--set={key}={value}" for key, value in {**small.OPTIONS, "backbone": "clip.safetensors", "epochs": 1}.items()]
ENVELOPE = ("schema", "mlrpl", "command", "options", "data_sha256", "mask_sha256", "backbone_sha256", "seeds")
COMMANDS = {
    "prepare": ["--root=table/labels.csv", "--images=data", "--folds=2"],
    "train": ["--data=data", "--run=run", *SET],
    "eval": ["--run=run", "--workers=0", "--require=map>=0.1"],
    "decide": ["--run=run", "--objective=cost=5:1"],
    "sweep": ["--data=data", "--methods=linear", "--keep=0.7", "--seeds=0", "--no-tune", *SET],
    "predict": ["data/images/000.png", "broken.png", "--run=run", "--skip-bad"],
    "suggest": ["data", "--run=run", "--workers=0", "--budget=5", "--overwrite"],
    "export": ["run", "--format=torch"],
    "export-labels": ["--data=data", "--format=table", "--overwrite"],
    "complete": ["data", "--run=run", "--workers=0", "--precision=0.6", "--confidence=0.7", "--overwrite"],
    "check": ["data", "--run=run", "--workers=0", "--most=3", "--drop", "--overwrite", "--attention=pictures"],
    "runs": [],
    "backbones": [],
    "visualize": ["data/images/000.png", "--run=run"],
    "report": ["run", "--workers=0", "--device=cpu"],
    "review": ["data", "--run=run", "--workers=0", "--device=cpu", "--person=ann"],
}

OF_A_RUN = {"eval", "decide", "predict", "suggest", "export", "complete", "check", "visualize", "report", "review"}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    prepared = read_prepared(small.write_prepared(folder / "data"))
    small.write_backbone(folder / "clip.safetensors")
    (folder / "table").mkdir()
    rows = "".join(f"{n},{i % 2}\n" for i, n in enumerate(prepared.images))
    (folder / "table" / "labels.csv").write_text(f"image,dog\n{rows}")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def told(place, monkeypatch, mlrpl, sweep_here):
    """What a command prints; `train` goes before all that need a run."""
    monkeypatch.chdir(place)
    monkeypatch.setattr("uvicorn.Server.run", lambda server, sockets: None)  # review would wait for Ctrl-C

    def run(command: str, *more: str) -> dict[str, Any]:
        if command in OF_A_RUN:
            assert mlrpl("train", *COMMANDS["train"]).code == 0
        outcome = mlrpl(command, *COMMANDS[command], *more, "--json")
        assert outcome.code == 0, outcome.err
        return json.loads(outcome.out)

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_the_result_of_a_command_is_of_the_type_that_is_documented(command, told):
    """Neither a field more nor one less, but for those that may be left out."""
    content = told(command)
    result = content["result"]
    TypeAdapter(type_of(command)).validate_python(result)
    for part in result if isinstance(result, list) else [result]:
        known = schema_of_result(command)
        assert part.keys() <= known["properties"].keys()
        assert part.keys() >= set(known.get("required", ()))
    assert (content["schema"], content["mlrpl"], content["command"]) == (SCHEMA, __version__, command)
    assert all(name in content for name in ENVELOPE)
    assert content["seconds"] >= 0


def schema_of_result(command: str) -> dict[str, Any]:
    whole = schema()
    (found,) = [one for one in whole["oneOf"] if one["title"] == command]
    result = found["properties"]["result"]
    result = result.get("items", result)
    return whole["$defs"][result["$ref"].rsplit("/", 1)[1]] if "$ref" in result else result


def test_every_command_is_tried():
    assert COMMANDS.keys() == RESULTS.keys()


def test_what_programs_read_before_there_was_an_envelope_stands_where_it_stood(told):
    """The fields of the result beside those of the envelope."""
    for command in ("prepare", "train", "eval", "export-labels", "sweep"):
        content = told(command)
        assert {name: content[name] for name in content["result"]} == content["result"]


def test_figures_say_what_they_come_from(told, place):
    prepared = read_prepared(place / "data")
    for command in ("train", "eval", "predict", "visualize", "check", "export"):
        content = told(command)
        assert content["data_sha256"] == prepared.sha256
        assert content["mask_sha256"] == prepared.mask_sha256
        assert len(content["backbone_sha256"]) == 64
        assert content["seeds"]["train"] == 0
    assert told("eval")["options"]["data"] == str(place / "data")
    assert told("prepare")["seeds"] == {"mask": 0, "split": 0}


def test_a_replay_is_the_other_half_of_what_suggest_prints(told):
    """Two rounds of two seeds beside random asking."""
    result = told("suggest", "--simulate", "--strategy=value", "--rounds=2", "--seeds=2", "--start=0.2")["result"]
    TypeAdapter(type_of("suggest")).validate_python(result)
    assert result["suggested"] is None
    assert [curve["strategy"] for curve in result["simulated"]["curves"]] == ["random", "value"]
    assert told("suggest")["result"]["simulated"] is None


def test_an_image_that_cannot_be_read_is_a_record_in_its_place(told):
    whole, broken = told("predict")["result"]
    assert (whole["image"], len(whole["classes"])) == ("data/images/000.png", 3)
    assert broken.keys() == {"image", "error"}
    assert "broken.png" in broken["error"]


def test_options_have_no_value_left_open(told):
    options = told("train")["options"]
    assert options.keys() == fields_of(type(_config())).keys()
    assert options["loss"] == "asl"
    assert options["attention_width"] == small.OPTIONS["attention_width"]


def _config() -> Any:
    from mlrpl_cli.core.config import TrainConfig

    return TrainConfig()


def test_a_run_of_which_only_the_best_checkpoint_is_left_is_measured_and_used(told, mlrpl, place):
    """Its seed is not known then."""
    told("train")
    (place / "copied").mkdir(exist_ok=True)
    (place / "copied" / "best.safetensors").write_bytes((place / "run" / "best.safetensors").read_bytes())
    for command, *more in (("eval", "--workers=0", "--data=data"), ("predict", "data/images/000.png")):
        outcome = mlrpl(command, "--run=copied", *more, "--json")
        assert (outcome.code, json.loads(outcome.out)["seeds"]) == (0, {}), outcome.err
