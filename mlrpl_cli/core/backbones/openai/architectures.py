"""Frozen CLIP encoders built from an OpenAI-format state dict, the sizes read off the tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from mlrpl_cli.core.backbones.openai.resnet import STRIDE, ResNetEncoder
from mlrpl_cli.core.backbones.openai.text import TextEncoder
from mlrpl_cli.core.backbones.openai.vit import VisionTransformer
from mlrpl_cli.core.io.errors import WeightsError, first_few

StateDict = Mapping[str, Tensor]
ImageEncoder = ResNetEncoder | VisionTransformer
Module = TypeVar("Module", bound=nn.Module)

VISUAL = "visual."
COUNTERS = "num_batches_tracked"
# OpenAI's own files carry these three sizes beside the weights.
SIZES = ("input_resolution", "context_length", "vocab_size")


@dataclass(frozen=True)
class ImageArchitecture:
    """The sizes of an image encoder: a ResNet when `layers` holds four stages, a ViT when it holds one."""

    layers: tuple[int, ...]
    width: int
    embed_dim: int
    image_size: int
    stride: int = STRIDE
    """Pixels per grid position along each side: a ViT's patch, and 32 for every ResNet."""

    @property
    def channels(self) -> int:
        """D, channels of the grid."""
        return self.width if len(self.layers) == 1 else self.width * 32

    def build(self) -> ImageEncoder:
        if len(self.layers) == 1:
            return VisionTransformer(self.stride, self.width, self.layers[0], self.embed_dim, self.image_size)
        return ResNetEncoder(self.layers, self.width, self.embed_dim, self.image_size)


@dataclass(frozen=True)
class TextArchitecture:
    """The sizes of a text encoder; it has `width / 64` heads."""

    width: int
    layers: int
    embed_dim: int
    context_length: int = 77
    vocabulary: int = 49408

    def build(self) -> TextEncoder:
        return TextEncoder(self.width, self.layers, self.embed_dim, self.context_length, self.vocabulary)


@dataclass(frozen=True)
class Architecture:
    """A whole CLIP."""

    image: ImageArchitecture
    text: TextArchitecture


def _resnet(layers: tuple[int, ...], width: int, embed_dim: int, size: int, text_width: int) -> Architecture:
    return Architecture(ImageArchitecture(layers, width, embed_dim, size), TextArchitecture(text_width, 12, embed_dim))


def _vit(patch: int, width: int, layers: int, embed_dim: int, size: int) -> Architecture:
    image = ImageArchitecture((layers,), width, embed_dim, size, patch)
    return Architecture(image, TextArchitecture(embed_dim, 12, embed_dim))


ARCHITECTURES: dict[str, Architecture] = {
    "RN50": _resnet((3, 4, 6, 3), 64, 1024, 224, 512),
    "RN101": _resnet((3, 4, 23, 3), 64, 512, 224, 512),
    "RN50x4": _resnet((4, 6, 10, 6), 80, 640, 288, 640),
    "RN50x16": _resnet((6, 8, 18, 8), 96, 768, 384, 768),
    "RN50x64": _resnet((3, 15, 36, 10), 128, 1024, 448, 1024),
    "ViT-B/32": _vit(32, 768, 12, 512, 224),
    "ViT-B/16": _vit(16, 768, 12, 512, 224),
    "ViT-L/14": _vit(14, 1024, 24, 768, 224),
    "ViT-L/14@336px": _vit(14, 1024, 24, 768, 336),
}


class CLIP(nn.Module):
    """Both encoders and the logit scale, as OpenAI trains them together."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.visual = architecture.image.build()
        self.text = architecture.text.build()
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def openai_state_dict(self) -> dict[str, Tensor]:
        """The state dict under OpenAI's names: `visual.…` for the image tower, no prefix for the text tower."""
        state = {VISUAL + name: tensor for name, tensor in self.visual.state_dict().items()}
        return {**state, **self.text.state_dict(), "logit_scale": self.logit_scale.detach()}


def image_architecture(state: StateDict) -> ImageArchitecture:
    """Read the sizes of the image encoder off the shapes. Raises WeightsError when the tensors are not a CLIP's."""
    try:
        if VISUAL + "proj" in state:
            return _vit_architecture(state)
        return _resnet_architecture(state)
    except KeyError as missing:
        raise WeightsError(
            f"not an OpenAI-format CLIP: expected the tensor {missing}, got {first_few(state) or 'no tensor'}; "
            "give an OpenAI archive, or a state dict of one, as --backbone"
        ) from missing
    except (ValueError, IndexError, TypeError) as error:
        raise WeightsError("not an OpenAI-format CLIP: the image encoder's tensors have other dimensions") from error


