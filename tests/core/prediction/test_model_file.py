"""`predict --model`: the outputs of `predict --run`, and one line for what is no model file of ours."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from itertools import filterfalse
from pathlib import Path

import numpy as np
import pytest

from mlrpl_cli.core.export.model_options import ModelOptions
from mlrpl_cli.core.export.models import export_model
from mlrpl_cli.core.io.errors import DataError, WeightsError
from mlrpl_cli.core.prediction.model_file import DIGITS, SEAL, ModelPredictor, is_model_file, sealed
from mlrpl_cli.core.prediction.model_info import info_of
from tests import small
from tests.core.export.exported import CLOSE, needs_onnx, trained

pytestmark = [pytest.mark.usefixtures("one_thread"), needs_onnx]
IMAGES = ["prepared/images/000.png", "broken.jpg", "prepared/images/001.png"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, its model file, images and one that is none."""
    folder = tmp_path_factory.mktemp("place")
    run = trained(small.write_training(folder, epochs=1), method="linear")
    export_model(ModelOptions(run, out=folder / "model.onnx"))
    (folder / "broken.jpg").write_text("no image")
    return folder


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    return place


def test_the_command_prints_of_a_file_what_it_prints_of_the_run(here, mlrpl):
    """Exit codes, order, decisions and fields are the same; probabilities to CLOSE."""
    (of_run, told), (of_file, found) = (
        (done := mlrpl("predict", *IMAGES, *which, "--json"), json.loads(done.out))
        for which in (["--run=run", "--device=cpu"], ["--model=model.onnx"])
    )
    assert (of_run.code, of_file.code, of_run.err) == (1, 1, of_file.err)
    for one, other in zip(told["result"], found["result"], strict=True):
        by_name = {entry["class"]: entry for entry in other.pop("classes", ())}
        for entry in one.pop("classes", ()):
            same = by_name[entry["class"]]
            for name in ("probability", "raw"):
                assert same.pop(name) == pytest.approx(entry.pop(name), abs=CLOSE)
            assert entry == same
        assert one == other
    for name in ("data_sha256", "mask_sha256", "backbone_sha256", "seeds"):
        assert told[name] == found[name]
    assert found["options"]["model"] == "model.onnx"


@pytest.mark.parametrize("flags", [[], ["--format=csv"], ["--top-k=1"], ["--threshold=0.4"], ["--classes=blue thing"]])
def test_options_do_what_they_do_with_a_run(here, mlrpl, flags):
    """Numbers of three decimals may be rounded to neighbours: words alone are compared."""
    words = [
        [*filterfalse(_number, mlrpl("predict", IMAGES[0], *which, *flags).out.replace(",", " ").split())]
        for which in (["--run=run", "--device=cpu"], ["--model=model.onnx"])
    ]
    assert words[0] == words[1]
    assert "thing" in words[0]


