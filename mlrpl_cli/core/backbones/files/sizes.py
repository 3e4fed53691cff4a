"""The sizes that shapes tell, and the same sizes as a configuration of open_clip has them.

What is not here cannot be seen in shapes: the activation, the heads, the eps of norms and the input rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any

from torch import Tensor

from mlrpl_cli.core.io.errors import WeightsError, first_few
from mlrpl_cli.core.io.reading import short

Sizes = dict[str, Any]
"""Names as open_clip's configurations have them, those of the encoders after "vision_cfg." and "text_cfg."."""

RESNET_STRIDE, LARGEST = 32, 1 << 20
MULTIMODAL = "multimodal_cfg"
BLOCK = "transformer.resblocks.0."


def sizes_of_state(state: Mapping[str, Tensor], text: bool = True) -> Sizes:
    """Read off the shapes of a CLIP under open_clip's names. Raises WeightsError where they are no CLIP's.

    Without `text`, those of the image encoder alone.
    """
    try:
        return {**_image(state), **({**_text(state), MULTIMODAL: _any(state, "text_decoder.")} if text else {})}
    except KeyError as missing:
        raise WeightsError(
            f"not a CLIP of OpenAI's or open_clip's form: expected the tensor {missing}, got "
            f"{first_few(map(short, state)) or 'no tensor'}; give a state dict of a whole one"
        ) from missing
    except (ValueError, IndexError, TypeError) as error:
        raise WeightsError("not a CLIP of OpenAI's or open_clip's form: tensors have other dimensions") from error


def sizes_of_config(model: Mapping[str, Any]) -> Sizes:
    """What `sizes_of_state` would read off the model that open_clip makes of the configuration.

    Raises WeightsError for a configuration whose sizes are none.
    """
    try:
        return _said(model)
    except (TypeError, ValueError, ZeroDivisionError, LookupError, AttributeError, OverflowError) as error:
        raise WeightsError("it is no configuration of open_clip; give another one") from error


def differences(config: Mapping[str, Any], found: Sizes) -> list[str]:
    """How a configuration differs from the sizes that tensors have, a clause each; none where they fit.

    What is said of an encoder of which nothing was `found` is left out.
    """
    towers = {name.partition(".")[0] for name in found}
    said = {name: size for name, size in sizes_of_config(config).items() if name.partition(".")[0] in towers}
    names = [name for name in said if name in found and said[name] != found[name]]
    names += sorted(name for name in said.keys() ^ found.keys() if name.endswith(".embed_dim"))
    return [f"{name} is {said.get(name)} there and {found.get(name)} in the tensors" for name in names]


def is_custom(state: Mapping[str, Tensor]) -> bool:
    """Whether the text encoder is a module of its own, as open_clip's `custom_text` makes it."""
    return _any(state, "text.")


