"""A run as one file: another machine predicts with it to the bit, and no weights are passed on without a right."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlrpl_cli.core.backbones.backbone import BackboneOptions
from mlrpl_cli.core.backbones.licences import shareable
from mlrpl_cli.core.backbones.lite import packages
from mlrpl_cli.core.backbones.open_clip.assembly import reassemble
from mlrpl_cli.core.backbones.open_clip.hub import licence_in
from mlrpl_cli.core.backbones.registry import describe, load_backbone, portable_name, rebuild
from mlrpl_cli.core.config import LAST, TrainConfig
from mlrpl_cli.core.export import models
from mlrpl_cli.core.export.model import RunModel
from mlrpl_cli.core.export.model_options import ModelOptions
from mlrpl_cli.core.export.models import export_model
from mlrpl_cli.core.export.pack_options import PackOptions
from mlrpl_cli.core.export.packing import PackedRun, pack_run
from mlrpl_cli.core.io.errors import ConfigError, DataError, MlrplError, RunError, WeightsError
from mlrpl_cli.core.io.tensorfiles import metadata_of, open_tensors, write_tensors
from mlrpl_cli.core.prediction.model_info import ModelInfo
from mlrpl_cli.core.prediction.predictor import Predictor
from mlrpl_cli.core.runs.checkpoint import load_checkpoint
from mlrpl_cli.core.runs.packed.file import BACKBONE, is_pack, read_pack
from mlrpl_cli.core.training.train import train
from tests import small
from tests.core.backbones.open_clip.test_family import write_model
from tests.core.export.exported import needs_onnx, pixels, trained, write_vit

pytestmark = pytest.mark.usefixtures("one_thread")
MINE = {"weights_licence": "mine alone"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data, a ResNet's file, and a run of the default method that decides."""
    folder = tmp_path_factory.mktemp("place")
    trained(small.write_training(folder, epochs=1))
    return folder


@pytest.fixture(scope="module")
def open_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with open_clip's own modules, whose weights lie beside a model card."""
    folder = tmp_path_factory.mktemp("open_clips")
    write_model(folder / "model", "SigLIP, SigLIP 2", "CLIP")
    given = small.write_training(folder, epochs=1) | {"backbone": f"local-dir:{folder / 'model'}"}
    trained(given, method="linear")
    return folder


def pack(run: Path, **options: Any) -> PackedRun:
    """In a file beside the run."""
    return pack_run(PackOptions(run, **{"out": run.parent / "run.mlrpl", **options}))


def said(run: Path, size: int = small.SIZE, **more: Any) -> list[np.ndarray]:
    """Logits and attention of some images, and probabilities."""
    predictor, images = Predictor.from_run(run, device="cpu", **more), pixels(5, size)
    return [*predictor._scores(images), *predictor.predict(images)]


