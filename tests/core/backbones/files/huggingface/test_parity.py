"""transformers' own modules beside the towers made of their files."""

import json
from dataclasses import replace

import pytest
import torch

from mlrpl_cli.core.backbones.backbone import BackboneOptions
from mlrpl_cli.core.backbones.files.family import FAMILY
from mlrpl_cli.core.io.errors import WeightsError
from tests.core.backbones.files.models import LENGTH, PATCH, SIZE, images, relative_error, transformers_model

pytest.importorskip("transformers", reason="parity is with transformers' own modules")
TOKENS = [[49406, 320, 1125, 49407], [49406, 1929, 49407]]


def pooled(output):
    return getattr(output, "pooler_output", output)


def padded(tokens: list[list[int]], end: int) -> torch.Tensor:
    return torch.tensor([row + [end] * (LENGTH - len(row)) for row in tokens])


CASES = {
    "as OpenAI's": ("CLIP", {}, {}),
    "GELU": ("CLIP", {"hidden_act": "gelu"}, {"hidden_act": "gelu"}),
    "tanh in one tower": ("CLIP", {"hidden_act": "gelu_new"}, {"hidden_act": "gelu"}),
    "other eps": ("CLIP", {"layer_norm_eps": 1e-2}, {"layer_norm_eps": 1e-3}),
    "other heads": ("CLIP", {"num_attention_heads": 6}, {"num_attention_heads": 4}),
    "an older file's end": ("CLIP", {}, {"eos_token_id": 2}),
    "a size beside the patches": ("CLIP", {"image_size": SIZE + 5}, {}),
    "SigLIP": ("Siglip", {}, {}),
    "SigLIP, GELU": ("Siglip", {"hidden_act": "gelu"}, {"hidden_act": "gelu"}),
    "SigLIP, other heads": ("Siglip", {"num_attention_heads": 6}, {"num_attention_heads": 4}),
    "SigLIP, a size beside the patches": ("Siglip", {"image_size": SIZE + 5}, {}),
}


@torch.no_grad()
@pytest.mark.parametrize(("kind", "vision", "text"), CASES.values(), ids=CASES)
def test_towers_compute_what_transformers_computes(kind, vision, text, tmp_path):
    model = transformers_model(kind, tmp_path, vision, text)
    backbone = FAMILY.load(BackboneOptions(str(tmp_path)))
    assert backbone.rule.size == SIZE
    assert backbone.rule.stride == PATCH
    tower, words = backbone.image_tower(SIZE), backbone.text_tower()
    size = model.config.vision_config.image_size  # what is beyond the last whole patch is not looked at
    pixels = torch.zeros(2, 3, size, size)
    pixels[:, :, :SIZE, :SIZE] = images()
    assert relative_error(tower(pixels[:, :, :SIZE, :SIZE]).pooled, pooled(model.get_image_features(pixels))) < 1e-4
    rows = TOKENS if kind == "CLIP" else [row + [0] * (LENGTH - len(row)) for row in TOKENS]
    expected = pooled(model.get_text_features(padded(rows, 49407)))
    assert relative_error(words.encode_tokens(rows), expected) < 1e-4


def test_a_sharded_folder_gives_the_same(tmp_path):
    model = transformers_model("CLIP", tmp_path / "whole", {}, {})
    model.save_pretrained(tmp_path / "shards", max_shard_size="1MB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    whole, shards = (FAMILY.load(BackboneOptions(str(tmp_path / name))) for name in ("whole", "shards"))
    assert whole.fingerprint == shards.fingerprint


def test_a_processor_beside_says_the_input_and_decides_the_fingerprint(tmp_path):
    transformers_model("CLIP", tmp_path, {}, {})
    before = FAMILY.load(BackboneOptions(str(tmp_path)), text=False)
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    said = {"image_mean": mean, "image_std": std, "resample": 2, "size": {"shortest_edge": SIZE}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    after = FAMILY.load(BackboneOptions(str(tmp_path)), text=False)
    assert (after.rule.mean, after.rule.std, after.rule.resampling) == (tuple(mean), tuple(std), "bilinear")
    assert (before.rule.resampling, before.fingerprint != after.fingerprint) == ("bicubic", True)


@torch.no_grad()
def test_a_run_rebuilds_from_its_record_without_the_configuration(tmp_path):
    transformers_model("Siglip", tmp_path, {}, {})
    options = BackboneOptions(str(tmp_path))
    first = FAMILY.load(options)
    (tmp_path / "config.json").unlink()
    again = FAMILY.load(replace(options, recorded=json.loads(json.dumps(first.record))))
    assert (again.fingerprint, again.rule, again.record) == (first.fingerprint, first.rule, first.record)
    torch.testing.assert_close(again.image_tower(SIZE)(images()).joint, first.image_tower(SIZE)(images()).joint)


def test_a_configuration_of_other_sizes_is_refused(tmp_path):
    transformers_model("CLIP", tmp_path, {}, {})
    content = json.loads((tmp_path / "config.json").read_text())
    content["vision_config"]["num_hidden_layers"] = 3
    (tmp_path / "config.json").write_text(json.dumps(content))
    expected = r"config\.json is not of .*: vision_cfg\.layers is 3 there and 2 in the tensors; remove it"
    with pytest.raises(WeightsError, match=expected):
        FAMILY.load(BackboneOptions(str(tmp_path)))
