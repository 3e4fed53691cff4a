"""What a config.json of transformers says, in open_clip's words: CLIPModel and SiglipModel.

SigLIP 2 of a fixed resolution is a SiglipModel. What a configuration asks for and open_clip's modules do not compute is
refused by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlrpl_cli.core.backbones.files.huggingface.processors import input_of
from mlrpl_cli.core.backbones.open_clip.assembly import Architecture
from mlrpl_cli.core.io.errors import WeightsError, first_few
from mlrpl_cli.core.io.reading import shown

LARGEST = 1 << 20
"""Of a size in a configuration."""

CLIP_TEXT = {
    **{"vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12},
    **{"num_attention_heads": 8, "max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
    "eos_token_id": 49407,
}
CLIP_VISION = {
    **{"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    **{"num_channels": 3, "image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
}
SIGLIP_TEXT = {
    **{"vocab_size": 32000, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12},
    **{"num_attention_heads": 12, "max_position_embeddings": 64, "hidden_act": "gelu_pytorch_tanh"},
    **{"layer_norm_eps": 1e-6, "projection_size": None},
}
SIGLIP_VISION = {
    **{"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    **{"num_channels": 3, "image_size": 224, "patch_size": 16, "hidden_act": "gelu_pytorch_tanh"},
    **{"layer_norm_eps": 1e-6, "vision_use_head": True},
}
"""What transformers takes for what a configuration leaves out; a short configuration says little more than its type."""

IDLE = frozenset(
    """
    _attn_implementation _commit_hash _name_or_path architectures attention_dropout attn_implementation bos_token_id
    diversity_penalty dropout dtype eos_token_id id2label initializer_factor initializer_range label2id length_penalty
    license logit_scale_init_value max_length min_length model_type num_beam_groups num_beams num_return_sequences
    pad_token_id projection_dim repetition_penalty return_dict sep_token_id temperature text_config text_config_dict
    tie_word_embeddings tokenizer_class top_k top_p torch_dtype transformers_version typical_p use_cache vision_config
    vision_config_dict
    """.split()  # noqa: SIM905 - as a list it would be a page
)
"""Keys that say nothing of what the two encoders compute."""
TANH = ("gelu_pytorch_tanh", "gelu_new")
SIGLIP = "vit_base_patch16_siglip_224"
"""timm's form of SigLIP's image encoder; a configuration gives the sizes."""
SIGLIP_TOKENIZERS = {32000: "timm/ViT-B-16-SigLIP", 256000: "timm/ViT-B-16-SigLIP2-256"}
"""Vocabulary → the repository on the hub with its tokenizer, where no tokenizer lies beside the weights."""


def is_huggingface(config: Mapping[str, Any]) -> bool:
    """Whether a JSON file is a configuration of transformers for a model with two encoders."""
    return "model_type" in config or "vision_config" in config


def architecture_of(path: Path, config: Mapping[str, Any], processor: Mapping[str, Any] | None) -> Architecture:
    """The architecture that `config`, the content of `path`, tells, and the input rule that its processor tells.

    Without a processor, the input rule is what transformers takes for the model. Raises WeightsError.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in KINDS:
        known = "' or '".join(KINDS)
        advice = "if open_clip has this model, give its file with --backbone-config NAME"
        raise WeightsError(f"{path}: model_type: expected '{known}', got {shown(kind)}; {advice}")
    model = KINDS[kind](_Config(path, config))
    return Architecture(model, input_of(path, kind, processor, model["vision_cfg"]["image_size"]))


class _Config:
    """One configuration, whose values are asked for by name; what is asked for nowhere has to mean nothing."""

    def __init__(self, path: Path, content: Mapping[str, Any], part: str = "") -> None:
        self.path, self.content, self.part = path, content, part

    def tower(self, part: str, defaults: Mapping[str, Any]) -> _Config:
        """The configuration of one encoder, as transformers puts it together."""
        given, instead = self.content.get(part), self.content.get(f"{part}_dict")
        for content in (given, instead):
            if content is not None and not isinstance(content, Mapping):
                raise WeightsError(f"{self.path}: {part}: expected a mapping, got {shown(content)}; fetch it again")
        whole = {**defaults, **(given or {})}
        tower = _Config(self.path, whole if instead is None else {**whole, **defaults, **instead}, f"{part}.")
        tower.check_known(defaults)
        return tower

    def check_known(self, known: Mapping[str, Any]) -> None:
        """Raise WeightsError for what is set and not known here."""
        unknown = [name for name, value in self.content.items() if value and name not in known and name not in IDLE]
        if unknown:
            told = first_few(f"{self.part}{name} = {shown(self.content[name])}" for name in unknown)
            raise WeightsError(f"{self.path}: {told} is not computed here; give a model without it")

    def refuse(self, name: str, expected: str) -> WeightsError:
        got = shown(self.content.get(name))
        return WeightsError(
            f"{self.path}: {self.part}{name}: expected {expected}, got {got}; other models are not read"
        )

    def size(self, name: str) -> int:
        value = self.content.get(name)
        if isinstance(value, list | tuple) and len(set(map(str, value))) == 1:
            value = value[0]
        if type(value) is not int or not 0 < value <= LARGEST:
            raise self.refuse(name, f"a whole number from 1 to {LARGEST}")
        return value

    def number(self, name: str) -> float:
        value = self.content.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1:
            raise self.refuse(name, "a number between 0 and 1")
        return float(value)

    def only(self, name: str, value: object) -> None:
        """Raise WeightsError unless the value is the one that is computed here."""
        if self.content.get(name) != value:
            raise self.refuse(name, repr(value))

    def activation(self) -> str:
        """quick_gelu, gelu or tanh."""
        name = self.content.get("hidden_act")
        if name in TANH:
            return "tanh"
        if name not in ("quick_gelu", "gelu"):
            raise self.refuse("hidden_act", f"quick_gelu, gelu or {TANH[0]}")
        return str(name)

    def head_width(self) -> int:
        width, heads = self.size("hidden_size"), self.size("num_attention_heads")
        if width % heads:
            raise self.refuse("num_attention_heads", f"a divisor of hidden_size {width}")
        return width // heads

    def mlp_ratio(self) -> float:
        """The ratio of which open_clip and timm make intermediate_size, rounding down."""
        width, inner = self.size("hidden_size"), self.size("intermediate_size")
        return inner / width if int(width * (inner / width)) == inner else (inner + 0.5) / width

    def layers(self) -> dict[str, Any]:
        """What both encoders of open_clip call the same, values that it takes anyway left out."""
        eps, ratio = self.number("layer_norm_eps"), self.mlp_ratio()
        return {
            **{"width": self.size("hidden_size"), "layers": self.size("num_hidden_layers")},
            **({"mlp_ratio": ratio} if ratio != 4 else {}),
            **({"norm_kwargs": {"eps": eps}} if eps != 1e-5 else {}),
            **({"act_kwargs": {"approximate": "tanh"}} if self.activation() == "tanh" else {}),
        }

    def words(self) -> dict[str, Any]:
        """What open_clip's text encoder is told of vocabulary, length and heads."""
        self.head_width()
        sizes = {"context_length": self.size("max_position_embeddings"), "vocab_size": self.size("vocab_size")}
        return {**sizes, "heads": self.size("num_attention_heads")}


