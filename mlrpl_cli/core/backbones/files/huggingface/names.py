"""Tensors of transformers' CLIPModel and SiglipModel under open_clip's names, as open_clip shapes them.

Works on tensors without values as well, to see what becomes of their shapes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mlrpl_cli.core.io.errors import WeightsError, first_few
from mlrpl_cli.core.io.reading import short

Rules = Mapping[str, tuple[str, Callable[[Tensor], Tensor]]]
IMAGE = ("vision_model.", "visual_projection.")
"""How transformers' names of the image encoder begin."""
PACKED = ("q_proj", "k_proj", "v_proj")


def is_huggingface(names: Mapping[str, object]) -> bool:
    return any(name.startswith("vision_model.") for name in names)


def of_image(name: str) -> bool:
    """Whether a tensor is of the image encoder, in open_clip's or transformers' names."""
    return name.startswith(("visual.", *IMAGE))


def to_open_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of transformers under open_clip's names; others are returned as they are. Raises WeightsError."""
    if not is_huggingface(state):
        return dict(state)
    siglip = "vision_model.embeddings.class_embedding" not in state
    rules, blocks = (SIGLIP, SIGLIP_BLOCKS) if siglip else (CLIP, CLIP_BLOCKS)
    made: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    unknown = []
    for name, tensor in state.items():
        if name in rules:
            target, change = rules[name]
            made[target] = change(tensor)
        elif name in SPLIT and siglip:
            made |= _split(name, tensor)
        elif not (layer := _LAYER.fullmatch(name)):
            unknown.append(name)
        elif layer["part"].split(".")[-1] in PACKED:
            place = blocks[layer["tower"]] + layer["number"]
            parts[f"{place}.{PACKING[layer['tower'], siglip]}{layer['kind']}"][layer["part"].split(".")[-1]] = tensor
        elif (part := PARTS[layer["tower"], siglip].get(layer["part"])) is not None:
            made[f"{blocks[layer['tower']]}{layer['number']}.{part}.{layer['kind']}"] = tensor
        else:
            unknown.append(name)
    if unknown:
        raise WeightsError(
            f"not a CLIPModel or SiglipModel of transformers: no place for {len(unknown)} tensors "
            f"({first_few(map(short, unknown))}); give one of these"
        )
    for target, pieces in parts.items():
        if missing := [piece for piece in PACKED if piece not in pieces]:
            raise WeightsError(f"not a CLIPModel or SiglipModel of transformers: {target} lacks {first_few(missing)}")
        made[target] = torch.cat([pieces[piece] for piece in PACKED])
    return made


def _split(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """The query's third of a packed projection, and the keys' and values'."""
    width, kind = len(tensor) // 3, name.rpartition("_")[2]
    pool = "visual.trunk.attn_pool."
    return {f"{pool}q.{kind}": tensor[:width], f"{pool}kv.{kind}": tensor[width:]}


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _turned(tensor: Tensor) -> Tensor:
    return tensor.T.contiguous()


def _scalar(tensor: Tensor) -> Tensor:
    return tensor.reshape(())


def _both(source: str, target: str) -> dict[str, tuple[str, Callable[[Tensor], Tensor]]]:
    return {f"{source}.{kind}": (f"{target}.{kind}", _same) for kind in ("weight", "bias")}


_LAYER = re.compile(
    r"(?P<tower>text|vision)_model\.encoder\.layers\.(?P<number>\d+)\.(?P<part>[\w.]+)\.(?P<kind>weight|bias)"
)
_OPEN_CLIP = {
    **{"layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj"},
    **{"mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"},
}
_TIMM = {
    **{"layer_norm1": "norm1", "layer_norm2": "norm2", "self_attn.out_proj": "attn.proj"},
    **{"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"},
}
PARTS = {
    **{("text", siglip): _OPEN_CLIP for siglip in (False, True)},
    **{("vision", False): _OPEN_CLIP, ("vision", True): _TIMM},
}
PACKING = {
    **{("text", siglip): "attn.in_proj_" for siglip in (False, True)},
    **{("vision", False): "attn.in_proj_", ("vision", True): "attn.qkv."},
}
"""How the three projections that are packed are called."""
CLIP_BLOCKS = {"text": "transformer.resblocks.", "vision": "visual.transformer.resblocks."}
SIGLIP_BLOCKS = {"text": "text.transformer.resblocks.", "vision": "visual.trunk.blocks."}

CLIP: Rules = {
    "logit_scale": ("logit_scale", _scalar),
    "text_projection.weight": ("text_projection", _turned),
    "text_model.embeddings.token_embedding.weight": ("token_embedding.weight", _same),
    "text_model.embeddings.position_embedding.weight": ("positional_embedding", _same),
    **_both("text_model.final_layer_norm", "ln_final"),
    "visual_projection.weight": ("visual.proj", _turned),
    "vision_model.embeddings.class_embedding": ("visual.class_embedding", _same),
    "vision_model.embeddings.patch_embedding.weight": ("visual.conv1.weight", _same),
    "vision_model.embeddings.position_embedding.weight": ("visual.positional_embedding", _same),
    **_both("vision_model.pre_layrnorm", "visual.ln_pre"),
    **_both("vision_model.post_layernorm", "visual.ln_post"),
}
SIGLIP: Rules = {
    "logit_scale": ("logit_scale", _scalar),
    "logit_bias": ("logit_bias", _scalar),
    "text_model.embeddings.token_embedding.weight": ("text.token_embedding.weight", _same),
    "text_model.embeddings.position_embedding.weight": ("text.positional_embedding", _same),
    **_both("text_model.final_layer_norm", "text.ln_final"),
    **_both("text_model.head", "text.text_projection"),
    **_both("vision_model.embeddings.patch_embedding", "visual.trunk.patch_embed.proj"),
    "vision_model.embeddings.position_embedding.weight": ("visual.trunk.pos_embed", lambda tensor: tensor[None]),
    **_both("vision_model.post_layernorm", "visual.trunk.norm"),
    "vision_model.head.probe": ("visual.trunk.attn_pool.latent", _same),
    **_both("vision_model.head.attention.out_proj", "visual.trunk.attn_pool.proj"),
    **_both("vision_model.head.layernorm", "visual.trunk.attn_pool.norm"),
    **_both("vision_model.head.mlp.fc1", "visual.trunk.attn_pool.mlp.fc1"),
    **_both("vision_model.head.mlp.fc2", "visual.trunk.attn_pool.mlp.fc2"),
}
SPLIT = tuple(f"vision_model.head.attention.in_proj_{kind}" for kind in ("weight", "bias"))
