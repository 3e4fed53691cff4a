"""What a file's shapes do not say is known, asked for, or refused: never taken in silence."""

import json
import re

import pytest
import torch
from safetensors.torch import save_file

from mlrpl_cli.core.backbones.backbone import BackboneOptions
from mlrpl_cli.core.backbones.files import catalogue, family
from mlrpl_cli.core.backbones.files.family import FAMILY
from mlrpl_cli.core.backbones.files.sizes import differences, sizes_of_state
from mlrpl_cli.core.backbones.open_clip.building import empty_text, empty_visual
from mlrpl_cli.core.backbones.openai.tokenizer import tokenize
from mlrpl_cli.core.io.errors import WeightsError
from mlrpl_cli.core.io.files import sha256_of_file
from tests.core.backbones.files.models import (
    LENGTH,
    SIZE,
    clip,
    clip_config,
    images,
    relative_error,
    write_folder,
)

ASK = r"say --backbone-config NAME or FILE, FILE being its open_clip_config\.json or config\.json"
OPENAI_SIZES = {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}


def load(path, config=None, **more):
    return FAMILY.load(BackboneOptions(str(path), config), **more)


def save(model, path):
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return path


@torch.no_grad()
def check_parity(backbone, model):
    """Both towers beside open_clip's own model."""
    assert relative_error(backbone.image_tower(SIZE)(images()).pooled, model.encode_image(images())) < 1e-4
    rows = tokenize(["a photo of a dog", "boat"])
    padded = torch.tensor([row + [0] * (LENGTH - len(row)) for row in rows])
    assert relative_error(backbone.text_tower().encode_tokens(rows), model.encode_text(padded)) < 1e-4


# The two silent cases: LAION's GELU, which was read as QuickGELU, and ViT-H's heads of 80, which were read as 64.


def test_a_bare_state_dict_could_be_gelu_or_quick_gelu_and_is_refused_with_the_answers(tmp_path):
    path = save(clip(clip_config()), tmp_path / "laion_like.safetensors")
    expected = r"laion_like\.safetensors does not say its activation, its heads and its input; its shapes fit "
    expected += rf"openai \(QuickGELU, heads of 64\), openai-gelu \(the same with GELU\); {ASK}"
    with pytest.raises(WeightsError, match=expected):
        load(path)


@pytest.mark.parametrize(("name", "quick_gelu"), [("openai", True), ("openai-gelu", False)])
def test_the_answer_decides_the_activation(name, quick_gelu, tmp_path):
    gelu = clip(clip_config())
    path = save(gelu, tmp_path / "clip.safetensors")
    model = clip(clip_config(quick_gelu=quick_gelu))
    model.load_state_dict(gelu.state_dict())
    check_parity(load(path, name), model)
    other = {"openai": "openai-gelu", "openai-gelu": "openai"}[name]
    assert load(path, name).fingerprint != load(path, other).fingerprint


def test_heads_of_another_width_are_as_the_configuration_says_and_asked_for_without_it(tmp_path):
    config = clip_config({"width": 320, "head_width": 80}, quick_gelu=True)
    model = clip(config)
    folder = write_folder(tmp_path / "vit_h_like", model, config)
    check_parity(load(folder), model)
    (folder / "open_clip_config.json").rename(folder / "elsewhere.json")
    with pytest.raises(WeightsError, match="does not say its activation, its heads"):
        load(folder)
    check_parity(load(folder, str(folder / "elsewhere.json")), model)


KINDS = {
    "heads": clip_config({"head_width": 32}, {"heads": 4}),
    "an MLP of another ratio": clip_config({"mlp_ratio": 2.0}, {"mlp_ratio": 3.0}),
    "no norm in front": clip_config({"no_ln_pre": True}),
    "layer scale": clip_config({"ls_init_value": 1e-2}, {"ls_init_value": 1e-2}),
    "norms of another eps": clip_config({"norm_kwargs": {"eps": 1e-2}}, {"norm_kwargs": {"eps": 1e-2}}),
    "tanh GELU": clip_config({"act_kwargs": {"approximate": "tanh"}}, {"act_kwargs": {"approximate": "tanh"}}),
    "an average pool": clip_config({"pool_type": "avg", "final_ln_after_pool": True}),
    "normed queries": clip_config({"qk_norm": True}),
    "a ResNet with narrow heads": clip_config(
        {"layers": [1, 1, 1, 1], "width": 8, "head_width": 32, "patch_size": None}
    ),
}