def _clip(config: _Config) -> dict[str, Any]:
    config.check_known({})
    text, vision = config.tower("text_config", CLIP_TEXT), config.tower("vision_config", CLIP_VISION)
    vision.only("num_channels", 3)
    quick = [tower.activation() == "quick_gelu" for tower in (text, vision)]
    if quick[0] != quick[1]:
        raise text.refuse("hidden_act", f"that of vision_config, {vision.content['hidden_act']}")
    content = {"projection_dim": 512, **config.content}
    patch = vision.size("patch_size")
    return {
        "embed_dim": _Config(config.path, content).size("projection_dim"),
        **({"quick_gelu": True} if all(quick) else {}),
        "vision_cfg": {
            **{"image_size": vision.size("image_size") // patch * patch, "patch_size": patch},
            **{"head_width": vision.head_width(), **vision.layers()},
        },
        "text_cfg": {**text.words(), **text.layers(), **_end_of_text(text)},
    }


def _end_of_text(text: _Config) -> dict[str, Any]:
    """Where the text encoder is read out: the largest token, by default, or the first of one token."""
    end = text.content["eos_token_id"]
    end = end[0] if isinstance(end, list) and len(end) == 1 else end
    if end in (2, text.size("vocab_size") - 1):  # transformers reads 2, which older files have, as the largest one
        return {}
    if type(end) is not int or end < 0:
        raise text.refuse("eos_token_id", "the id of one token")
    return {"pool_type": "eos", "eos_id": end}


def _siglip(config: _Config) -> dict[str, Any]:
    config.check_known({})
    text, vision = config.tower("text_config", SIGLIP_TEXT), config.tower("vision_config", SIGLIP_VISION)
    for name, value in (("num_channels", 3), ("vision_use_head", True), ("layer_norm_eps", 1e-6)):
        vision.only(name, value)
    width, patch = vision.size("hidden_size"), vision.size("patch_size")
    if (text.content["projection_size"] or text.size("hidden_size")) != width:
        raise text.refuse("projection_size", f"vision_config.hidden_size {width}")
    for tower in (text, vision):
        if tower.activation() == "quick_gelu":
            raise tower.refuse("hidden_act", f"gelu or {TANH[0]}")
    vision.head_width()
    size = vision.size("image_size") // patch * patch
    words = text.words()
    tokenizer = SIGLIP_TOKENIZERS.get(words["vocab_size"])
    return {
        **{"embed_dim": width, "init_logit_bias": -10, "custom_text": True},
        "vision_cfg": {
            **{"image_size": size, "timm_model_name": SIGLIP, "timm_pool": "map", "timm_proj": "none"},
            "timm_kwargs": {
                **{"img_size": size, "patch_size": patch, "embed_dim": width},
                **{"depth": vision.size("num_hidden_layers"), "num_heads": vision.size("num_attention_heads")},
                **{"mlp_ratio": vision.mlp_ratio(), "act_layer": _TIMM[vision.activation()]},
            },
        },
        "text_cfg": {
            **words,
            **text.layers(),
            **({"hf_tokenizer_name": tokenizer} if tokenizer else {}),
            **{"tokenizer_kwargs": {"clean": "canonicalize"}, "no_causal_mask": True},
            **{"proj_bias": True, "pool_type": "last"},
        },
    }


_TIMM = {"gelu": "gelu", "tanh": "gelu_tanh"}
KINDS: dict[str, Callable[[_Config], dict[str, Any]]] = {"clip": _clip, "siglip": _siglip}
"""model_type → what makes open_clip's configuration of it."""