def assert_same_bits(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert [one.tobytes() for one in found] == [one.tobytes() for one in expected]


# What the file says


def test_another_machine_predicts_to_the_bit(place: Path, tmp_path: Path, mlrpl, monkeypatch) -> None:
    """The run, its data, the backbone's file and its features are gone; what the command prints stays."""
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    image = Path("prepared/images/003.png").rename("photo.png")
    asked = ["predict", image, "--device=cpu", "--json"]
    run = train(TrainConfig(**small.write_training(tmp_path / "own", epochs=1))).run
    expected, bits = mlrpl(*asked, "--run", run), said(run)
    assert mlrpl("pack", run, "--out=elsewhere/mine.mlrpl", "--weights-licence=mine").code == 0
    for gone in (tmp_path / "own", "prepared", "run", "features"):
        shutil.rmtree(gone, ignore_errors=True)
    Path("clip.safetensors").unlink()
    found = mlrpl(*asked, "--run=elsewhere/mine.mlrpl")
    assert found.code == 0, found.err
    told, before = json.loads(found.out), json.loads(expected.out)
    assert told["options"].pop("run") == "elsewhere/mine.mlrpl"
    del before["options"]["run"], told["seconds"], before["seconds"]
    assert told == before
    assert told["seeds"] == {"train": 0}
    assert_same_bits(said(Path("elsewhere/mine.mlrpl")), bits)


@pytest.mark.parametrize("family", ["files", "ResNet of open_clip", "open_clip", "tiny", "lite"])
def test_every_family_is_built_again_to_the_bit(family: str, tmp_path: Path, request, monkeypatch) -> None:
    """Of a ViT's file, of both kinds of open_clip's, and of ours; where weights lie in a file changes no bit."""
    given = small.write_training(tmp_path, epochs=1) | {"method": "linear", "views": 0}
    if family == "lite":
        if not packages.installed():
            pytest.skip("pip install 'mlrpl[photos]'")
        monkeypatch.setenv("MLRPL_CACHE", str(request.getfixturevalue("fitted_lite")))
    elif family == "files":
        given["backbone"] = str(write_vit(tmp_path / "vit.safetensors"))
    elif "open_clip" in family:
        kind = "SigLIP, SigLIP 2" if family == "open_clip" else "CLIP ResNet"
        write_model(tmp_path / "model", kind, "CLIP")
        given["backbone"] = f"local-dir:{tmp_path / 'model'}"
    if family in ("tiny", "lite"):
        given["backbone"] = family
    run = train(TrainConfig(**given)).run
    expected = said(run)
    path = pack(run, **({} if family in ("tiny", "lite", "open_clip", "ResNet of open_clip") else MINE)).path
    shutil.rmtree(tmp_path / "model", ignore_errors=True)
    monkeypatch.setattr("mlrpl_cli.core.runs.trained.load_backbone", None)  # nothing is taken from elsewhere
    assert_same_bits(said(path), expected)


def test_the_backbones_own_names_are_enough_where_its_weights_are_not(tmp_path: Path) -> None:
    """tiny is in the package: its file without weights finds it there."""
    run = train(TrainConfig(**small.write_training(tmp_path, epochs=1) | {"backbone": "tiny", "method": "linear"})).run
    made = pack(run, without_weights=True)
    assert (made.weights, made.licence, made.left_out) == (False, "MIT", "--without-weights was given")
    assert_same_bits(said(made.path), said(run))


def test_the_last_checkpoint_is_packed_when_it_is_asked_for(tmp_path: Path) -> None:
    run = train(TrainConfig(**small.write_training(tmp_path, epochs=2) | {"method": "linear"})).run
    path = pack(run, checkpoint="last", **MINE).path
    assert read_pack(path).checkpoint.info.epoch == load_checkpoint(run, LAST).info.epoch == 2
    assert_same_bits(said(path), said(run, checkpoint="last"))
    assert_same_bits(said(path, checkpoint="last"), said(path))
    best = pack(run, **MINE).path
    with pytest.raises(RunError, match=r"holds the best checkpoint alone; leave --checkpoint last out"):
        Predictor.from_run(best, checkpoint="last")


def test_what_is_printed_names_the_checkpoint_that_the_file_holds(place: Path, tmp_path: Path, mlrpl) -> None:
    path = pack(place / "run", checkpoint="last", out=tmp_path / "last.mlrpl", **MINE).path
    asked = ["predict", place / "prepared" / "images" / "003.png", f"--run={path}", "--device=cpu", "--json"]
    assert json.loads(mlrpl(*asked).out)["options"]["checkpoint"] == "last"
    done = mlrpl(*asked, "--checkpoint=best")
    assert (done.code, done.err) == (
        1,
        f"mlrpl: error: {path} holds the last checkpoint alone; leave --checkpoint best out\n",
    )


def test_nothing_of_the_data_and_no_folder_of_the_machine_is_in_it(place: Path) -> None:
    """Only what predicts: no digest of an image, no state of the optimizer, no context."""
    path = pack(place / "run", checkpoint="last", **MINE).path
    content = path.read_bytes()
    assert str(place).encode() not in content
    names = open_tensors(path).tensors
    assert {name.partition(".")[0] for name in names} == {"backbone", "recognizer", "text_features"}
    told = read_pack(path)
    assert (told.checkpoint.info.data, told.checkpoint.info.backbone) == ("prepared", "clip.safetensors")
    assert told.info.config is not None
    assert not told.info.config.keys() & {"data", "run", "cache", "device", "workers"}
    assert told.info.config["backbone"] == "clip.safetensors"


def test_the_folder_of_a_tokenizer_is_not_named(open_clips: Path) -> None:
    assert str(open_clips).encode() not in pack(open_clips / "run").path.read_bytes()


def test_the_same_run_gives_the_same_bytes(place: Path, tmp_path: Path) -> None:
    first = pack(place / "run", out=tmp_path / "a.mlrpl", **MINE)
    again = pack(place / "run", out=tmp_path / "b.mlrpl", **MINE)
    assert first.path.read_bytes() == again.path.read_bytes()
    assert first.sha256 == again.sha256
    assert first.bytes == first.path.stat().st_size


def test_decisions_of_another_checkpoint_are_told_and_not_packed(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run", tmp_path / "run")
    (tmp_path / "run" / "best.safetensors").write_bytes((place / "run" / "last.safetensors").read_bytes())
    heard = small.Heard()
    made = pack_run(PackOptions(tmp_path / "run", out=tmp_path / "x.mlrpl", without_weights=True), heard)
    assert (made.calibrated, read_pack(made.path).decision) == (False, None)
    assert "is of another best checkpoint" in heard.warnings[0]


# Which weights are in it


@pytest.mark.parametrize(
    ("card", "options", "licence", "by"),
    [
        ("license: mit", {}, "MIT", "maker"),
        ('license: "apache-2.0"', {}, "Apache-2.0", "maker"),
        ("license: cc-by-4.0", {"weights_licence": "another"}, "CC-BY-4.0", "maker"),
        ("license: cc-by-nc-4.0", {"weights_licence": "their letter of 3 May"}, "their letter of 3 May", "packer"),
        ("tags: clip", {"weights_licence": "mine"}, "mine", "packer"),
    ],
)
def test_weights_are_in_it_by_a_known_licence_or_by_word_of_the_user(
    open_clips: Path, card: str, options: dict[str, Any], licence: str, by: str
) -> None:
    (open_clips / "model" / "README.md").write_text(f"---\n{card}\n---\n# A model\n")
    heard = small.Heard()
    made = pack_run(PackOptions(open_clips / "run", out=open_clips / "in.mlrpl", **options), heard)
    assert (made.weights, made.licence, made.licence_by, made.left_out) == (True, licence, by, None)
    told = read_pack(made.path).info
    assert (told.family, told.licence, told.licence_by) == ("open_clip", licence, by)
    assert heard.warnings == []


@pytest.mark.parametrize(
    ("card", "options", "licence", "why"),
    [
        ("license: cc-by-nc-4.0", {}, "cc-by-nc-4.0", "their licence, cc-by-nc-4.0, is none that is known to let you"),
        ("license: other\nlicense_name: apple-amlr", {}, "other (apple-amlr)", r"other (apple-amlr), is none that is"),
        ("license: other\nlicense_name: mit", {}, "other (mit)", "their licence, other (mit), is none that is known"),
        ("license: other", {}, "other", "their licence, other, is none"),
        ("tags: clip", {}, None, "no licence is known that lets you pass them on; --weights-licence NAME puts them in"),
        ("license: mit", {"without_weights": True}, "MIT", "--without-weights was given"),
        ("tags: clip", {"without_weights": True}, None, "--without-weights was given"),
    ],
)
def test_weights_are_left_out_without_a_right_and_that_is_told(
    open_clips: Path, card: str, options: dict[str, Any], licence: str | None, why: str
) -> None:
    (open_clips / "model" / "README.md").write_text(f"---\n{card}\n---\n# A model\nlicense: mit\n")
    heard = small.Heard()
    made = pack_run(PackOptions(open_clips / "run", out=open_clips / "out.mlrpl", **options), heard)
    assert (made.weights, made.licence) == (False, licence)
    assert made.left_out is not None
    assert why in made.left_out
    assert not [name for name in open_tensors(made.path).tensors if name.startswith(BACKBONE)]
    expected = (
        [] if "without_weights" in options else [f"the weights of local-dir:model are not in the file: {made.left_out}"]
    )
    assert heard.warnings == expected


def test_only_licences_that_let_anyone_pass_weights_on_are_shareable() -> None:
    assert [shareable(name) for name in ("MIT", "Apache-2.0", "bsd-3-clause", "cc0-1.0")] == [
        "MIT",
        "Apache-2.0",
        "BSD-3-Clause",
        "CC0-1.0",
    ]
    for name in (None, "", "other", "unknown", "cc-by-nc-4.0", "cc-by-nd-4.0", "openrail", "apple-amlr", "research"):
        assert shareable(name) is None


def test_a_backbone_that_is_a_name_is_named_with_its_address() -> None:
    assert describe(BackboneOptions("RN50")).address == (
        "https://openaipublic.azureedge.net/clip/models/"
        "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762/RN50.pt"
    )
    named = describe(BackboneOptions("ViT-B-16-SigLIP:webli", recorded=None))
    assert named.address == "https://huggingface.co/timm/ViT-B-16-SigLIP"
    assert portable_name("local-dir:/a/b") == "local-dir:b"
    assert [portable_name(name) for name in ("tiny", "hf-hub:a/b@c", "/a/b.pt")] == ["tiny", "hf-hub:a/b@c", "b.pt"]


def test_without_weights_the_file_is_asked_for_and_its_hash_is_checked(place: Path, tmp_path: Path, mlrpl) -> None:
    """The line names the file with its SHA-256; another file, and one that is no CLIP, are refused."""
    path = pack(place / "run", out=tmp_path / "bare.mlrpl", without_weights=True).path
    image, original = place / "prepared" / "images" / "003.png", place / "clip.safetensors"
    digest = read_pack(path).info.file_sha256
    wanted = f"give the original clip.safetensors (SHA-256 {digest}) with --backbone"
    asked = ["predict", image, f"--run={path}", "--device=cpu"]
    done = mlrpl(*asked)
    told = f"mlrpl: error: {path} does not hold the weights of its backbone; {wanted}\n"
    assert (done.code, done.err) == (1, told)
    wrong = small.write_backbone(tmp_path / "wrong.safetensors", seed=1)
    done = mlrpl(*asked, f"--backbone={wrong}")
    assert done.code == 1
    assert "this run was trained with other weights of clip.safetensors: expected fingerprint" in done.err
    assert done.err.endswith(f"; {wanted}\n")
    assert done.err.count("\n") == 1
    assert_same_bits(said(path, backbone=str(original)), said(place / "run"))
    assert mlrpl(*asked, f"--backbone={original}").code == 0


def test_a_run_whose_backbone_lies_elsewhere_takes_it_by_its_name(place: Path, tmp_path: Path) -> None:
    """The same option, of a run folder."""
    shutil.copytree(place / "run", tmp_path / "run")
    moved = shutil.copy(place / "clip.safetensors", tmp_path / "moved.safetensors")
    assert_same_bits(said(tmp_path / "run", backbone=str(moved)), said(place / "run"))


def test_a_run_whose_backbones_file_is_gone_is_packed_without(place: Path, tmp_path: Path) -> None:
    given = small.write_training(tmp_path, epochs=1) | {"method": "linear"}
    run = train(TrainConfig(**given)).run
    Path(given["backbone"]).unlink()
    assert pack(run).file_sha256 is None
    with pytest.raises(WeightsError, match="is no file or folder that is there"):
        pack(run, **MINE)


def test_a_backbone_of_other_weights_than_the_runs_is_not_packed(tmp_path: Path) -> None:
    given = small.write_training(tmp_path, epochs=1) | {"method": "linear"}
    run = train(TrainConfig(**given)).run
    small.write_backbone(Path(given["backbone"]), seed=1)
    with pytest.raises(RunError, match="this run was trained with other weights of"):
        pack(run, **MINE)


def test_the_checksum_of_another_file_is_not_told_as_the_original_one(tmp_path: Path) -> None:
    given = small.write_training(tmp_path, epochs=1) | {"method": "linear"}
    run, heard = train(TrainConfig(**given)).run, small.Heard()
    small.write_backbone(Path(given["backbone"]), seed=1)
    made = pack_run(PackOptions(run, out=tmp_path / "run.mlrpl", without_weights=True), heard)
    assert made.file_sha256 is None
    assert heard.warnings[0].startswith(f"{given['backbone']} is not what the run was trained with: ")


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("license: mit", "mit"),
        ('license: "mit"  # as the code', "mit"),
        ("license: mit\nlicense: cc-by-nc-4.0", None),
        ("license: mit\nlicense_name: foo-nc", "other (foo-nc)"),
        ("license: mit\nlicense_link: https://example.org/terms", "other (https://example.org/terms)"),
        ("license: mit\n  or-a-later-one", None),
        ("license:\n- mit\n- cc-by-nc-4.0", None),
        ("license: [mit]", None),
        ("tags: x", None),
    ],
)
def test_a_card_gives_a_licence_only_where_it_says_one_alone(tmp_path: Path, card: str, licence: str | None) -> None:
    (tmp_path / "README.md").write_text(f"---\ntags:\n- clip\n{card}\n---\nlicense: mit\n")
    assert licence_in(tmp_path / "README.md") == licence


