"""What of a configuration is read, and what is refused by its name."""

from pathlib import Path

import pytest

from mlrpl_cli.core.backbones.files.huggingface.config import architecture_of
from mlrpl_cli.core.io.errors import WeightsError

PATH = Path("folder/config.json")
HALF = [0.5, 0.5, 0.5]


def config(kind="clip", vision=None, text=None, **more):
    return {"model_type": kind, "vision_config": vision or {}, "text_config": text or {}, **more}


def test_a_short_configuration_means_what_transformers_takes_for_it():
    """google/siglip-base-patch16-224 says little more than the types of its parts."""
    siglip = architecture_of(PATH, config("siglip"), None)
    assert siglip.model["embed_dim"] == siglip.model["text_cfg"]["width"] == 768
    assert siglip.model["text_cfg"]["vocab_size"] == 32000
    assert siglip.model["text_cfg"]["hf_tokenizer_name"] == "timm/ViT-B-16-SigLIP"
    assert siglip.model["vision_cfg"]["timm_kwargs"]["act_layer"] == "gelu_tanh"
    assert siglip.preprocess["mean"] == siglip.preprocess["std"] == HALF
    clip = architecture_of(PATH, config(), None)
    assert clip.model["quick_gelu"]
    assert clip.model["vision_cfg"]["head_width"] == 64
    assert clip.preprocess["interpolation"] == "bicubic"


def test_an_older_configurations_second_part_comes_first():
    """openai/clip-vit-large-patch14 has its sizes in `vision_config_dict` as well; transformers takes those."""
    both = config(vision={"hidden_size": 768}, vision_config_dict={"hidden_size": 1024, "num_attention_heads": 16})
    assert architecture_of(PATH, both, None).model["vision_cfg"]["width"] == 1024


def test_the_width_inside_is_met_exactly_where_it_is_no_multiple():
    """int(width · ratio), which open_clip and timm compute, has to give it back."""
    for width, inner in ((1152, 4304), (768, 3072), (48, 101), (1664, 8192)):
        vision = {"hidden_size": width, "intermediate_size": inner, "num_attention_heads": 16}
        made = architecture_of(PATH, config(vision=vision), None).model["vision_cfg"]
        assert int(made["width"] * made.get("mlp_ratio", 4.0)) == inner


@pytest.mark.parametrize(
    ("content", "processor", "expected"),
    [
        (config("siglip2"), None, r"model_type: expected 'clip' or 'siglip', got 'siglip2'; if open_clip has this"),
        (config("altclip"), None, "got 'altclip'"),
        (
            config(vision={"hidden_act": "relu"}),
            None,
            r"vision_config\.hidden_act: expected quick_gelu, gelu or .*'relu'",
        ),
        (
            config(text={"hidden_act": "gelu"}),
            None,
            r"text_config\.hidden_act: expected that of vision_config, quick_gelu",
        ),
        (config("siglip", vision={"hidden_act": "quick_gelu"}), None, r"vision_config\.hidden_act: expected gelu or"),
        (
            config("siglip", vision={"layer_norm_eps": 1e-5}),
            None,
            r"vision_config\.layer_norm_eps: expected 1e-06, got",
        ),
        (config("siglip", vision={"vision_use_head": False}), None, "vision_use_head: expected True, got False"),
        (
            config("siglip", text={"projection_size": 5}),
            None,
            r"projection_size: expected vision_config\.hidden_size 768",
        ),
        (config(vision={"num_channels": 1}), None, "num_channels: expected 3, got 1"),
        (config(vision={"num_attention_heads": 7}), None, "num_attention_heads: expected a divisor of hidden_size 768"),
        (config(vision={"qk_norm": True}), None, r"vision_config\.qk_norm = True is not computed here"),
        (config(use_registers=4), None, "use_registers = 4 is not computed here"),
        (config(vision={"hidden_size": "768"}), None, r"hidden_size: expected a whole number from 1 to .*, got '768'"),
        (config(vision={"image_size": [224, 336]}), None, "image_size: expected a whole number"),
        (config(vision=[1]), None, "vision_config: expected a mapping"),
        (config(text={"eos_token_id": [1, 2]}), None, "eos_token_id: expected the id of one token"),
        (config(text={"layer_norm_eps": 0}), None, "layer_norm_eps: expected a number between 0 and 1, got 0"),
        (
            config(),
            {"resample": 1},
            r"preprocessor_config\.json: resample: expected 2 \(bilinear\) or 3 \(bicubic\), got 1",
        ),
        (config(), {"rescale_factor": 1}, "rescale_factor: expected 1/255, got 1"),
        (config(), {"do_rescale": False}, "rescale_factor: expected 1/255"),
        (config(), {"image_std": [0, 1, 1]}, "image_std: expected three numbers"),
        (config(), {"image_mean": [0.5]}, "image_mean: expected three numbers"),
    ],
)
def test_what_is_not_computed_here_is_refused_by_its_name(content, processor, expected):
    with pytest.raises(WeightsError, match=expected):
        architecture_of(PATH, content, processor)


def test_input_that_is_not_normalised_is_left_as_it_is():
    preprocess = architecture_of(PATH, config(), {"do_normalize": False}).preprocess
    assert (preprocess["mean"], preprocess["std"]) == ([0, 0, 0], [1, 1, 1])


def test_settings_that_say_nothing_of_the_encoders_pass():
    plain = config(vision={"dropout": 0.0, "pruned_heads": {}, "torchscript": False, "transformers_version": "4"})
    assert architecture_of(PATH, {**plain, "logit_scale_init_value": 2.6}, None) == architecture_of(
        PATH, config(), None
    )


def test_the_first_of_one_token_ends_a_text_whose_vocabulary_has_larger_ones():
    text = architecture_of(PATH, config(text={"vocab_size": 49410}), None).model["text_cfg"]
    assert (text["pool_type"], text["eos_id"]) == ("eos", 49407)
    assert "pool_type" not in architecture_of(PATH, config(), None).model["text_cfg"]
