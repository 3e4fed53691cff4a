"""Names of open_clip's backbones: architectures, tags, the hub and folders, without the network."""

from __future__ import annotations

import json
import logging
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mlrpl_cli.core.backbones.backbone import CLIP_RULE, BackboneOptions
from mlrpl_cli.core.backbones.open_clip import catalog
from mlrpl_cli.core.backbones.open_clip.family import FAMILY
from mlrpl_cli.core.backbones.open_clip.library import open_clip
from mlrpl_cli.core.backbones.openai.resnet import ResNetEncoder
from mlrpl_cli.core.backbones.openai.vit import VisionTransformer
from mlrpl_cli.core.backbones.registry import describe, family_of, load_backbone
from mlrpl_cli.core.io.errors import WeightsError
from scripts.small_backbones import lively_state, model_cfg

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = ("open_clip_config.json", "open_clip_model.safetensors")
SIGLIP_INPUT = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bilinear", "resize_mode": "squash"}

pytestmark = pytest.mark.usefixtures("one_thread")


def write_model(
    folder: Path, vision: str, text: str = "CLIP", preprocess: dict[str, Any] | None = None
) -> dict[str, Tensor]:
    """A folder as open_clip pushes it to the hub."""
    folder.mkdir(parents=True, exist_ok=True)
    model = model_cfg(vision, text)
    state = {**lively_state(model), "logit_scale": torch.tensor(4.6), "logit_bias": torch.tensor([-10.0])}
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / FILES[1])
    (folder / FILES[0]).write_text(json.dumps({"model_cfg": model, "preprocess_cfg": preprocess or {}}))
    (folder / "README.md").write_text("---\ntags:\n- clip\nlicense: apache-2.0\n---\n# A model\n")
    return state


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """A cache of the hub below `tmp_path`, and a client that fetches into it from `tmp_path / "remote"`."""
    asked: list[dict[str, Any]] = []
    cache = tmp_path / "cache"

    def download(repo_id: str, filename: str, revision: str | None = None, **ignored: Any) -> str:
        asked.append({"repository": repo_id, "file": filename, "revision": revision})
        source = tmp_path / "remote" / filename
        if not source.is_file():
            raise FileNotFoundError(f"404 Client Error: {filename}\n  is not there")
        target = cache / f"models--{repo_id.replace('/', '--')}"
        (target / "refs").mkdir(parents=True, exist_ok=True)
        (target / "refs" / "main").write_text(COMMIT)
        kept = target / "snapshots" / COMMIT / filename
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(source.read_bytes())
        return str(kept)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(open_clip().pretrained, "hf_hub_download", download)
    return lambda: asked


