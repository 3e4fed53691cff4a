"""`lite` as a family of backbones: one name, and what its towers are built from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from mlrpl_cli.core.backbones.backbone import (
    Backbone,
    BackboneOptions,
    Defaults,
    Description,
    Family,
    InputRule,
    TextTower,
    Tokenizer,
    WithoutTokenizer,
    fingerprint_of,
    rule_as_decided,
    without_text,
)
from mlrpl_cli.core.backbones.lite import image, packages, text
from mlrpl_cli.core.backbones.lite.joint import EMBED_DIM, Encode, JointSpace, cached_fit, digest_of
from mlrpl_cli.core.backbones.tokens import pad_tokens
from mlrpl_cli.core.io.errors import WeightsError
from mlrpl_cli.core.io.progress import Progress, Silent

NAME, FIT, BASIS = "lite", "fit", "basis"
TRAINED_ON = 256  # 260, which is no multiple of the stride
RULE = InputRule(TRAINED_ON, image.STRIDE, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
SCALE = 8.0
"""What cosines are multiplied by where names are compared (docs/lite.md)."""
DEFAULTS = Defaults(image_size=384, attention_width=128, precision="float32")


class Lite(Family):
    """EfficientNet-Lite2 and MiniLM, from packages that pip installs."""

    def names(self) -> list[str]:
        return [NAME]

    def describe(self, options: BackboneOptions) -> Description:
        _check(options)
        return Description(
            NAME,
            NAME,
            RULE,
            DEFAULTS,
            channels=image.CHANNELS,
            embed_dim=EMBED_DIM,
            pretraining="ImageNet-1k, sentence pairs",
            licence="Apache-2.0",
            downloaded=packages.installed(),
        )

    def load(self, options: BackboneOptions, progress: Progress | None = None, text: bool = True) -> Backbone:
        _check(options)
        labels = packages.imagenet_labels()
        fitted = digest_of(labels)
        if options.recorded and options.recorded.get(FIT) != fitted:
            raise WeightsError(
                "this run's joint space was fitted to other names or definitions of ImageNet's labels than the "
                "installed open_clip and timm have, or by another mlrpl; install the versions that it was trained with"
            )
        state = dict(image.renamed(packages.read_tensors(packages.LITE2)))
        tokenizer = word_pieces()
        space = cached_fit(labels, lambda: double_encoder(tokenizer, progress or Silent()))
        weights = {**state, BASIS: space.basis}
        return _assembled(weights, fitted, (lambda: _text_tower(space)) if text else without_text, tokenizer)

    def rebuild(self, options: BackboneOptions, weights: Mapping[str, Tensor]) -> Backbone:
        _image_tower(weights)  # tells at once what is missing
        fitted = (options.recorded or {}).get(FIT)
        return _assembled(weights, str(fitted), without_text, WithoutTokenizer())


FAMILY = Lite()


def _assembled(
    weights: Mapping[str, Tensor], fitted: str, text_tower: Callable[[], TextTower], tokenizer: Tokenizer
) -> Backbone:
    """`weights` are those of the image tower, with the basis of the joint space; `fitted` says what that came from."""
    state = {name: tensor for name, tensor in weights.items() if name != BASIS}
    return Backbone(
        name=NAME,
        rule=RULE,
        channels=image.CHANNELS,
        embed_dim=EMBED_DIM,
        fingerprint=fingerprint_of(state, {FIT: fitted, "rule": rule_as_decided(RULE)}),
        image_tower=lambda image_size: _image_tower(weights),
        text_tower=text_tower,
        tokenizer=tokenizer,
        record={FIT: fitted, "logit_scale": math.log(SCALE)},
        weights=weights,
    )


def _check(options: BackboneOptions) -> None:
    if options.dense is not None:
        raise WeightsError(f"dense: lite has one joint grid, got '{options.dense}'; leave it out")


def _image_tower(weights: Mapping[str, Tensor]) -> image.LiteTower:
    tower = image.LiteTower(image.LITE2, weights[BASIS])
    tower.load_state_dict(weights)
    return _frozen(tower)


def _text_tower(space: JointSpace) -> text.MiniLM:
    tower = text.MiniLM(space)
    tower.encoder = _sentence_encoder()
    return _frozen(tower)


def _sentence_encoder() -> text.SentenceEncoder:
    encoder = text.SentenceEncoder()
    encoder.load_state_dict(_sentence_state())
    return _frozen(encoder)


@cache
def _sentence_state() -> dict[str, Tensor]:
    """Read and checked once: every fold, and every cell of a sweep, builds a text tower."""
    return dict(text.renamed(packages.read_tensors(packages.MINILM)))


@cache
def word_pieces() -> text.WordPieces:
    return text.WordPieces(packages.WORD_PIECES.checked().read_text("utf-8"))


def double_encoder(tokenizer: text.WordPieces, progress: Progress) -> Encode:
    """Texts → embeddings in float64, which the fit needs."""
    progress.note("fitting lite's joint space to ImageNet's 1,000 labels, once: this takes some seconds")
    encoder = _sentence_encoder().double()

    @torch.inference_mode()
    def encode(texts: Sequence[str]) -> Tensor:
        ids, end = pad_tokens(tokenizer(texts))
        return encoder(encoder.words(ids), end)

    return encode


def _frozen(module: Any) -> Any:
    return module.requires_grad_(False).eval()
