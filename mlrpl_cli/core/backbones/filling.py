"""Frozen modules made ready: filled with their weights, with one line for weights of another; batch norms folded."""

from collections.abc import Mapping
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mlrpl_cli.core.io.errors import WeightsError, first_few

M = TypeVar("M", bound=nn.Module)
COUNTERS = "num_batches_tracked"
"""Of batch norms: PyTorch keeps them in some versions and not in others, and frozen ones do not count."""


def fill(module: M, state: Mapping[str, Tensor], wrong: str, advice: str = "") -> M:
    """`module` with the tensors of `state` in place of its own, frozen and in evaluation mode.

    Raises WeightsError, naming the first few tensors, when they are not the module's: `wrong` says what the weights
    then are, and `advice` what to do.
    """
    expected = module.state_dict()
    got = {name: torch.zeros((), dtype=torch.long) for name in expected if name.endswith(COUNTERS)}
    got |= {name: tensor for name, tensor in state.items() if not name.endswith(COUNTERS)}
    missing, unexpected = sorted(expected.keys() - got.keys()), sorted(got.keys() - expected.keys())
    if missing or unexpected:
        raise WeightsError(
            f"{wrong}: {len(missing)} tensors missing ({first_few(missing)}), "
            f"{len(unexpected)} unexpected ({first_few(unexpected)}){advice}"
        )
    for name, tensor in expected.items():
        if tensor.shape != got[name].shape:
            shapes = f"expected shape {tuple(tensor.shape)}, got {tuple(got[name].shape)}"
            raise WeightsError(f"{wrong}: {name}: {shapes}")
    module.load_state_dict(got, assign=True)
    return module.eval().requires_grad_(False)


def fold_batch_norms(module: nn.Module) -> None:
    """Put each batch norm into the convolution right before it, for good: what remains of it is an identity.

    γ (W x - μ) / √(σ² + ε) + β is a convolution. Subclasses of either are left: they may do more.
    """
    for parent in list(module.modules()):
        for (name, layer), (name_after, after) in pairwise(list(parent.named_children())):
            if type(layer) is nn.Conv2d and type(after) is nn.BatchNorm2d:
                setattr(parent, name, fuse_conv_bn_eval(layer, after))
                setattr(parent, name_after, nn.Identity())