def test_a_folder_is_what_its_configuration_says(tmp_path: Path) -> None:
    write_model(tmp_path, "SigLIP, SigLIP 2", "SigLIP", SIGLIP_INPUT)
    options = BackboneOptions(f"local-dir:{tmp_path}")
    backbone, told = load_backbone(options), describe(options)
    assert (backbone.rule.mean, backbone.rule.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert (backbone.rule.resampling, backbone.rule.size, backbone.rule.stride) == ("bilinear", 64, 16)
    assert (told.rule, told.channels, told.embed_dim) == (backbone.rule, backbone.channels, backbone.embed_dim)
    assert (told.licence, told.downloaded, told.defaults.image_size) == ("apache-2.0", True, 64)
    assert backbone.record["logit_scale"] == pytest.approx(4.6)
    assert backbone.record["logit_bias"] == -10


@torch.no_grad()
@pytest.mark.parametrize("vision", ["SigLIP, SigLIP 2", "EVA02 B, L", "CLIP ViT, GELU"])
def test_a_run_rebuilds_from_what_it_recorded_not_from_the_folder(vision: str, tmp_path: Path) -> None:
    write_model(tmp_path, vision, preprocess=SIGLIP_INPUT)
    dense = "values" if vision == "SigLIP, SigLIP 2" else "tokens"
    name = f"local-dir:{tmp_path}"
    first = load_backbone(BackboneOptions(name, dense=dense))  # type: ignore[arg-type]
    record = json.loads(json.dumps(first.record))
    told = json.loads((tmp_path / FILES[0]).read_text())
    (tmp_path / FILES[0]).write_text(json.dumps({**told, "preprocess_cfg": {}}))
    again, other = load_backbone(BackboneOptions(name, recorded=record)), load_backbone(BackboneOptions(name))
    assert again.fingerprint == first.fingerprint != other.fingerprint
    assert (again.rule, other.rule.mean) == (first.rule, CLIP_RULE.mean)
    images = torch.randn(1, 3, first.rule.size, first.rule.size)
    for field, expected in vars(first.image_tower(first.rule.size)(images)).items():
        torch.testing.assert_close(vars(again.image_tower(first.rule.size)(images))[field], expected)


@pytest.mark.parametrize(
    ("vision", "tower"), [("CLIP ViT, GELU", VisionTransformer), ("CLIP ResNet", ResNetEncoder), ("EVA01", None)]
)
def test_what_our_own_towers_compute_goes_through_them(vision: str, tower: type | None, tmp_path: Path) -> None:
    write_model(tmp_path, vision)
    made = load_backbone(BackboneOptions(f"local-dir:{tmp_path}")).image_tower(64 if vision != "EVA01" else 56)
    assert isinstance(made, tower) if tower else not isinstance(made, ResNetEncoder | VisionTransformer)


@pytest.mark.parametrize(
    ("tower", "changed", "told"),
    [
        ("vision_cfg", {"layers": 2}, "vision_cfg.layers is 2 there and 3 in the tensors"),
        ("vision_cfg", {"mlp_ratio": 2.0}, "vision_cfg.mlp_width is 128 there and 256 in the tensors"),
        ("vision_cfg", {"image_size": 96}, "vision_cfg.grid is 6 there and 4 in the tensors"),
        ("text_cfg", {"width": 128, "heads": 2}, "text_cfg.width is 128 there and 64 in the tensors"),
        ("text_cfg", {"layers": 1}, "text_cfg.layers is 1 there and 2 in the tensors"),
    ],
)
def test_a_configuration_of_other_sizes_than_the_tensors_is_refused(
    tower: str, changed: dict[str, Any], told: str, tmp_path: Path
) -> None:
    """Of our own towers, which take what is not said from the shapes: with these, heads would be of another width."""
    write_model(tmp_path, "CLIP ViT, GELU")
    change_model(tmp_path, tower, changed)
    with pytest.raises(WeightsError, match=re.escape(told)) as refused:
        load_backbone(BackboneOptions(f"local-dir:{tmp_path}"))
    assert "\n" not in str(refused.value)


def test_sizes_of_texts_do_not_matter_where_no_text_is_read(tmp_path: Path) -> None:
    write_model(tmp_path, "CLIP ViT, GELU")
    change_model(tmp_path, "text_cfg", {"layers": 1})
    assert load_backbone(BackboneOptions(f"local-dir:{tmp_path}"), text=False).channels == 64


def change_model(folder: Path, tower: str, changed: dict[str, Any]) -> None:
    told = json.loads((folder / FILES[0]).read_text())
    told["model_cfg"][tower] |= changed
    (folder / FILES[0]).write_text(json.dumps(told))


def test_a_run_whose_configuration_is_gone_says_so(tmp_path: Path) -> None:
    write_model(tmp_path / "model", "CLIP ViT, GELU")
    options = BackboneOptions(f"local-dir:{tmp_path / 'model'}")
    again = replace(options, recorded=dict(load_backbone(options).record))
    (tmp_path / "model" / FILES[0]).unlink()
    with pytest.raises(WeightsError, match=r"expected open_clip_config.json in it, .* got none; put it there, or give"):
        load_backbone(again, text=False)
    (tmp_path / "model").rename(tmp_path / "elsewhere")
    with pytest.raises(WeightsError, match="is no folder that is there; put it back, or check the path"):
        load_backbone(again, text=False)


def test_the_hub_is_asked_once_and_the_revision_is_kept(
    tmp_path: Path, hub: Callable[..., list[dict[str, Any]]]
) -> None:
    write_model(tmp_path / "remote", "ConvNeXt")
    options = BackboneOptions("hf-hub:someone/small")
    first = load_backbone(options)
    assert first.record["revision"] == COMMIT
    assert [(call["repository"], call["file"]) for call in hub()] == [("someone/small", name) for name in FILES]
    hub().clear()
    again = load_backbone(replace(options, recorded=dict(first.record)), text=False)
    assert again.fingerprint == first.fingerprint
    assert not hub()  # the revision that it was is in the cache
    assert describe(replace(options, recorded=dict(first.record))).downloaded
    assert not hub()


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between the tries of the hub's client


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("name", ["hf-hub:someone/small", "ViT-B-16-SigLIP2:webli"])
def test_a_hub_that_refuses_is_told_once_with_its_address(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = logging.getLogger("huggingface_hub")
    monkeypatch.setattr(client, "handlers", [caplog.handler])
    with socket.socket() as closed:  # bound, and not listening: who connects is refused
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        # open_clip has the cache's folder from when it was imported
        download = partial(huggingface_hub.hf_hub_download, cache_dir=tmp_path)
        monkeypatch.setattr(open_clip().pretrained, "hf_hub_download", download)
        with pytest.raises(WeightsError) as refused:
            load_backbone(BackboneOptions(name))
    said = str(refused.value)
    assert re.fullmatch(
        rf"cannot fetch {address}/\S+: .*refused; on a machine .* local-dir:FOLDER as the backbone", said
    )
    assert caplog.messages == []


def test_a_revision_is_asked_for(tmp_path: Path, hub: Callable[..., list[dict[str, Any]]]) -> None:
    write_model(tmp_path / "remote", "ConvNeXt")
    load_backbone(BackboneOptions("hf-hub:someone/small@v2"))
    assert {call["revision"] for call in hub()} == {"v2"}


def test_what_the_hub_has_not_is_told_in_one_line(tmp_path: Path, hub: Callable[..., list[dict[str, Any]]]) -> None:
    with pytest.raises(WeightsError, match=r"someone/small has no open_clip_config.json") as refused:
        load_backbone(BackboneOptions("hf-hub:someone/small"))
    assert "\n" not in str(refused.value)
    write_model(tmp_path / "remote", "ConvNeXt")
    (tmp_path / "remote" / FILES[1]).unlink()
    with pytest.raises(WeightsError, match=r"run hf download someone/small, .* give local-dir:FOLDER") as refused:
        load_backbone(BackboneOptions("hf-hub:someone/small"))
    assert "\n" not in str(refused.value)
    with pytest.raises(WeightsError, match="expected hf-hub:ORG/NAME"):
        load_backbone(BackboneOptions("hf-hub:small"))


@pytest.fixture
def small_tags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An architecture of our own in open_clip's lists, with two tags, one of them trained with QuickGELU."""
    config = {**model_cfg("CLIP ViT, GELU"), "quick_gelu": False}
    tag = {"url": "", "hf_hub": "someone/small/", "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    known = {"some_data": tag, "other_data": {**tag, "quick_gelu": True}}
    monkeypatch.setitem(open_clip().factory._MODEL_CONFIGS, "small-vit", config)
    monkeypatch.setitem(open_clip().pretrained._PRETRAINED, "small-vit", known)
    monkeypatch.setattr(catalog, "models", lambda: ("small-vit",))


@pytest.mark.usefixtures("small_tags")
def test_the_tag_decides_over_the_architecture(tmp_path: Path, hub: Callable[..., list[dict[str, Any]]]) -> None:
    write_model(tmp_path / "remote", "CLIP ViT, GELU")
    plain = load_backbone(BackboneOptions("small-vit:some-data"))
    quick = load_backbone(BackboneOptions("small-vit:other_data"))
    assert plain.notes == ()
    assert "was trained with QuickGELU" in quick.notes[0]
    assert quick.record["architecture"]["model"]["quick_gelu"]
    assert plain.rule.mean == (0.5, 0.5, 0.5)
    assert plain.fingerprint != quick.fingerprint
    assert describe(BackboneOptions("small-vit:some_data")).pretraining == "some_data"


@pytest.mark.usefixtures("small_tags")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("small-vit", "has several weights: some_data, other_data; say which, such as small-vit:some_data"),
        ("small-vit:some_dat", "has no weights 'some_dat'; did you mean 'some_data'"),
        ("random:small-vit:some_data", "say random:small-vit"),
        ("random:small-vi", "neither a file nor a known name"),
        ("local-dir:nowhere", "is no folder that is there"),
    ],
)
def test_names_that_mean_nothing_or_several_things_are_refused(name: str, told: str) -> None:
    with pytest.raises(WeightsError, match=told):
        load_backbone(BackboneOptions(name))


def test_a_configuration_that_is_none_is_told(tmp_path: Path) -> None:
    write_model(tmp_path, "ConvNeXt")
    sizes = {"embed_dim": 3, "vision_cfg": {"width": "wide"}, "text_cfg": {}}
    for content, told in (
        ("{", "is not JSON in UTF-8"),
        ("[]", r"expected a mapping, got \[\]"),
        ('{"model_cfg": {"embed_dim": 3}}', "expected a model_cfg of open_clip"),
        ('{"model_cfg": 3}', "expected a model_cfg of open_clip"),
        (json.dumps({"model_cfg": sizes}), "is no configuration of open_clip"),
    ):
        (tmp_path / FILES[0]).write_text(content)
        with pytest.raises(WeightsError, match=told) as refused:
            load_backbone(BackboneOptions(f"local-dir:{tmp_path}"))
        assert str(tmp_path / FILES[0]) in str(refused.value)


def test_weights_of_another_name_are_asked_for(tmp_path: Path) -> None:
    write_model(tmp_path, "ConvNeXt")
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).write_bytes((tmp_path / FILES[1]).read_bytes())
    (tmp_path / FILES[1]).unlink()
    with pytest.raises(WeightsError, match="expected one file of weights"):
        load_backbone(BackboneOptions(f"local-dir:{tmp_path}"))
    (tmp_path / "b.safetensors").unlink()
    assert load_backbone(BackboneOptions(f"local-dir:{tmp_path}"), text=False).channels == 64