@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)
def test_other_forms_are_right_with_their_configuration_and_refused_without(config, tmp_path):
    model = clip(config)
    folder = write_folder(tmp_path / "clip", model, config)
    if config["vision_cfg"].get("no_ln_pre") or config["vision_cfg"].get("pool_type"):
        backbone = load(folder)
        with torch.no_grad():
            got, expected = backbone.image_tower(SIZE)(images()).pooled, model.encode_image(images())
        assert relative_error(got, expected) < 1e-4
    else:
        check_parity(load(folder), model)
    (folder / "open_clip_config.json").unlink()
    with pytest.raises(WeightsError, match=r"say --backbone-config "):
        load(folder)


@pytest.mark.parametrize("name", ["an MLP of another ratio", "no norm in front", "layer scale", "normed queries"])
def test_what_shapes_show_to_be_another_form_is_not_openais(name, tmp_path):
    path = save(clip(KINDS[name]), tmp_path / "clip.safetensors")
    with pytest.raises(
        WeightsError, match=r"shapes fit no configuration that is known here; say --backbone-config FILE"
    ):
        load(path)
    with pytest.raises(WeightsError, match=r"backbone_config=openai does not fit: vision_cfg\.\w+ is .*, expected"):
        load(path, "openai")


def test_a_width_without_whole_heads_of_64_is_not_openais(tmp_path):
    path = save(clip(clip_config({"width": 96, "head_width": 32})), tmp_path / "clip.safetensors")
    with pytest.raises(WeightsError, match=r"openai does not fit: vision_cfg\.width 96 is no multiple of heads of 64"):
        load(path, "openai")


def test_an_input_rule_is_the_configurations_and_decides_the_fingerprint(tmp_path):
    config = clip_config()
    model = clip(config)
    said = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bilinear"}
    folder = write_folder(tmp_path / "clip", model, config, said)
    backbone = load(folder)
    assert (list(backbone.rule.mean), list(backbone.rule.std)) == (said["mean"], said["std"])
    assert backbone.rule.resampling == "bilinear"
    assert backbone.fingerprint != load(folder, "openai-gelu").fingerprint


def test_a_configuration_that_is_not_of_the_weights_is_refused(tmp_path):
    folder = write_folder(tmp_path / "clip", clip(clip_config()), clip_config({"layers": 3}, {"vocab_size": 7}))
    expected = r"open_clip_config\.json is not of .*\.safetensors: vision_cfg\.layers is 3 there and 2 in the tensors, "
    expected += rf"text_cfg\.vocab_size is 7 there and 49408 in the tensors; remove it, give the file .*{ASK}"
    with pytest.raises(WeightsError, match=expected):
        load(folder)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", r"open_clip_config\.json is not JSON"),
        ("[]", "expected a mapping"),
        ('{"model_cfg": 3}', r"expected a model_cfg of open_clip, got 3"),
        (
            '{"model_cfg": {"embed_dim": 24, "vision_cfg": {"width": "x"}, "text_cfg": {}}}',
            "is no configuration of open_clip",
        ),
        ('{"other": 1}', "expected embed_dim, vision_cfg, text_cfg of a model_cfg"),
    ],
)
def test_a_configuration_that_is_none_is_told(content, expected, tmp_path):
    folder = write_folder(tmp_path / "clip", clip(clip_config()), {})
    (folder / "open_clip_config.json").write_text(content)
    with pytest.raises(WeightsError, match=expected):
        load(folder)


def test_openais_own_marks_are_openais_form_and_it_is_said(tmp_path):
    model = clip(clip_config(quick_gelu=True))
    torch.save({**model.state_dict(), **OPENAI_SIZES}, tmp_path / "clip.pt")
    backbone = load(tmp_path / "clip.pt")
    check_parity(backbone, model)
    assert re.search(
        r"is taken as OpenAI's \(QuickGELU, heads of 64, its input\): it carries the sizes", backbone.notes[0]
    )


def test_openais_marks_on_another_form_are_refused(tmp_path):
    torch.save({**clip(clip_config({"mlp_ratio": 2.0})).state_dict(), **OPENAI_SIZES}, tmp_path / "clip.pt")
    with pytest.raises(
        WeightsError, match=r"has OpenAI's marks, but not its form: vision_cfg\.mlp_width is 256, expected 512"
    ):
        load(tmp_path / "clip.pt")


