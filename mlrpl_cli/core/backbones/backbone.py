"""What a backbone is: two frozen towers, a tokenizer and an input rule. Nothing outside this room knows more of one.

Axes: B images, P grid positions, D channels, E joint embedding, C prompts, T tokens in a prompt, W text width.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.backbones.tokens import pad_tokens
from mlrpl_cli.core.io.errors import WeightsError
from mlrpl_cli.core.io.progress import Progress

Triple = tuple[float, float, float]
CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Triple = (0.26862954, 0.26130258, 0.27577711)

Dense = Literal["values", "tokens"]
"""Where the joint grid comes from: the value path of the last attention, or the tokens that come out of it."""


@dataclass(frozen=True)
class InputRule:
    """What an image tower takes: squares of S x S pixels in [0, 1], from which a mean and a deviation are taken out."""

    size: int
    """S of the images that the tower was trained on."""
    stride: int
    """Pixels per grid position along each side; S is a multiple of it."""
    any_size: bool = True
    """Whether the tower takes every multiple of the stride, or `size` alone."""
    mean: Triple = CLIP_MEAN
    """Of each channel, in the order of `channels`."""
    std: Triple = CLIP_STD
    resampling: Literal["bicubic", "bilinear"] = "bicubic"
    """How images are resized to S x S."""
    channels: Literal["RGB", "BGR"] = "RGB"

    def problem(self, image_size: int) -> str | None:
        """The one-line reason why the tower cannot take images of that size, or None."""
        if not self.any_size and image_size != self.size:
            return f"image_size: expected {self.size}, the one size that this backbone takes, got {image_size}"
        if image_size % self.stride == 0:
            return None
        lower = max(image_size // self.stride, 1) * self.stride
        expected = f"image_size: expected a multiple of this backbone's stride {self.stride}, got {image_size}"
        return f"{expected}; take {lower} or {lower + self.stride}"

    def normalize(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) uint8 RGB → float32 as the tower takes them."""
        mean, std = (torch.tensor(of, device=pixels.device).view(3, 1, 1) * 255 for of in (self.mean, self.std))
        pixels = pixels.flip(1) if self.channels == "BGR" else pixels
        return (pixels.float() - mean) / std


CLIP_RULE = InputRule(size=224, stride=32)
"""Of OpenAI's CLIPs; size and stride are those of the ResNets and of ViT-B/32."""


@dataclass(frozen=True)
class Defaults:
    """What the options of training are where the user says nothing."""

    image_size: int
    attention_width: int = 1024
    precision: Literal["float32"] | None = None
    """None: what the device is fast in."""


class ImageTower(nn.Module):
    """A frozen image encoder, in evaluation mode."""

    channels: int
    """D."""
    embed_dim: int
    """E."""

    def forward(self, images: Tensor) -> ImageFeatures:
        """(B, 3, S, S) as `InputRule.normalize` gives them → features of P positions, row by row."""
        raise NotImplementedError

    def fold(self) -> None:
        """Do, for good, what being frozen allows: layers with nothing between them become one."""


class TextTower(nn.Module):
    """A frozen text encoder, in evaluation mode, through which contexts are learned."""

    width: int
    """W of a token's embedding."""
    context_length: int
    """Most tokens of a text, start and end included."""

    def forward(self, embeddings: Tensor, end: Tensor) -> Tensor:
        """Token embeddings (C, T, W), and the index (C,) of each text's last token → (C, E) float32.

        What stands behind `end` is not read. Differentiable in `embeddings`. An `end` on the CPU keeps a GPU from
        waiting.
        """
        raise NotImplementedError

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids of any shape and on any device → their embeddings (…, W), before positions are added."""
        raise NotImplementedError

    def encode_tokens(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Token ids of each text, from its first special token to its last and not padded → (C, E)."""
        ids, end = pad_tokens(tokens)
        return self(self.embed(ids), end)

    def fold(self) -> None:
        """Do, for good, what being frozen allows; `embed` gives the same afterwards."""


class Tokenizer(Protocol):
    """Texts to token ids, as the text tower was trained on."""

    @property
    def leading(self) -> int:
        """Special tokens before the words: a learnable context follows them. 1 of CLIP's start token, 0 of T5's."""
        ...

    @property
    def trailing(self) -> int:
        """Special tokens after the words."""
        ...

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text with its special tokens, not padded. Raises ConfigError, naming it, for one too long."""
        ...


@dataclass(frozen=True)
class BackboneOptions:
    """Which backbone is meant."""

    name: str
    """A name of ours, of a package or of open_clip, or a path."""
    config: str | None = None
    """What a file's tensors do not say: a name of an architecture, or a JSON file."""
    dense: Dense | None = None
    """None: what the run used, else what the backbone's entry takes."""
    recorded: Mapping[str, Any] | None = None
    """The `Backbone.record` of a run that used this backbone: it then decides what `name` alone does not."""

    @property
    def wanted_dense(self) -> Dense | None:
        """What is asked for, else what the run used; None where neither says."""
        return self.dense or (self.recorded or {}).get("dense")