def test_an_untrained_one_is_the_same_each_time() -> None:
    options = BackboneOptions("random:ViT-S-32-alt")
    first, second = (load_backbone(options, text=False) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    told = describe(options)
    assert (told.pretraining, told.downloaded, told.channels, told.embed_dim) == ("untrained", True, 384, 256)


def test_every_architecture_of_open_clip_is_a_name_and_openais_stay_openais() -> None:
    assert set(open_clip().list_models()) == set(FAMILY.names())
    assert all(FAMILY.claims(f"{name}:some_tag") and FAMILY.claims(f"random:{name}") for name in FAMILY.names())
    assert family_of("RN50") is not FAMILY
    assert family_of("ViT-B/32") is not FAMILY
    assert family_of("ViT-B/32:openai") is FAMILY
    assert not FAMILY.claims("weights/ViT-B-32.pt")


def test_nothing_of_open_clip_is_imported_until_one_of_its_backbones_is_used() -> None:
    code = (
        "import sys; from mlrpl_cli.core.backbones.backbone import BackboneOptions as O;"
        "from mlrpl_cli.core.backbones.registry import describe, load_backbone, family_of;"
        "describe(O('tiny')); load_backbone(O('tiny'));"
        "assert family_of('ViT-B-16-SigLIP2-384:webli').claims('hf-hub:a/b');"
        "print([name for name in ('open_clip', 'timm', 'torchvision', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