def test_an_archive_that_openai_published_is_openais_form_and_it_is_said(tmp_path, monkeypatch):
    model = clip(clip_config(quick_gelu=True))
    path = tmp_path / "clip.pt"
    tokens = torch.zeros(2, LENGTH, dtype=torch.long)
    torch.jit.trace(model, (images(), tokens), check_trace=False).save(str(path))
    with pytest.raises(WeightsError, match="TorchScript archive"):
        load(path)
    monkeypatch.setattr(family, "PUBLISHED_SHA256", {"ViT": sha256_of_file(path)})
    backbone = load(path)
    check_parity(backbone, model)
    assert "its SHA-256 is one that OpenAI published" in backbone.notes[0]


def state_of(model: dict) -> dict[str, torch.Tensor]:
    """The tensors that open_clip makes of a configuration, without values."""
    start = "text." if model.get("custom_text") else ""
    visual, text = empty_visual(model).state_dict(), empty_text(model).state_dict()
    named = {f"visual.{name}": tensor for name, tensor in visual.items()}
    return named | {start + name: tensor for name, tensor in text.items()}


def shallow(model: dict) -> dict:
    """Two layers in each transformer: the others add no other size."""
    vision, text = ({**tower, "layers": 2} for tower in (model["vision_cfg"], model["text_cfg"]))
    resnet = isinstance(model["vision_cfg"].get("layers"), list)
    return {**model, "vision_cfg": model["vision_cfg"] if resnet else vision, "text_cfg": text}


@pytest.mark.parametrize(
    ("name", "fitting"),
    [
        ("ViT-B-32", ["ViT-B-32", "ViT-B-32-quickgelu"]),
        ("ViT-H-14", ["ViT-H-14", "ViT-H-14-quickgelu"]),
        ("ViT-L-14-CLIPA", ["ViT-L-14-CLIPA"]),
        ("RN50x4", ["RN50x4", "RN50x4-quickgelu"]),
        ("ViT-B-16-SigLIP-256", ["ViT-B-16-SigLIP-256"]),
        ("ViT-SO400M-14-SigLIP-384", ["ViT-SO400M-14-SigLIP-378", "ViT-SO400M-14-SigLIP-384"]),
    ],
)
def test_the_configurations_whose_shapes_fit_are_found(name, fitting):
    assert sorted(catalogue.fitting_names(state_of(catalogue.configurations()[name]))) == fitting


def test_every_configuration_has_the_sizes_of_what_open_clip_builds():
    """Without those of timm and transformers, whose sizes are compared tensor by tensor."""
    own = {
        name: shallow(model)
        for name, model in catalogue.configurations().items()
        if not model["vision_cfg"].get("timm_model_name") and not model["text_cfg"].get("hf_model_name")
    }
    assert len(own) > 50
    for name, model in own.items():
        if "multimodal_cfg" not in model:
            assert differences(model, sizes_of_state(state_of(model))) == [], name


def test_the_one_configuration_that_fits_is_taken_and_said(tmp_path, monkeypatch):
    config = clip_config({"no_ln_pre": True})
    monkeypatch.setattr(catalogue, "configurations", lambda: {"ViT-mine": config})
    monkeypatch.setattr(catalogue, "pretrainings", lambda name: {"a": {"mean": (0.5,) * 3, "std": (0.5,) * 3}})
    backbone = load(save(clip(config), tmp_path / "clip.safetensors"))
    assert backbone.notes[0].endswith("is taken as open_clip's ViT-mine, the one configuration that its shapes fit")
    assert backbone.rule.mean == (0.5, 0.5, 0.5)


