"""Image towers through open_clip's modules beside open_clip's own forward in float32, on the same weights.

Ours gives a grid, a joint grid and an attention besides the vector, in the precision it would choose or in float32.
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
from mlrpl_cli.core.io.devices import FLOAT32, choose_precision

MODELS = {
    "encode-class-token": "EVA02-B-16",
    "encode-map-pool": "ViT-B-16-SigLIP",
    "encode-mean": "convnext_base_w",
}
"""Part → a model of open_clip with that pooling."""
RATIOS = {"encode-class-token": 1, "encode-map-pool": 0.9, "encode-mean": 0.95}
"""A map pool's MLP is computed for each position, where open_clip computes it for one vector."""


def encode(model: str, exact: bool, device: torch.device) -> Part:
    """Images at the model's own size to all features, and to open_clip's vector; `exact` is ours in float32."""
    config = open_clip().get_model_config(model)
    state = random_state(config, seed=0, text=False)
    backbone = assemble(BackboneOptions(model), "open_clip", Architecture(config), state, text=False)
    precision = FLOAT32 if exact else choose_precision(device)
    encoder = make_encoder(backbone, backbone.rule.size, device, precision)
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


def _network(model: str, ratio: float, exact: bool) -> Network:
    build: Callable[[torch.device], Part] = partial(encode, model, exact)
    promise = Promise(error=1e-4) if exact else Promise(ratio=ratio, error=5e-2)
    note = f"{model}, B={BATCH}" + (", ours in float32" if exact else "")
    return Network(build, "open_clip's own forward, float32", promise, note=note)


MODULES: dict[str, Network] = {
    name + suffix: _network(model, RATIOS[name], exact)
    for name, model in MODELS.items()
    for suffix, exact in (("", False), ("-float32", True))
}
