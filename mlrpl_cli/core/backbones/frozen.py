"""A frozen image encoder put to use: its device, its precision, its input, and the folding that being frozen allows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mlrpl_cli.core.backbones.checkpoints import fingerprint
from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.backbones.openai.architectures import ImageEncoder, StateDict, build_image_encoder
from mlrpl_cli.core.backbones.openai.resnet import ResNetEncoder, fold
from mlrpl_cli.core.io.devices import DTYPES, FLOAT32
from mlrpl_cli.core.io.errors import ConfigError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class FrozenEncoder:
    """An image encoder on its device, and the input it is used with."""

    module: ImageEncoder
    image_size: int
    device: torch.device
    dtype: torch.dtype
    fingerprint: str
    """Of the weights; see `checkpoints.fingerprint`."""

    def __call__(self, pixels: Tensor) -> ImageFeatures:
        """(B, 3, S, S) uint8 → features on the encoder's device, in its dtype."""
        with torch.inference_mode():
            images = normalize(pixels.to(self.device, non_blocking=True))
            features = self.module(images.to(self.dtype, memory_format=torch.channels_last))
        # A copy, because no gradient may flow past a tensor of inference mode, and heads train on these.
        return features.map(torch.clone)


def image_size_problem(image_size: int, stride: int) -> str | None:
    """The one-line reason why a backbone of this stride cannot take images of that size, or None."""
    if image_size % stride == 0:
        return None
    lower = max(image_size // stride, 1) * stride
    expected = f"image_size: expected a multiple of this backbone's stride {stride}, got {image_size}"
    return f"{expected}; take {lower} or {lower + stride}"


def make_encoder(state: StateDict, image_size: int, device: torch.device, precision: str = FLOAT32) -> FrozenEncoder:
    """The image encoder of an OpenAI-format state dict at `image_size`: batch norms folded, channels last.

    Raises ConfigError when the size is no multiple of its stride.
    """
    module = build_image_encoder(state)
    if problem := image_size_problem(image_size, module.stride):
        raise ConfigError(problem)
    if isinstance(module, ResNetEncoder):
        fold(module)
    dtype = DTYPES[precision]
    module = module.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return FrozenEncoder(module, image_size, device, dtype, fingerprint(state))


def normalize(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 → float32 with CLIP's channel mean and deviation taken out."""
    mean, std = (torch.tensor(of, device=pixels.device).view(3, 1, 1) * 255 for of in (CLIP_MEAN, CLIP_STD))
    return (pixels.float() - mean) / std
