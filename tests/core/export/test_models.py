"""A run as one file: in onnxruntime and in torch.export's archive it says what the run says."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mlrpl_cli.core.evaluation.evaluate import evaluate
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.export import models, quantized
from mlrpl_cli.core.export.model_options import ModelOptions
from mlrpl_cli.core.export.models import ExportedModel, export_model
from mlrpl_cli.core.heads.registry import METHODS
from mlrpl_cli.core.io.errors import ConfigError, DataError, RunError, WeightsError
from mlrpl_cli.core.prediction.model_file import ModelPredictor
from mlrpl_cli.core.prediction.model_info import OUTPUTS
from mlrpl_cli.core.prediction.predictor import Predictor
from mlrpl_cli.core.prepared.folder import read_prepared
from mlrpl_cli.core.runs.checkpoint import load_checkpoint
from mlrpl_cli.core.runs.decided.scores import checkpoint_sha256
from tests import small
from tests.core.export.exported import CLOSE, assert_same, by_run, needs_onnx, pixels, trained, write_vit

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a ResNet and the default method."""
    return trained(small.write_training(tmp_path_factory.mktemp("trained"), epochs=1))


@pytest.fixture(scope="module")
def written(run: Path) -> ExportedModel:
    pytest.importorskip("onnxruntime", reason="pip install 'mlrpl[onnx]'")
    return export_model(ModelOptions(run, out=run.parent / "model.onnx"))


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What runs of a ViT are trained with."""
    place = tmp_path_factory.mktemp("vit")
    given = small.write_training(place, epochs=1)
    return given | {"backbone": str(write_vit(place / "vit.safetensors")), "cache": str(place / "cache")}


def by_file(path: Path, images: np.ndarray) -> list[np.ndarray]:
    found = ModelPredictor.from_file(path).predict(images)
    assert tuple(found) == OUTPUTS
    return list(found.values())


@needs_onnx
@pytest.mark.parametrize("method", METHODS)
def test_a_file_says_what_the_run_of_any_method_says(method: str, vit: dict, tmp_path: Path) -> None:
    run = trained(vit, method=method, run=str(tmp_path / "run"))
    path = export_model(ModelOptions(run, out=tmp_path / "model.onnx")).path
    images = pixels(5)
    assert_same(by_file(path, images), by_run(run, images))
    assert_same(by_file(path, images[:1]), by_run(run, images[:1]))


@needs_onnx
def test_a_file_of_the_other_form_of_backbone_says_it_too(run: Path, written: ExportedModel) -> None:
    images = pixels(9)
    assert_same(by_file(written.path, images), by_run(run, images))


@needs_onnx
def test_a_file_says_what_it_is(run: Path, written: ExportedModel) -> None:
    """Read with the libraries alone: the checker of onnx takes it, and each property is JSON."""
    onnx, runtime = import_module("onnx"), import_module("onnxruntime")
    model = onnx.load(written.path)
    onnx.checker.check_model(model, full_check=True)
    assert ("", 18) in [(one.domain, one.version) for one in model.opset_import]
    (given,) = model.graph.input
    assert [axis.dim_param or axis.dim_value for axis in given.type.tensor_type.shape.dim] == ["batch", 64, 64, 3]
    session = runtime.InferenceSession(written.path, providers=["CPUExecutionProvider"])
    shapes = {one.name: (one.type, one.shape[1:]) for one in session.get_outputs()}
    assert shapes == {
        "probabilities": ("tensor(float)", [3]),
        "raw": ("tensor(float)", [3]),
        "decisions": ("tensor(int8)", [3]),
        "attention": ("tensor(float)", [3, 2, 2]),
    }
    told = session.get_modelmeta().custom_metadata_map
    values = {name: json.loads(text) for name, text in told.items() if name != "sha256"}
    info, decision = load_checkpoint(run).info, Predictor.from_run(run, device="cpu").decision
    rule = Predictor.from_run(run, device="cpu").encoder.rule
    assert values == {
        "classes": list(small.CLASSES),
        "thresholds": decision.thresholds.tolist(),
        "objective": "f1",
        "calibrated": True,
        "uncalibrated": [],
        "learnable": [True, True, True],
        "image_size": small.SIZE,
        "mean": list(rule.mean),
        "std": list(rule.std),
        "resampling": "bicubic",
        "channels": "RGB",
        "resizes": False,
        "allow_truncated": False,
        "precision": "float32",
        "method": "sarl-anchored",
        "epoch": info.epoch,
        "backbone": "clip.safetensors",
        "licence": None,
        "run_sha256": checkpoint_sha256(run, "best"),
        "backbone_sha256": info.fingerprint,
        "data_sha256": info.data_sha256,
        "mask_sha256": info.mask_sha256,
        "seed": 0,
        "mlrpl": values["mlrpl"],
        "format": 1,
    }


@needs_onnx
def test_a_file_names_no_folder_of_the_machine_and_is_the_same_again(run: Path, written: ExportedModel) -> None:
    content = written.path.read_bytes()
    places = (Path(torch.__file__).parent, Path(models.__file__).parents[3], run.parent)
    assert not [place for place in places if str(place).encode() in content]
    again = export_model(ModelOptions(run, out=written.path))
    assert again.path.read_bytes() == content


@needs_onnx
@pytest.mark.parametrize("resampling", ["bicubic", "bilinear"])
def test_a_graph_resizes_as_pillow_does(resampling: str) -> None:
    """The nodes alone, before an identity: at most one of 256 levels apart, in fewer than one value of 50."""
    onnx, runtime = import_module("onnx"), import_module("onnxruntime")
    size, helper, uint8 = 48, onnx.helper, onnx.TensorProto.UINT8
    ends = [helper.make_tensor_value_info(name, uint8, ["batch", size, size, 3]) for name in ("images", "out")]
    graph = helper.make_graph([helper.make_node("Identity", ["images"], ["out"])], "g", ends[:1], ends[1:])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    models.add_resize(proto, size, resampling)
    session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for height, width in ((size, size), (200, 140), (30, 20), (31, 500)):
        images = np.stack([np.array(Image.fromarray(one).resize((width, height))) for one in pixels(2, 300)])
        expected = [
            np.array(Image.fromarray(one).resize((size, size), Image.Resampling[resampling.upper()])) for one in images
        ]
        apart = np.abs(session.run(None, {"images": images})[0].astype(int) - np.array(expected).astype(int))
        assert apart.max() <= (0 if (height, width) == (size, size) else 1)
        assert (apart > 0).mean() < 0.02


@needs_onnx
def test_a_file_that_resizes_takes_images_of_any_size(run: Path, tmp_path: Path) -> None:
    path = export_model(ModelOptions(run, out=tmp_path / "model.onnx", with_resize=True)).path
    predictor = ModelPredictor.from_file(path)
    assert predictor.info.resizes
    images = pixels(4)
    assert_same(list(predictor.predict(images).values()), by_run(run, images))
    wide = pixels(2, 120)[:, :90]
    resized = np.stack([np.array(Image.fromarray(one).resize((64, 64), Image.Resampling.BICUBIC)) for one in wide])
    np.testing.assert_allclose(predictor.predict(wide)["probabilities"], by_run(run, resized)[0], atol=2e-3)


@pytest.mark.parametrize("resizes", [False, True])
def test_the_archive_of_torch_says_the_same(run: Path, tmp_path: Path, resizes: bool) -> None:
    path = export_model(ModelOptions(run, format="torch", out=tmp_path / "model.pt2", with_resize=resizes)).path
    extra = {"mlrpl.json": ""}
    module = torch.export.load(path, extra_files=extra).module()
    told = json.loads(extra["mlrpl.json"])
    assert (told["classes"], told["resizes"], told["image_size"]) == (list(small.CLASSES), resizes, small.SIZE)
    images = pixels(5)
    for given in (images, images[:1]):
        assert_same([one.numpy() for one in module(torch.from_numpy(given))], by_run(run, given))
    if resizes:
        assert module(torch.from_numpy(pixels(2, 100)[:, 20:]))[0].shape == (2, 3)


# 8 bits


@needs_onnx
def test_eight_bits_are_measured_on_validation_images_as_eval_measures(vit: dict, tmp_path: Path) -> None:
    """No test image is there to be read."""
    data = small.write_prepared(tmp_path / "data", images=60)
    run = trained(vit, method="linear", data=str(data), run=str(tmp_path / "run"))
    expected = evaluate(EvaluationOptions(run=run, split="validation", workers=0, device="cpu"))
    prepared = read_prepared(data)
    for name in np.array(prepared.images)[prepared.rows("test")]:
        (data / name).unlink()
    options = ModelOptions(run, out=tmp_path / "int8.onnx", int8=True, int8_bound=1, workers=0)
    made = export_model(options)
    assert made.map_before == pytest.approx(expected.metrics.mean_average_precision, abs=1e-9)
    assert 0 < made.map_after <= 1
    onnx, predictor = import_module("onnx"), ModelPredictor.from_file(made.path)
    kinds = {node.op_type for node in onnx.load(made.path).graph.node}
    assert kinds >= {"QuantizeLinear", "DequantizeLinear"}
    assert (predictor.info.precision, made.precision) == ("int8", "int8")
    images = pixels(3)
    np.testing.assert_allclose(predictor.predict(images)["raw"], by_run(run, images)[1], atol=0.1)


@needs_onnx
@pytest.mark.parametrize(("after", "bound", "writes"), [(0.68, 0.01, False), (0.68, 0.03, True), (0.71, 0.0, True)])
def test_eight_bits_that_cost_more_than_the_bound_are_not_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: float, bound: float, writes: bool
) -> None:
    figures = iter([0.7, after])
    monkeypatch.setattr(quantized, "_map", lambda *arguments: next(figures))
    monkeypatch.setattr(quantized, "_quantize", lambda proto, ranges: proto)
    options = ModelOptions(run, out=tmp_path / "there" / "int8.onnx", int8=True, int8_bound=bound)
    if writes:
        assert export_model(options).map_after == after
        return
    told = r"in 8 bits the mAP falls from 0.7000 to 0.6800 .*, more than --int8-bound 0.01, and nothing is written"
    with pytest.raises(RunError, match=told):
        export_model(options)
    assert not (tmp_path / "there").exists()


@needs_onnx
def test_eight_bits_need_validation_images(vit: dict, tmp_path: Path) -> None:
    data = small.write_folds(tmp_path / "folded", images=12)
    run = trained(vit, method="linear", run=str(tmp_path / "run"))
    other = small.write_prepared(tmp_path / "other", seed=1)
    with pytest.raises(RunError, match=r"other is not the data that the run was trained on, as they were; by others"):
        export_model(ModelOptions(run, out=tmp_path / "int8.onnx", int8=True, data=other))
    with pytest.raises(RunError, match=r"no validation images .*, by which --int8 is measured"):
        export_model(ModelOptions(run, out=tmp_path / "int8.onnx", int8=True, data=data))


# What is refused


def test_options_that_do_not_go_together_are_told(run: Path) -> None:
    with pytest.raises(ConfigError, match="--int8 is for --format onnx"):
        export_model(ModelOptions(run, format="torch", int8=True))
    with pytest.raises(ConfigError, match="--workers is for --int8, which is not given"):
        export_model(ModelOptions(run, format="torch", workers=1))


def test_a_folder_that_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"has no best\.safetensors: expected a run folder"):
        export_model(ModelOptions(tmp_path, format="torch", out=tmp_path / "model.pt2"))


def test_what_mlrpl_did_not_write_is_replaced_only_when_asked(run: Path, tmp_path: Path) -> None:
    options = ModelOptions(run, format="torch", out=tmp_path / "model.pt2")
    (tmp_path / "model.pt2").write_text("mine")
    with pytest.raises(DataError, match=r"mlrpl did not write it; --overwrite replaces it"):
        export_model(options)
    assert (tmp_path / "model.pt2").read_text() == "mine"
    size = export_model(options, overwrite=True).bytes
    assert export_model(options).bytes == size
    with pytest.raises(DataError, match="is there and no regular file; name a file with --out"):
        export_model(replace(options, out=tmp_path))


@needs_onnx
def test_weights_that_no_onnx_file_holds_are_told(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlrpl_cli.core.export.onnx_file.ROOM", 2 << 30)
    with pytest.raises(WeightsError, match=r"and an ONNX file in one piece has at most 2 GiB; take --format torch"):
        export_model(ModelOptions(run, out=tmp_path / "model.onnx"))


def test_a_missing_library_is_told(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(import_module("sys").modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"^--format onnx needs onnx and onnxscript; pip install 'mlrpl\[onnx\]'$"):
        export_model(ModelOptions(run))


@needs_onnx
def test_probabilities_are_close_over_scenes(tmp_path: Path, mlrpl) -> None:
    """A run on scenes with tiny; 48 scenes that it was not trained on. scripts/measure_onnx.py takes 1,000."""
    data, run = tmp_path / "data", tmp_path / "run"
    scenes = ["--train-images=80", "--test-images=48", "--keep=0.7", "--validation-fraction=0.3"]
    assert mlrpl("prepare", *scenes, f"--out={data}").code == 0
    options = ["--set=epochs=1", "--set=views=1", "--set=workers=0", "--set=device=cpu"]
    assert mlrpl("train", f"--data={data}", f"--run={run}", *options).code == 0
    exported = mlrpl("export", run, f"--out={tmp_path / 'model.onnx'}")
    assert exported.code == 0, exported.err
    prepared = read_prepared(data)
    paths = prepared.paths(prepared.rows("test"))
    by_torch = list(Predictor.from_run(run, device="cpu").predict_files(paths))
    by_onnx = list(ModelPredictor.from_file(tmp_path / "model.onnx").predict_files(paths))
    for one, other in zip(by_onnx, by_torch, strict=True):
        for name in ("probabilities", "raw", "attention"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=CLOSE)
        assert (one.path, one.learnable, one.calibrated) == (other.path, other.learnable, other.calibrated)
        assert one.decisions == other.decisions
    assert {word for one in by_onnx for word in one.decisions} >= {"yes", "no"}


def test_the_result_names_what_was_written(run: Path, tmp_path: Path) -> None:
    made = export_model(ModelOptions(run, format="torch", out=tmp_path / "model.pt2"))
    assert asdict(made) == {
        "path": tmp_path / "model.pt2",
        "format": "torch",
        "precision": "float32",
        "bytes": (tmp_path / "model.pt2").stat().st_size,
        "run": run,
        "classes": 3,
        "image_size": small.SIZE,
        "resizes": False,
        "calibrated": True,
        "backbone": "clip.safetensors",
        "licence": None,
        "map_before": None,
        "map_after": None,
    }