def text_architecture(state: StateDict) -> TextArchitecture:
    """Read the sizes of the text encoder off the shapes. Raises WeightsError when the tensors are not a CLIP's."""
    try:
        width, embed_dim = state["text_projection"].shape
        length, vocabulary = len(state["positional_embedding"]), len(state["token_embedding.weight"])
    except KeyError as missing:
        raise WeightsError(
            f"not a whole CLIP: expected the tensor {missing} of its text encoder, got {first_few(state)}"
        ) from missing
    except (ValueError, IndexError, TypeError) as error:
        raise WeightsError("not an OpenAI-format CLIP: the text encoder's tensors have other dimensions") from error
    return TextArchitecture(width, _count(state, r"transformer\.resblocks\.(\d+)\."), embed_dim, length, vocabulary)


def build_image_encoder(state: StateDict) -> ImageEncoder:
    """The image encoder in evaluation mode, its parameters frozen, in float32."""
    own = {name.removeprefix(VISUAL): tensor for name, tensor in state.items() if name.startswith(VISUAL)}
    return _load(image_architecture(state).build, own)


def build_text_encoder(state: StateDict) -> TextEncoder:
    """The text encoder in evaluation mode, its parameters frozen, in float32."""
    skip = (VISUAL, "logit_scale", *SIZES)
    own = {name: tensor for name, tensor in state.items() if not name.startswith(skip)}
    return _load(text_architecture(state).build, own)


def build_clip(state: StateDict) -> CLIP:
    """Both encoders from an OpenAI-format state dict, frozen, in evaluation mode and float32."""
    clip = CLIP.__new__(CLIP)
    nn.Module.__init__(clip)
    clip.visual, clip.text = build_image_encoder(state), build_text_encoder(state)
    clip.logit_scale = nn.Parameter(state["logit_scale"].float(), requires_grad=False)
    return clip


def _resnet_architecture(state: StateDict) -> ImageArchitecture:
    layers = tuple(_count(state, rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4))
    width = state["visual.layer1.0.conv1.weight"].shape[0]
    side = int((len(state["visual.attnpool.positional_embedding"]) - 1) ** 0.5)
    return ImageArchitecture(layers, width, len(state["visual.attnpool.c_proj.weight"]), side * STRIDE)


def _vit_architecture(state: StateDict) -> ImageArchitecture:
    width, _, patch, _ = state["visual.conv1.weight"].shape
    side = int((len(state["visual.positional_embedding"]) - 1) ** 0.5)
    blocks = _count(state, r"visual\.transformer\.resblocks\.(\d+)\.")
    return ImageArchitecture((blocks,), width, state["visual.proj"].shape[1], side * patch, patch)


def _count(state: StateDict, pattern: str) -> int:
    matcher = re.compile(pattern)
    found = {match[1] for match in map(matcher.match, state) if match}
    if not found:
        raise WeightsError(f"not an OpenAI-format CLIP: no tensor is named like {pattern}")
    return len(found)


def _load(build: Callable[[], Module], state: dict[str, Tensor]) -> Module:
    """Fill a module made on the meta device, so that no random initialisation is computed only to be overwritten."""
    with torch.device("meta"):
        module = build()
    expected = module.state_dict()
    counters = {name: torch.zeros((), dtype=torch.long) for name in expected if name.endswith(COUNTERS)}
    weights = {
        **counters,
        **{name: tensor.float() for name, tensor in state.items() if not name.endswith(COUNTERS)},
    }
    _check_tensors(expected, weights)
    module.load_state_dict(weights, assign=True)
    return module.eval().requires_grad_(False)


def random_state(architecture: Architecture, seed: int) -> dict[str, Tensor]:
    """An untrained CLIP's state dict, to try a pipeline at full size where no weights can be had."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        clip = CLIP(architecture)
        for name, parameter in clip.visual.named_parameters():
            if parameter.ndim == 4:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
            elif name.endswith("bn3.weight") and name != "bn3.weight":
                nn.init.constant_(parameter, 0.25)  # or the residual sums grow without bound over 33 blocks
    return clip.openai_state_dict()


def _check_tensors(expected: StateDict, got: StateDict) -> None:
    missing, unexpected = sorted(expected.keys() - got.keys()), sorted(got.keys() - expected.keys())
    if missing or unexpected:
        raise WeightsError(
            f"not an OpenAI-format CLIP: {len(missing)} tensors missing ({first_few(missing)}), "
            f"{len(unexpected)} unexpected ({first_few(unexpected)})"
        )
    for name, tensor in expected.items():
        if tensor.shape != got[name].shape:
            raise WeightsError(f"{name}: expected shape {tuple(tensor.shape)}, got {tuple(got[name].shape)}")
