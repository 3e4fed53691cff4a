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
from benchmarks.setting import (
    BATCH,
    CLASSES,
    SIZE,
    WIDTH,
    backbone,
    decoupling_step,
    largest_error,
    learn,
    make_decouplings,
    make_labels,
    make_pixels,
)
from mlrpl_cli.core.backbones.backbone import CLIP_RULE
from mlrpl_cli.core.backbones.open_clip.library import open_clip
from mlrpl_cli.core.heads.semantic_decoupling import pool

FOLDER = "MLRPL_BENCH_PEERS"
"""The environment variable that tells a measured process where the clones are."""


def parts_of(folder: Path) -> dict[str, networks.Network]:
    """A part for each rival whose clone is below `folder`, which may be none."""
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
            dualcoop_step,
            "DualCoOp's own model",
            Promise(ratio=6),
            memory=True,
            note="one training step, B=8",
        ),
    }
    return {f"peer-{name}": network for name, network in found.items() if (folder / name).is_dir()}


def hcp_decoupling(device: torch.device) -> Part:
    """Ours beside the laboratory's module, same weights."""
    theirs_of = _module(_folder() / "HCP-MLR-PL" / "model" / "SemanticDecoupling.py", "peer_decoupling")
    (ours, plain), grid, semantics = make_decouplings(device)
    theirs = theirs_of.SemanticDecoupling(len(CLASSES), 2048, 512, WIDTH).to(device)
    with torch.no_grad():
        for layer, source in (
            (theirs.fc1, plain.image_projection),
            (theirs.fc2, plain.semantic_projection),
            (theirs.fc3, plain.output),
            (theirs.fc4, plain.score),
        ):
            layer.load_state_dict(source.state_dict())
    side = SIZE // 32
    feature_map = grid.transpose(1, 2).unflatten(2, (side, side)).contiguous()
    upstream = torch.randn(BATCH, len(CLASSES), grid.shape[2], device=device)

    def step() -> list[torch.Tensor]:
        return decoupling_step(ours, lambda: pool(ours(grid, semantics), grid), upstream)

    def other() -> list[torch.Tensor]:
        theirs.zero_grad()
        features = theirs(feature_map, semantics)[0]
        features.backward(upstream)
        return [features.detach(), theirs.fc1.weight.grad, theirs.fc2.weight.grad]

    def error() -> float:
        return largest_error(step(), other())

    return Part(step, other, error)


def dualcoop_step(device: torch.device) -> Part:
    """Our training step beside one through DualCoOp's model, same CLIP weights and batch."""
    part = networks.step(device)  # before theirs is imported: their `clip` has a tokenizer that ours would take
    state, _ = backbone()
    clip, models = _dualcoop_modules()
    config = _config()
    model = clip.build_model_conv_proj(dict(state), config).float()  # it resizes the positions itself
    theirs = models.DualCoop(config, CLASSES, model).to(device)
    for parameter in [*theirs.backbone_params(), *theirs.attn_params()]:
        parameter.requires_grad_(False)
    optimizer = torch.optim.SGD(theirs.prompt_params(), lr=2e-3)
    pixels, labels = make_pixels(BATCH), make_labels(BATCH, device)

    def other() -> None:
        absent, present = theirs(CLIP_RULE.normalize(pixels.to(device))).unbind(1)
        learn([present - absent], labels, optimizer)

    return Part(part.ours, other, rounds=2)


def _dualcoop_modules() -> tuple[Any, Any]:
    """Its `clip` and its model; the path is put back, since measured processes inherit it."""
    open_clip()  # lets torchvision import where its compiled part belongs to another PyTorch
    sys.path.insert(0, str(_folder() / "DualCoOp"))
    try:
        return importlib.import_module("clip.clip"), importlib.import_module("models.dualcoop")
    finally:
        sys.path.pop(0)


def _config() -> SimpleNamespace:
    """The few options of its configuration that its model reads; contexts of 16 tokens, each class its own."""
    prompts = SimpleNamespace(
        N_CTX_POS=16, N_CTX_NEG=16, POSITIVE_PROMPT_INIT="", NEGATIVE_PROMPT_INIT="", CSC=True, LS=1.0
    )
    return SimpleNamespace(
        MODEL=SimpleNamespace(BACKBONE=SimpleNamespace(NAME="RN101")),
        TRAINER=SimpleNamespace(COOP_MLC=prompts, FINETUNE_ATTN=False, FINETUNE_BACKBONE=False),
        INPUT=SimpleNamespace(SIZE=(SIZE, SIZE)),
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
