"""Rivals' own code, from clones that the user has: measured beside ours, never copied into this repository.

DIR/DualCoOp      https://github.com/sunxm2357/DualCoOp
DIR/HCP-MLR-PL    https://github.com/HCPLab-SYSU/HCP-MLR-PL
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from benchmarks import networks
from benchmarks.measure import Part, Promise
from mlrpl_cli.core.data.loading import normalize
from mlrpl_cli.core.models.decoupling import pool

FOLDER = "MLRPL_BENCH_PEERS"
"""The environment variable that tells a measured process where the clones are."""


def add(folder: Path, registry: dict[str, networks.Network]) -> None:
    """Register a part for each rival whose clone is below `folder`. Raises FileNotFoundError when there is none."""
    os.environ[FOLDER] = str(folder.resolve())
    found = {
        "HCP-MLR-PL": networks.Network(
            hcp_decoupling,
            "HCP-MLR-PL's SemanticDecoupling",
            Promise(ratio=14),
            memory=True,
            note="B=8, C=80, P=196, D=2048, K=1024",
        ),
        "DualCoOp": networks.Network(
            dualcoop_step, "DualCoOp's own model", Promise(ratio=6), memory=True, note="one training step, no bank, B=8"
        ),
    }
    present = {name: network for name, network in found.items() if (folder / name).is_dir()}
    if not present:
        raise FileNotFoundError(f"{folder} holds neither {' nor '.join(found)}")
    registry.update({f"peer-{name}": network for name, network in present.items()})


def hcp_decoupling(device: torch.device) -> Part:
    """Ours beside the laboratory's module, same weights."""
    theirs_of = _module(_folder() / "HCP-MLR-PL" / "model" / "SemanticDecoupling.py", "peer_decoupling")
    (ours, plain), grid, semantics = networks._decouplings(device)
    theirs = theirs_of.SemanticDecoupling(len(networks.CLASSES), 2048, 512, networks.WIDTH).to(device)
    with torch.no_grad():
        for layer, source in (
            (theirs.fc1, plain.image_projection),
            (theirs.fc2, plain.semantic_projection),
            (theirs.fc3, plain.output),
            (theirs.fc4, plain.score),
        ):
            layer.load_state_dict(source.state_dict())
    side = networks.SIZE // 32
    feature_map = grid.transpose(1, 2).unflatten(2, (side, side)).contiguous()
    upstream = torch.randn(networks.BATCH, len(networks.CLASSES), grid.shape[2], device=device)

    def step() -> list[torch.Tensor]:
        return networks.decoupling_step(ours, lambda: pool(ours(grid, semantics), grid), upstream)

    def other() -> list[torch.Tensor]:
        theirs.zero_grad()
        features = theirs(feature_map, semantics)[0]
        features.backward(upstream)
        return [features.detach(), theirs.fc1.weight.grad, theirs.fc2.weight.grad]

    def error() -> float:
        return max(networks._relative(left, right) for left, right in zip(step(), other(), strict=True))

    return Part(step, other, error)


def dualcoop_step(device: torch.device) -> Part:
    """Our training step beside one through DualCoOp's model, same CLIP weights and batch."""
    state, _ = networks._backbone()
    sys.path.insert(0, str(_folder() / "DualCoOp"))
    from mlrpl_cli.core.models import provider

    provider._open_clip()  # lets torchvision import where its compiled part belongs to another PyTorch
    clip: Any = importlib.import_module("clip.clip")
    models: Any = importlib.import_module("models.dualcoop")
    config = _config()
    model = clip.build_model_conv_proj(dict(state), config).float()  # it resizes the positions itself
    theirs = models.DualCoop(config, networks.CLASSES, model).to(device)
    for parameter in [*theirs.backbone_params(), *theirs.attn_params()]:
        parameter.requires_grad_(False)
    optimizer = torch.optim.SGD(theirs.prompt_params(), lr=2e-3)
    part = networks.step(device)
    pixels, labels = networks._pixels(networks.BATCH), networks._labels(networks.BATCH, device)

    def other() -> None:
        absent, present = theirs(normalize(pixels.to(device))).unbind(1)
        networks._learn(networks._loss(present - absent, labels), optimizer)

    return Part(part.ours, other, rounds=2)


def _config() -> SimpleNamespace:
    """The few options of its configuration that its model reads; contexts of 16 tokens, each class its own."""
    prompts = SimpleNamespace(
        N_CTX_POS=16, N_CTX_NEG=16, POSITIVE_PROMPT_INIT="", NEGATIVE_PROMPT_INIT="", CSC=True, LS=1.0
    )
    return SimpleNamespace(
        MODEL=SimpleNamespace(BACKBONE=SimpleNamespace(NAME="RN101")),
        TRAINER=SimpleNamespace(COOP_MLC=prompts, FINETUNE_ATTN=False, FINETUNE_BACKBONE=False),
        INPUT=SimpleNamespace(SIZE=(networks.SIZE, networks.SIZE)),
    )


def _folder() -> Path:
    return Path(os.environ[FOLDER])


def _module(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