def _said(model: Mapping[str, Any]) -> Sizes:
    vision, text, embed = model["vision_cfg"], model["text_cfg"], model["embed_dim"]
    image: Sizes = {"timm_model_name": bool(vision.get("timm_model_name"))}
    if image["timm_model_name"]:
        image |= _of_timm(vision.get("timm_kwargs") or {})
    elif isinstance(vision.get("layers", 12), list | tuple):
        side = _side(vision) // RESNET_STRIDE
        image |= {"layers": tuple(vision["layers"]), "width": _number(vision, "width", 64), "grid": side}
        image["embed_dim"] = embed
    else:
        width, patch = _number(vision, "width", 768), _number(vision, "patch_size", 16)
        image |= {
            **{"layers": vision.get("layers", 12), "width": width, "patch_size": patch, "embed_dim": embed},
            **{"mlp_width": int(width * _number(vision, "mlp_ratio", 4.0)), "grid": int(_side(vision) // patch)},
            **_blocks(vision),
            **{"no_ln_pre": bool(vision.get("no_ln_pre")), "attentional_pool": bool(vision.get("attentional_pool"))},
        }
    words: Sizes = {"hf_model_name": bool(text.get("hf_model_name"))}
    if not words["hf_model_name"]:
        width = _number(text, "width", 512)
        words |= {
            **{"layers": text.get("layers", 12), "width": width, "vocab_size": text.get("vocab_size", 49408)},
            **{"context_length": text.get("context_length", 77), **_blocks(text)},
            "mlp_width": int(width * _number(text, "mlp_ratio", 4.0)),
            **{"embed_cls": bool(text.get("embed_cls")), "proj_bias": bool(text.get("proj_bias"))},
        }
        if text.get("proj_type", "linear") != "none":
            words["embed_dim"] = embed
    return {**_named("vision_cfg", image), **_named("text_cfg", words), MULTIMODAL: MULTIMODAL in model}


def _image(state: Mapping[str, Tensor]) -> Sizes:
    if _any(state, "visual.trunk."):
        return _named("vision_cfg", {"timm_model_name": True, **_trunk(state)})
    sizes: Sizes = {"timm_model_name": False}
    if "visual.class_embedding" not in state:
        positions = state["visual.attnpool.positional_embedding"]
        sizes |= {
            "layers": tuple(_count(state, rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)),
            "width": state["visual.layer1.0.conv1.weight"].shape[0],
            "grid": _square(len(positions) - 1),
            "embed_dim": state["visual.attnpool.c_proj.weight"].shape[0],
        }
        return _named("vision_cfg", sizes)
    width, _, patch, _ = state["visual.conv1.weight"].shape
    sizes |= {
        **{"layers": _count(state, r"visual\.transformer\.resblocks\.(\d+)\."), "width": width, "patch_size": patch},
        "embed_dim": state["visual.proj"].shape[1],
        "grid": _square(len(state["visual.positional_embedding"]) - 1),
        **_seen(state, "visual."),
        "no_ln_pre": "visual.ln_pre.weight" not in state,
        "attentional_pool": _any(state, "visual.attn_pool."),
    }
    return _named("vision_cfg", sizes)


def _text(state: Mapping[str, Tensor]) -> Sizes:
    start = "text." if is_custom(state) else ""
    if f"{start}token_embedding.weight" not in state and start:
        return _named("text_cfg", {"hf_model_name": True})
    vocabulary, width = state[f"{start}token_embedding.weight"].shape
    embed_cls = f"{start}cls_emb" in state
    sizes = {
        "hf_model_name": False,
        **{"layers": _count(state, rf"{re.escape(start)}transformer\.resblocks\.(\d+)\."), "width": width},
        **{"vocab_size": vocabulary, "context_length": len(state[f"{start}positional_embedding"]) - embed_cls},
        **_seen(state, start),
        **{"embed_cls": embed_cls, "proj_bias": f"{start}text_projection.bias" in state},
    }
    if f"{start}text_projection" in state:
        sizes["embed_dim"] = state[f"{start}text_projection"].shape[1]
    elif f"{start}text_projection.weight" in state:
        sizes["embed_dim"] = state[f"{start}text_projection.weight"].shape[0]
    return _named("text_cfg", sizes)


def _seen(state: Mapping[str, Tensor], start: str) -> Sizes:
    """What the first block of a transformer shows."""
    block = start + BLOCK
    return {
        "mlp_width": state[f"{block}mlp.c_fc.weight"].shape[0],
        "ls_init_value": f"{block}ls_1.gamma" in state,
        "qk_norm": f"{block}attn.ln_q.weight" in state,
        "scaled_cosine_attn": f"{block}attn.logit_scale" in state,
        "scale_heads": f"{block}attn.head_scale" in state,
        "scale_attn_inner": f"{block}attn.ln_inner.weight" in state,
        "scale_attn": f"{block}ln_attn.weight" in state,
        "scale_fc": f"{block}mlp.ln.weight" in state,
    }


def _blocks(tower: Mapping[str, Any]) -> Sizes:
    """The same as the configuration of an encoder says it."""
    options = ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc")
    return {"ls_init_value": tower.get("ls_init_value") is not None} | {name: bool(tower.get(name)) for name in options}


def _named(tower: str, sizes: Sizes) -> Sizes:
    return {f"{tower}.{name}": value for name, value in sizes.items()}


def _any(state: Mapping[str, Tensor], start: str) -> bool:
    return any(name.startswith(start) for name in state)


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """How many numbers stand where `pattern` has its group."""
    return len({match[1] for name in state if (match := re.match(pattern, name))})


def _square(positions: int) -> int:
    """The side of a square grid. Raises ValueError for another one."""
    side = isqrt(max(positions, 0))
    if side == 0 or side * side != positions:
        raise ValueError(positions)
    return side


def _of_timm(kwargs: Mapping[str, Any]) -> Sizes:
    """Of a vision transformer of timm that is told its sizes."""
    if not kwargs:
        return {}
    width, patch = _number(kwargs, "embed_dim", 768), _number(kwargs, "patch_size", 16)
    return {
        **{"timm.width": width, "timm.patch_size": patch, "timm.depth": kwargs.get("depth", 12)},
        "timm.positions": int(_number(kwargs, "img_size", 224) // patch) ** 2,
        "timm.mlp_width": int(width * _number(kwargs, "mlp_ratio", 4.0)),
    }


def _trunk(state: Mapping[str, Tensor]) -> Sizes:
    """The same of the tensors of such a transformer; nothing of another trunk."""
    patches, positions, inner = (
        state.get(f"visual.trunk.{name}")
        for name in ("patch_embed.proj.weight", "pos_embed", "blocks.0.mlp.fc1.weight")
    )
    if patches is None or positions is None or inner is None:
        return {}
    return {
        **{"timm.width": patches.shape[0], "timm.patch_size": patches.shape[2]},
        **{"timm.depth": _count(state, r"visual\.trunk\.blocks\.(\d+)\."), "timm.positions": positions.shape[1]},
        "timm.mlp_width": inner.shape[0],
    }


def _side(vision: Mapping[str, Any]) -> float:
    size = vision.get("image_size", 224)
    return _number({"image_size": size[0] if isinstance(size, list | tuple) else size}, "image_size", 224)


def _number(tower: Mapping[str, Any], name: str, default: float) -> float:
    """Raises TypeError and ValueError for what is no size."""
    value = tower.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(name)
    if not 0 < value <= LARGEST:
        raise ValueError(name)
    return value
