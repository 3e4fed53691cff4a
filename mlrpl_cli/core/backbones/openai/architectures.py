"""Frozen CLIP encoders built from an OpenAI-format state dict, the sizes read off the tensors."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mlrpl_cli.core.backbones.backbone import Dense
from mlrpl_cli.core.backbones.filling import fill
from mlrpl_cli.core.backbones.openai.resnet import STRIDE, ResNetEncoder
from mlrpl_cli.core.backbones.openai.text import TextEncoder
from mlrpl_cli.core.backbones.openai.transformer import OPENAI_FORM, Form
from mlrpl_cli.core.backbones.openai.vit import VisionTransformer
from mlrpl_cli.core.io.errors import WeightsError, first_few

StateDict = Mapping[str, Tensor]
ImageEncoder = ResNetEncoder | VisionTransformer

VISUAL = "visual."
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
    hidden: int | None = None
    """Width of a ViT's MLPs; None: 4 times `width`."""
    form: Form = OPENAI_FORM
    """Of a ViT."""

    @property
    def is_vit(self) -> bool:
        return len(self.layers) == 1

    @property
    def channels(self) -> int:
        """D, channels of the grid."""
        return self.width if self.is_vit else self.width * 32

    def build(self, dense: Dense = "values") -> ImageEncoder:
        """`dense` says where a ViT's joint grid comes from; a ResNet's is always the value path of its pool."""
        if self.is_vit:
            sizes = self.stride, self.width, self.layers[0], self.embed_dim, self.image_size, self.hidden
            return VisionTransformer(*sizes, self.form, dense)
        return ResNetEncoder(self.layers, self.width, self.embed_dim, self.image_size)


@dataclass(frozen=True)
class TextArchitecture:
    """The sizes of a text encoder."""

    width: int
    layers: int
    embed_dim: int
    context_length: int = 77
    vocabulary: int = 49408
    hidden: int | None = None
    """Width of the MLPs; None: 4 times `width`."""
    form: Form = OPENAI_FORM

    def build(self) -> TextEncoder:
        sizes = self.width, self.layers, self.embed_dim, self.context_length, self.vocabulary, self.hidden
        return TextEncoder(*sizes, self.form)


@dataclass(frozen=True)
class Architecture:
    """A whole CLIP."""

    image: ImageArchitecture
    text: TextArchitecture


ARCHITECTURES: dict[str, Architecture] = {
    "RN50": Architecture(ImageArchitecture((3, 4, 6, 3), 64, 1024, 224), TextArchitecture(512, 12, 1024)),
    "RN101": Architecture(ImageArchitecture((3, 4, 23, 3), 64, 512, 224), TextArchitecture(512, 12, 512)),
    "RN50x4": Architecture(ImageArchitecture((4, 6, 10, 6), 80, 640, 288), TextArchitecture(640, 12, 640)),
    "RN50x16": Architecture(ImageArchitecture((6, 8, 18, 8), 96, 768, 384), TextArchitecture(768, 12, 768)),
    "RN50x64": Architecture(ImageArchitecture((3, 15, 36, 10), 128, 1024, 448), TextArchitecture(1024, 12, 1024)),
    "ViT-B/32": Architecture(ImageArchitecture((12,), 768, 512, 224, 32), TextArchitecture(512, 12, 512)),
    "ViT-B/16": Architecture(ImageArchitecture((12,), 768, 512, 224, 16), TextArchitecture(512, 12, 512)),
    "ViT-L/14": Architecture(ImageArchitecture((24,), 1024, 768, 224, 14), TextArchitecture(768, 12, 768)),
    "ViT-L/14@336px": Architecture(ImageArchitecture((24,), 1024, 768, 336, 14), TextArchitecture(768, 12, 768)),
}


def image_architecture(state: StateDict, form: Form = OPENAI_FORM) -> ImageArchitecture:
    """Read the sizes of the image encoder off the shapes. Raises WeightsError when the tensors are not a CLIP's."""
    hidden = None
    with _of_clip("image encoder", state):
        if VISUAL + "proj" in state:
            width, _, patch, _ = state["visual.conv1.weight"].shape
            layers: tuple[int, ...] = (_count(state, r"visual\.transformer\.resblocks\.(\d+)\."),)
            positions, embed_dim = state["visual.positional_embedding"], state["visual.proj"].shape[1]
            hidden = _hidden(state, VISUAL, width)
        else:
            layers = tuple(_count(state, rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4))
            width, patch = state["visual.layer1.0.conv1.weight"].shape[0], STRIDE
            positions = state["visual.attnpool.positional_embedding"]
            embed_dim = len(state["visual.attnpool.c_proj.weight"])
        size = int((len(positions) - 1) ** 0.5) * patch
        return ImageArchitecture(layers, width, embed_dim, size, patch, hidden, form)


