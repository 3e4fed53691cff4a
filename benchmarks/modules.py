"""Image towers through open_clip's modules beside open_clip's own forward, on the same weights, both in float32.

Ours gives a grid, a joint grid and an attention besides the vector.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor

from benchmarks.measure import Part, Promise
from benchmarks.networks import Network
from benchmarks.setting import BATCH, largest_error
from mlrpl_cli.core.backbones.backbone import BackboneOptions
from mlrpl_cli.core.backbones.frozen import make_encoder
from mlrpl_cli.core.backbones.open_clip.assembly import Architecture, assemble
from mlrpl_cli.core.backbones.open_clip.building import random_state
from mlrpl_cli.core.backbones.open_clip.library import open_clip

MODELS = {
    "encode-class-token": "EVA02-B-16",
    "encode-map-pool": "ViT-B-16-SigLIP",
    "encode-mean": "convnext_base_w",
}
"""Part → a model of open_clip with that pooling."""


def encode(model: str, device: torch.device) -> Part:
    """Normalised images at the model's own size to all features, and to open_clip's vector."""
    config = open_clip().get_model_config(model)
    state = random_state(config, seed=0, text=False)
    backbone = assemble(BackboneOptions(model), "open_clip", Architecture(config), state, text=False)
    encoder = make_encoder(backbone, backbone.rule.size, device)
    visual = open_clip().model._build_vision_tower(config["embed_dim"], deepcopy(config["vision_cfg"]))
    visual.load_state_dict({name.removeprefix("visual."): tensor for name, tensor in state.items()})
    visual = visual.eval().to(device)
    pixels = torch.randint(0, 256, (BATCH, 3, backbone.rule.size, backbone.rule.size), dtype=torch.uint8)

    def ours() -> Tensor:
        return encoder(pixels).pooled

    @torch.inference_mode()
    def other() -> Tensor:
        return visual(encoder.rule.normalize(pixels.to(device)))

    return Part(ours, other, lambda: largest_error([ours()], [other()]), rounds=7)


def _network(model: str) -> Network:
    build: Callable[[torch.device], Part] = partial(encode, model)
    return Network(build, "open_clip's own forward", Promise(error=1e-4), note=f"{model}, B={BATCH}, float32")


MODULES: dict[str, Network] = {name: _network(model) for name, model in MODELS.items()}
