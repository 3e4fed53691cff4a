"""A frozen image encoder put to use: its device, its precision, its input, and the folding that being frozen allows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mlrpl_cli.core.backbones.backbone import Backbone, ImageTower, InputRule
from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.io.devices import DTYPES, FLOAT32
from mlrpl_cli.core.io.errors import ConfigError


@dataclass(frozen=True)
class FrozenEncoder:
    """An image tower on its device, and the input it is used with."""

    module: ImageTower
    rule: InputRule
    image_size: int
    device: torch.device
    dtype: torch.dtype
    fingerprint: str
    """Of the backbone."""

    @property
    def grid_side(self) -> int:
        """Positions along each side of the grid: P is its square."""
        return self.image_size // self.rule.stride

    def __call__(self, pixels: Tensor) -> ImageFeatures:
        """(B, 3, S, S) uint8 → features on the encoder's device, in its dtype."""
        with torch.inference_mode():
            images = self.rule.normalize(pixels.to(self.device, non_blocking=True))
            features = self.module(images.to(self.dtype, memory_format=torch.channels_last))
        # A copy, because no gradient may flow past a tensor of inference mode, and heads train on these.
        return features.map(torch.clone)


def make_encoder(backbone: Backbone, image_size: int, device: torch.device, precision: str = FLOAT32) -> FrozenEncoder:
    """The image encoder of a backbone at `image_size`, folded, channels last.

    Raises ConfigError when the backbone cannot take that size.
    """
    if problem := backbone.rule.problem(image_size):
        raise ConfigError(problem)
    module = backbone.image_tower(image_size)
    module.fold()
    dtype = DTYPES[precision]
    module = module.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return FrozenEncoder(module, backbone.rule, image_size, device, dtype, backbone.fingerprint)