def test_what_a_stranger_wrote_of_an_architecture_asks_no_network() -> None:
    vision = {"timm_model_name": "hf-hub:someone/model", "image_size": 64}
    recorded = {"architecture": {"model": {"embed_dim": 4, "vision_cfg": vision, "text_cfg": {}}, "preprocess": {}}}
    with pytest.raises(WeightsError, match="names no architecture of timm, but a place"):
        reassemble(BackboneOptions("x", recorded=recorded), "file", {})


def test_tensors_of_something_else_and_an_unknown_family_are_told() -> None:
    for family in ("files", "open_clip", "openai", "tiny", "lite", "nobody's"):
        with pytest.raises(MlrplError) as error:
            rebuilt = rebuild(family, BackboneOptions("x", recorded={}), {"visual.proj": torch.zeros(2)})
            rebuilt.image_tower(64)
        assert "\n" not in str(error.value)


# Where it goes in place of a folder


def test_export_makes_of_it_what_it_makes_of_the_run(place: Path, tmp_path: Path, monkeypatch) -> None:
    """The module that is traced has the same bits, and says the same of itself but for the licence."""
    made: list[tuple[RunModel, ModelInfo]] = []
    monkeypatch.setattr(models, "archive_of", lambda model, info: made.append((model, info)) or b"archive")
    path = pack(place / "run", **MINE).path
    for run in (place / "run", path):
        export_model(ModelOptions(run, format="torch", out=tmp_path / "model.pt2"), overwrite=True)
    (of_run, told), (of_file, found) = made
    assert found == replace(told, licence="mine alone")
    for (name, one), (other, expected) in zip(of_file.state_dict().items(), of_run.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(one, expected)


@needs_onnx
def test_eight_bits_of_it_need_the_data_by_its_folder(place: Path, tmp_path: Path) -> None:
    path = pack(place / "run", **MINE).path
    with pytest.raises(RunError, match=r"is a file of mlrpl pack, which holds no data; name its folder with --data"):
        export_model(ModelOptions(path, out=tmp_path / "int8.onnx", int8=True))


def test_visualize_draws_images_and_nothing_that_needs_data(place: Path, tmp_path: Path, mlrpl) -> None:
    path = pack(place / "run", out=tmp_path / "mine.mlrpl", **MINE).path
    image = place / "prepared" / "images" / "003.png"
    done = mlrpl("visualize", image, f"--run={path}", "--device=cpu", "--json")
    assert done.code == 0, done.err
    (file,) = json.loads(done.out)["result"]["files"]
    assert Path(file) == tmp_path / "mine-figures" / "attention-1.png"
    done = mlrpl("visualize", f"--run={path}")
    assert (done.code, "holds no data; name the images to draw" in done.err) == (1, True)


@pytest.mark.parametrize(
    "command",
    [
        ["eval", "--run={}"],
        ["train", "--resume", "--run={}"],
        ["decide", "--run={}"],
        ["complete", "--run={}"],
        ["check", "--run={}"],
        ["suggest", "--run={}"],
        ["report", "{}"],
        ["pack", "{}"],
    ],
    ids=lambda command: command[0],
)
def test_what_needs_the_data_refuses_it_in_one_line(place: Path, command: list[str], mlrpl, monkeypatch) -> None:
    monkeypatch.chdir(place)
    pack(place / "run", out=place / "mine.mlrpl", without_weights=True)
    done = mlrpl(*(part.format("mine.mlrpl") for part in command))
    assert (done.code, done.err.count("\n")) == (1, 1), done.err
    assert "mine.mlrpl" in done.err
    assert "folder" in done.err
    assert "bug" not in done.err


# What is refused


def test_a_file_that_is_not_whole_or_not_ours_is_told(place: Path, tmp_path: Path) -> None:
    content = pack(place / "run", **MINE).path.read_bytes()
    half = len(content) // 2
    flipped = content[:-40] + bytes([content[-40] ^ 1]) + content[-39:]
    foreign = (place / "clip.safetensors").read_bytes()
    cases = [
        (content[:-1], "is damaged, cut off, or no file of"),
        (content[:half], "is damaged, cut off, or no file of"),
        (content + b"\0", "is damaged, cut off, or no file of"),
        (flipped, "its content does not match its checksum"),
        (content.replace(b"mine alone", b"mine, mine"), "its content does not match its checksum"),
        (foreign, "is no file of `mlrpl pack`: it lacks 'pack'"),
        ((place / "run" / "best.safetensors").read_bytes(), "is no file of `mlrpl pack`: it lacks 'pack'"),
        (b"", "is damaged, cut off, or no file of"),
        (os.urandom(500), "is damaged, cut off, or no file of"),
    ]
    path = tmp_path / "other.mlrpl"
    for given, told in cases:
        path.write_bytes(given)
        with pytest.raises(RunError) as error:
            Predictor.from_run(path)
        assert told in str(error.value)
        assert str(error.value).startswith(f"{path} ")
        assert str(error.value).endswith("`mlrpl pack RUN` writes one")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("part", "changed", "told"),
    [
        ("pack", {"format": 2}, "expected format 1 of packed runs, got 2; update mlrpl"),
        ("pack", {"family": None}, "it does not say what its backbone's weights are"),
        ("pack", {"run_sha256": "0"}, "its decisions are not of its checkpoint"),
        ("pack", {"more": 1}, "unknown option 'more'"),
        ("run", {"classes": ["a"]}, "for 1 classes"),
        ("decisions", {"format": 9}, "expected format 1, got 9"),
    ],
)
def test_a_file_that_contradicts_itself_is_told(
    place: Path, tmp_path: Path, part: str, changed: dict[str, Any], told: str
) -> None:
    """Its checksum is right: somebody made it so."""
    file = open_tensors(pack(place / "run", **MINE).path)
    told_of = {**file.metadata, part: json.dumps(json.loads(file.metadata[part]) | changed)}
    write_tensors(tmp_path / "x.mlrpl", file.tensors, told_of)
    with pytest.raises(RunError) as error:
        Predictor.from_run(tmp_path / "x.mlrpl")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_what_mlrpl_did_not_write_is_replaced_only_when_asked(place: Path, tmp_path: Path) -> None:
    options = PackOptions(place / "run", out=tmp_path / "mine.mlrpl", without_weights=True)
    for foreign in (b"mine", (place / "run" / "best.safetensors").read_bytes()):
        (tmp_path / "mine.mlrpl").write_bytes(foreign)
        with pytest.raises(DataError, match=r"mlrpl did not write it; --overwrite replaces it"):
            pack_run(options)
        assert (tmp_path / "mine.mlrpl").read_bytes() == foreign
    size = pack_run(options, overwrite=True).bytes
    assert is_pack(tmp_path / "mine.mlrpl")
    assert pack_run(options).bytes == size
    assert "pack" in metadata_of(tmp_path / "mine.mlrpl")


def test_options_that_do_not_go_together_are_told(place: Path) -> None:
    with pytest.raises(ConfigError, match="--weights-licence is for weights in the file, got --without-weights too"):
        pack(place / "run", without_weights=True, weights_licence="MIT")


def test_a_backbone_is_made_of_what_it_says_it_is_made_of() -> None:
    """Copies: whoever changes them changes no backbone that is loaded later."""
    backbone = load_backbone(BackboneOptions("tiny"), text=False)
    assert backbone.weights is not None
    again = rebuild("tiny", BackboneOptions("tiny", recorded=backbone.record), backbone.weights)
    assert again.fingerprint == backbone.fingerprint