def _number(word: str) -> bool:
    return word.replace(".", "").isdigit()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--run=run"], "--model predicts without --run, got both; leave one out"),
        (["--backbone=tiny"], "--model predicts without --backbone, got both"),
        (["--backbone-config=x"], "--model predicts without --backbone-config, got both"),
        (["--checkpoint=last"], "--checkpoint is of a run, and --model predicts without one; leave it out"),
        (["--device=cuda"], "--model computes on the CPU, got --device cuda; leave one out"),
        (["--classes=dog"], "the run knows no class 'dog'"),
    ],
)
def test_what_does_not_go_together_is_told(here, mlrpl, options, told):
    done = mlrpl("predict", IMAGES[0], "--model=model.onnx", *options)
    assert (done.code, told in done.err) == (1, True), done.err
    assert done.err.count("\n") == 1


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_a_file_that_is_not_whole_or_not_ours_is_told(here):
    content = (here / "model.onnx").read_bytes()
    damaged = "is damaged: its content is not what its checksum is of; `mlrpl export RUN` writes one"
    foreign = "is no model file of mlrpl, or its end is missing; `mlrpl export RUN` writes one"
    cases = [
        (flipped(content, 100), damaged),
        (flipped(content, len(content) - 5), damaged),
        (flipped(content, len(content) - DIGITS - 5), foreign),
        (content[:-1], foreign),
        (content[: len(content) // 2], foreign),
        (b"", foreign),
        (os.urandom(500), foreign),
        (b"PK\x03\x04" + content, "is a zip archive, as of export --format torch; expected a file of --format onnx"),
        (sealed(b"no protobuf"), "does not load it: "),
        (sealed(b""), "does not load it: "),
        (sealed(content[: -len(SEAL) - DIGITS] + b"\x72\x02\x0a\x00"), "its properties are not those of a model file"),
    ]
    for given, told in cases:
        (here / "other.onnx").write_bytes(given)
        with pytest.raises(DataError) as error:
            ModelPredictor.from_file("other.onnx")
        assert told in str(error.value)
        assert "\n" not in str(error.value)
        assert str(error.value).startswith("other.onnx")


def test_a_place_that_is_no_file_is_told(here, mlrpl):
    for name, told in (("nowhere.onnx", "cannot read nowhere.onnx: No such file"), ("run", "run is a folder, a pipe")):
        done = mlrpl("predict", IMAGES[0], f"--model={name}")
        assert (done.code, told in done.err, done.err.count("\n")) == (1, True, 1), done.err


def test_a_model_of_somebody_else_is_told(here):
    """A sealed one with other inputs, and one whose properties are of other classes than its outputs."""
    onnx = pytest.importorskip("onnx")
    for change, told in (
        (lambda model: model.graph.output.pop(), "has not the inputs and outputs of a model file"),
        (lambda model: _change(model, "classes", '["a"]'), "it has 3 thresholds for 1 classes"),
        (lambda model: _change(model, "format", "2"), "expected format 1 of model files, got 2; update mlrpl"),
        (lambda model: _change(model, "mean", "[NaN, 0, 0]"), "its properties are not those of a model file"),
    ):
        model = onnx.load("model.onnx")
        del model.metadata_props[-1]
        change(model)
        (here / "other.onnx").write_bytes(sealed(model.SerializeToString()))
        with pytest.raises(DataError, match=told):
            ModelPredictor.from_file("other.onnx")


def _change(model, key, value):
    for one in model.metadata_props:
        if one.key == key:
            one.value = value


def test_the_checksum_is_that_of_all_before_the_last_property(here):
    content = (here / "model.onnx").read_bytes()
    assert content[-DIGITS:].decode() == hashlib.sha256(content[: -len(SEAL) - DIGITS]).hexdigest()
    assert is_model_file(here / "model.onnx")
    assert not is_model_file(here / "broken.jpg")
    assert not is_model_file(here / "nowhere")


def test_properties_read_back(here):
    info = ModelPredictor.from_file("model.onnx").info
    assert info_of(info.properties()) == info


def test_probabilities_that_are_nan_are_refused(here, monkeypatch):
    predictor = ModelPredictor.from_file("model.onnx")
    broken = [np.full((1, 3), np.nan, np.float32)] * 4
    monkeypatch.setattr(predictor, "_session", type("", (), {"run": lambda *arguments: broken})())
    with pytest.raises(WeightsError, match="the model's probabilities are NaN"):
        predictor.predict(np.zeros((1, 64, 64, 3), np.uint8))


def test_without_onnxruntime_the_command_says_what_to_install(here, mlrpl, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    done = mlrpl("predict", IMAGES[0], "--model=model.onnx")
    assert (done.code, done.err) == (1, "mlrpl: error: model files need onnxruntime; pip install 'mlrpl[onnx]'\n")


def test_predicting_with_a_run_needs_and_imports_none_of_the_extra(here):
    """A process of its own, in which the three libraries cannot be imported."""
    code = """
import sys
from itertools import filterfalse
for name in ("onnx", "onnxscript", "onnxruntime"):
    sys.modules[name] = None
import mlrpl_cli.core.export.models, mlrpl_cli.core.prediction.model_file
from mlrpl_cli.app import main
main(["predict", "prepared/images/000.png", "--run=run", "--device=cpu"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, "thing" in done.stdout) == (0, True), done.stderr