@dataclass(frozen=True)
class Description:
    """What is known of a backbone without its weights."""

    name: str
    family: str
    rule: InputRule
    defaults: Defaults
    channels: int | None = None
    """D."""
    embed_dim: int | None = None
    """E."""
    pretraining: str | None = None
    """The data it was trained on, as its maker calls them."""
    licence: str | None = None
    """Of the weights; None where it is not known."""
    downloaded: bool | None = None
    """Whether the weights are on this machine; None where it cannot be told."""
    address: str | None = None
    """Where the weights are downloaded from; None for those that are not, and where it is not known."""


@dataclass(frozen=True)
class Backbone:
    """A loaded backbone. The towers are built when asked for, frozen, in float32 and evaluation mode, on the CPU."""

    name: str
    rule: InputRule
    channels: int
    """D."""
    embed_dim: int
    """E."""
    fingerprint: str
    """SHA-256 over all that decides a feature: see `fingerprint_of`."""
    image_tower: Callable[[int], ImageTower] = field(repr=False)
    """Image size → a new image tower for it."""
    text_tower: Callable[[], TextTower] = field(repr=False)
    """A new text tower; raises WeightsError where the backbone was loaded without."""
    tokenizer: Tokenizer = field(repr=False)
    record: Mapping[str, Any] = field(default_factory=dict)
    """What a run keeps to rebuild the backbone: JSON values, given back as `BackboneOptions.recorded`."""
    notes: tuple[str, ...] = ()
    """What was assumed, a sentence each: shown when the backbone is loaded for training."""
    weights: Mapping[str, Tensor] | None = field(default=None, repr=False)
    """What the image tower is made of and the record does not say, as `Family.rebuild` takes it; None where the family
    has no `rebuild`."""

    @property
    def logit_scale(self) -> float | None:
        """The logarithm of what cosines of images and texts were multiplied by; None where the weights do not say."""
        return self.record.get("logit_scale")

    @property
    def logit_bias(self) -> float | None:
        """What was added to them, of a backbone that was trained to say of each text by itself whether it fits."""
        return self.record.get("logit_bias")


class Family:
    """A kind of backbones: one file in this package or another one, and one line in the registry."""

    takes_config: bool = False
    """Whether `BackboneOptions.config` is of use; where it is not, one that is given is refused."""

    def claims(self, name: str) -> bool:
        """Whether `name` is one of this family's, as far as the name, and whether there is such a file, tells."""
        return name in self.names()

    def names(self) -> list[str]:
        """Names that can be listed, best known first."""
        raise NotImplementedError

    def absolute(self, options: BackboneOptions) -> BackboneOptions:
        """The same backbone, so named that it is found from every folder."""
        return options

    def describe(self, options: BackboneOptions) -> Description:
        """Without weights, where that can be. Raises WeightsError, as `load`."""
        raise NotImplementedError

    def load(self, options: BackboneOptions, progress: Progress | None = None, text: bool = True) -> Backbone:
        """Load the weights.

        Without `text`, the text tower need not be read. Raises WeightsError in one line: for what is not, or not
        wholly, a backbone; for what could mean several, naming the option that decides.
        """
        raise NotImplementedError

    def rebuild(self, options: BackboneOptions, weights: Mapping[str, Tensor]) -> Backbone:
        """The backbone whose `Backbone.weights` these are, without its text tower, and with nothing else at hand.

        `options.recorded` is its record; its name need not be claimed here. Raises WeightsError for other tensors.
        """
        raise WeightsError(f"the family of the backbone '{options.name}' cannot build it from weights alone")


def fingerprint_of(weights: Mapping[str, Tensor], decides: Mapping[str, Any] | None = None) -> str:
    """SHA-256 over names, shapes and float32 values of an image tower's `weights`, and over what else `decides`.

    `decides` holds JSON values: what of the architecture, input rule and dense path the weights do not say. What is
    as OpenAI's checkpoints have it is left out of it, so that nothing is added for those.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        if weights[name].is_floating_point():
            digest.update(f"{name}{tuple(weights[name].shape)}".encode())
            digest.update(weights[name].float().contiguous().numpy().tobytes())
    if decides:
        digest.update(json.dumps(decides, sort_keys=True).encode())
    return digest.hexdigest()


def logits_of(weights: Mapping[str, Tensor]) -> dict[str, float]:
    """The scale and the bias of the logits between images and texts, as far as the weights have them."""
    names = ("logit_scale", "logit_bias")
    return {name: float(weights[name].reshape(-1)[0]) for name in names if name in weights and weights[name].numel()}


def rule_as_decided(rule: InputRule) -> dict[str, Any]:
    """What of `rule` decides a feature and is not as OpenAI's: nothing for theirs, at any image size."""
    plain = InputRule(rule.size, rule.stride, rule.any_size)
    return {name: value for name, value in asdict(rule).items() if value != getattr(plain, name)}


def without_text() -> TextTower:
    """The text tower of a backbone that was loaded without one."""
    raise WeightsError("this backbone was loaded without its text encoder")


class WithoutTokenizer:
    """The tokenizer of a backbone that was rebuilt from what its image tower is made of."""

    leading = trailing = 0

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        raise WeightsError("this backbone was loaded without its tokenizer")