def text_architecture(state: StateDict, form: Form = OPENAI_FORM) -> TextArchitecture:
    """Read the sizes of the text encoder off the shapes. Raises WeightsError when the tensors are not a CLIP's."""
    with _of_clip("text encoder", state):
        width, embed_dim = state["text_projection"].shape
        length, vocabulary = len(state["positional_embedding"]), len(state["token_embedding.weight"])
        layers = _count(state, r"transformer\.resblocks\.(\d+)\.")
        return TextArchitecture(width, layers, embed_dim, length, vocabulary, _hidden(state, "", width), form)


def _hidden(state: StateDict, prefix: str, width: int) -> int | None:
    """The width of a transformer's MLPs, None where it is 4 times its own."""
    hidden = len(state[prefix + "transformer.resblocks.0.mlp.c_fc.weight"])
    return None if hidden == 4 * width else hidden


@contextmanager
def _of_clip(tower: str, state: StateDict) -> Iterator[None]:
    """Raise WeightsError where sizes cannot be read off the tensors of `state`."""
    try:
        yield
    except KeyError as missing:
        raise WeightsError(
            f"not an OpenAI-format CLIP: expected the tensor {missing} of its {tower}, got "
            f"{first_few(state) or 'no tensor'}; give an OpenAI archive, or a state dict of one, as --backbone"
        ) from missing
    except (ValueError, IndexError, TypeError) as error:
        raise WeightsError(f"not an OpenAI-format CLIP: the {tower}'s tensors have other dimensions") from error


def build_image_encoder(state: StateDict, form: Form = OPENAI_FORM, dense: Dense = "values") -> ImageEncoder:
    """The image encoder, frozen, in evaluation mode and float32. Raises WeightsError when these are not a CLIP's."""
    own = {name.removeprefix(VISUAL): tensor for name, tensor in state.items() if name.startswith(VISUAL)}
    architecture = image_architecture(state, form)
    return _load(lambda: architecture.build(dense), own)


def build_text_encoder(state: StateDict, form: Form = OPENAI_FORM) -> TextEncoder:
    """The text encoder, frozen, in evaluation mode and float32. Raises WeightsError when these are not a CLIP's."""
    own = {name: tensor for name, tensor in state.items() if not name.startswith((VISUAL, "logit_scale", *SIZES))}
    return _load(text_architecture(state, form).build, own)


def _count(state: StateDict, pattern: str) -> int:
    """How many numbers stand where `pattern` has its group."""
    found = {match[1] for name in state if (match := re.match(pattern, name))}
    if not found:
        raise WeightsError(f"not an OpenAI-format CLIP: no tensor is named like {pattern}")
    return len(found)


def _load(build: Callable[[], nn.Module], state: StateDict) -> Any:
    """Fill a module made on the meta device, so that no random initialisation is computed only to be overwritten.

    The image encoders scale in place: out of place, PyTorch would import its compiler there, which takes seconds.
    """
    with torch.device("meta"):
        module = build()
    return fill(module, {name: tensor.float() for name, tensor in state.items()}, "not an OpenAI-format CLIP")


def random_state(architecture: Architecture, seed: int) -> dict[str, Tensor]:
    """An untrained CLIP's state dict, to try a pipeline at full size where no weights can be had."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        visual, text = architecture.image.build(), architecture.text.build()
        for name, parameter in visual.named_parameters():
            if parameter.ndim == 4:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
            elif name.endswith("bn3.weight") and name != "bn3.weight":
                nn.init.constant_(parameter, 0.25)  # or the residual sums grow without bound over 33 blocks
    return openai_state(visual, text, torch.tensor(1 / 0.07).log())


def openai_state(visual: ImageEncoder, text: TextEncoder, logit_scale: Tensor) -> dict[str, Tensor]:
    """The state dict of a CLIP under OpenAI's names: `visual.…` for the image tower, no prefix for the text tower."""
    state = {VISUAL + name: tensor for name, tensor in visual.state_dict().items()}
    return {**state, **text.state_dict(), "logit_scale": logit_scale.detach()}
