"""Whether timm's image encoder of a configuration has the shapes of given tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mlrpl_cli.core.backbones.open_clip.building import VISUAL, empty_visual
from mlrpl_cli.core.io.errors import WeightsError

BUFFERS = ("num_batches_tracked", "relative_position_index", "attn_mask")
"""Last parts of names that hold no weights."""


def fits_trunk(model: Mapping[str, Any], state: Mapping[str, Tensor]) -> bool:
    """True for a configuration without timm, and where every tensor of its image encoder has that name and shape."""
    if not model["vision_cfg"].get("timm_model_name"):
        return True
    try:
        expected = empty_visual(model).state_dict()
    except WeightsError:  # a configuration that the installed timm cannot build
        return False
    return _shapes(expected) == _shapes({n.removeprefix(VISUAL): t for n, t in state.items() if n.startswith(VISUAL)})


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items() if name.rpartition(".")[2] not in BUFFERS}