def test_a_name_gives_the_input_of_its_pretraining(tmp_path, monkeypatch):
    config = clip_config()
    tags = {
        "a": {"mean": (0.5,) * 3, "std": (0.5,) * 3, "quick_gelu": True},
        "b": {"mean": (0.1,) * 3, "std": (1,) * 3},
    }
    monkeypatch.setattr(catalogue, "configurations", lambda: {"ViT-mine": config})
    monkeypatch.setattr(catalogue, "pretrainings", lambda name: tags)
    path = save(clip(config), tmp_path / "clip.safetensors")
    with pytest.raises(
        WeightsError, match="ViT-mine takes other images after each pretraining; say which, such as ViT-mine:a"
    ):
        load(path, "ViT-mine")
    with pytest.raises(WeightsError, match="ViT-mine has no pretraining 'c'; known: a, b"):
        load(path, "ViT-mine:c")
    quick, plain = load(path, "ViT-mine:a"), load(path, "ViT-mine:b")
    assert (quick.rule.mean, plain.rule.mean) == ((0.5,) * 3, (0.1,) * 3)
    assert [backbone.record["architecture"]["model"].get("quick_gelu", False) for backbone in (quick, plain)] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("ViT-B-23", r"no configuration and no file is called 'ViT-B-23'; did you mean 'ViT-B-32'\?"),
        ("ViT-B-32", r"backbone_config=ViT-B-32 does not fit: .*its shapes fit openai \(QuickGELU"),
        ("RN50", r"RN50 is OpenAI's name, with QuickGELU, and open_clip's, with GELU; say openai or openai-gelu"),
        ("gone.json", r"cannot read gone\.json: No such file"),
    ],
)
def test_an_option_that_cannot_be_is_answered(config, expected, tmp_path):
    path = save(clip(clip_config()), tmp_path / "clip.safetensors")
    with pytest.raises(WeightsError, match=expected):
        load(path, config)


@pytest.mark.parametrize("content", ["model_cfg", "open_clip_config"])
def test_the_option_takes_a_file(content, tmp_path):
    config = clip_config({"head_width": 32})
    model = clip(config)
    path = save(model, tmp_path / "clip.safetensors")
    (tmp_path / "mine.json").write_text(json.dumps(config if content == "model_cfg" else {"model_cfg": config}))
    check_parity(load(path, str(tmp_path / "mine.json")), model)


def test_a_text_encoder_of_its_own_is_found_under_either_name(tmp_path):
    """open_clip loads the plain names into a configuration with `custom_text`."""
    config = clip_config(custom_text=True)
    model = clip(clip_config())
    check_parity(load(write_folder(tmp_path / "clip", model, config)), model)


def test_a_small_vocabulary_without_its_tokenizer_is_told_when_texts_are_encoded(tmp_path):
    config = clip_config(text={"vocab_size": 50})
    folder = write_folder(tmp_path / "clip", clip(config), config)
    load(folder, text=False)
    with pytest.raises(WeightsError, match=r"vocabulary of 50, not CLIP's 49408, .* put its tokenizer.json there"):
        load(folder)


def test_a_description_needs_no_tensor(tmp_path, monkeypatch):
    config = clip_config()
    folder = write_folder(tmp_path / "clip", clip(config), config)
    monkeypatch.setattr(family.Weights, "read", None)
    told = FAMILY.describe(BackboneOptions(str(folder)))
    assert (told.family, told.channels, told.embed_dim, told.rule.size, told.downloaded) == (
        "file",
        128,
        24,
        SIZE,
        True,
    )


def test_without_text_only_the_image_encoder_is_read(tmp_path, monkeypatch):
    config = clip_config()
    folder, asked = write_folder(tmp_path / "clip", clip(config), config), []
    read = family.Weights.read
    monkeypatch.setattr(
        family.Weights, "read", lambda self, wanted: read(self, lambda name: wanted(name) and not asked.append(name))
    )
    backbone = load(folder, text=False)
    assert asked
    assert all(name.startswith("visual.") for name in asked)
    with pytest.raises(WeightsError, match="without its text encoder"):
        backbone.text_tower()
    assert backbone.fingerprint == load(folder).fingerprint


def test_a_path_is_claimed_when_something_is_there(tmp_path):
    assert FAMILY.claims(str(tmp_path))
    assert not any(FAMILY.claims(name) for name in (str(tmp_path / "gone.pt"), "RN50", "a\0b", "x" * 5000))


def test_half_precision_of_the_same_values_is_the_same_backbone(tmp_path):
    """OpenAI's archives hold float16; copies of them in float32 are the same weights."""
    model = clip(clip_config())
    half = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    save_file(half, tmp_path / "half.safetensors")
    save_file({name: tensor.float() for name, tensor in half.items()}, tmp_path / "full.safetensors")
    prints = {load(tmp_path / f"{name}.safetensors", "openai").fingerprint for name in ("half", "full")}
    assert len(prints) == 1
