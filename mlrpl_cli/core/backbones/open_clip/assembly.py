"""A backbone out of what open_clip calls a model: its configuration and a state dict under its names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import torch

from mlrpl_cli.core.backbones.backbone import (
    CLIP_MEAN,
    CLIP_STD,
    Backbone,
    BackboneOptions,
    Defaults,
    Dense,
    Description,
    ImageTower,
    InputRule,
    TextTower,
    Tokenizer,
    Triple,
    fingerprint_of,
    rule_as_decided,
    without_text,
)
from mlrpl_cli.core.backbones.open_clip import building
from mlrpl_cli.core.backbones.open_clip.building import VISUAL, StateDict
from mlrpl_cli.core.backbones.open_clip.library import kind_of
from mlrpl_cli.core.backbones.open_clip.text import READ_AT_END, TRANSFORMER, text_tower
from mlrpl_cli.core.backbones.open_clip.tokenizers import ClipTokenizer, HubTokenizer, tokenizer_of
from mlrpl_cli.core.backbones.open_clip.towers import ClassTokenTower, image_tower, input_of, set_size
from mlrpl_cli.core.io.errors import WeightsError

VALUES: Dense = "values"
TRAINING = {"patch_dropout", "output_tokens", "timm_model_pretrained", "timm_drop", "timm_drop_path", "image_size"}
"""What of a vision_cfg decides no feature."""


@dataclass(frozen=True)
class Architecture:
    """What the tensors of a model do not say."""

    model: Mapping[str, Any]
    """open_clip's model_cfg: embed_dim, vision_cfg, text_cfg, quick_gelu, custom_text, …"""
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    """open_clip's preprocess_cfg: mean, std, interpolation, …; what it leaves out is as OpenAI has it."""
    tokenizer: str | None = None
    """A folder with a tokenizer's files, or its name on the hub; None: what text_cfg says."""

    @cached_property
    def form(self) -> tuple[int, InputRule]:
        """D and the input rule. Raises WeightsError for a configuration that cannot be built, or not with a grid."""
        visual = building.empty_visual(self.model)
        image_tower(visual, VALUES)
        channels, stride, free = input_of(visual)
        return channels, input_rule(self, stride, free)

    def recorded(self) -> dict[str, Any]:
        """JSON values, from which `architecture_from` makes the same again."""
        return {"model": dict(self.model), "preprocess": _kept(self.preprocess), "tokenizer": self.tokenizer}


def architecture_from(recorded: Mapping[str, Any]) -> Architecture:
    """The architecture that a run recorded. Raises WeightsError when there is none."""
    try:
        found = recorded["architecture"]
        return Architecture(found["model"], found["preprocess"], found.get("tokenizer"))
    except (KeyError, TypeError) as error:
        raise WeightsError(f"the run's record of its backbone is damaged: {error} is missing; train again") from error


def assemble(
    options: BackboneOptions,
    family: str,
    architecture: Architecture,
    state: StateDict,
    text: bool,
    record: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> Backbone:
    """The backbone of a state dict under open_clip's names; `family` is what it belongs to, for messages.

    `record` is added to what a run keeps. Raises WeightsError when the tensors are not the architecture's, or the
    architecture is none that is known here.
    """
    try:
        channels, rule = architecture.form
        dense = options.dense or VALUES
        towers = _Towers(architecture, state, dense)
        first = towers.image(rule.size)  # tells at once what is missing
        tokens = _LateTokenizer(architecture) if text else None
    except WeightsError as error:
        raise WeightsError(f"{family} backbone '{options.name}': {error}") from error
    kept = {"architecture": architecture.recorded(), "dense": dense, **logits_of(state), **(record or {})}
    return Backbone(
        name=options.name,
        rule=rule,
        channels=channels,
        embed_dim=int(architecture.model["embed_dim"]),
        fingerprint=fingerprint_of(
            {name: tensor for name, tensor in state.items() if name.startswith(VISUAL)},
            decided(architecture, rule, dense if isinstance(first, ClassTokenTower) else None),
        ),
        image_tower=towers.image,
        text_tower=(lambda: towers.text(cast(_LateTokenizer, tokens))) if tokens else without_text,
        tokenizer=tokens or cast(Tokenizer, _NoTokenizer()),
        record=kept,
        notes=tuple(notes),
    )


def describe(options: BackboneOptions, family: str, architecture: Architecture, **told: Any) -> Description:
    """What a configuration says of a backbone; `told` are other fields of `Description`."""
    try:
        channels, rule = architecture.form
    except WeightsError as error:
        raise WeightsError(f"{family} backbone '{options.name}': {error}") from error
    embed_dim = int(architecture.model["embed_dim"])
    return Description(options.name, family, rule, Defaults(rule.size), channels, embed_dim, **told)


def input_rule(architecture: Architecture, stride: int, any_size: bool) -> InputRule:
    """What the configuration says of input. Raises WeightsError for what cannot be squares of RGB."""
    given = {name: value for name, value in architecture.preprocess.items() if value is not None}
    size = architecture.model["vision_cfg"].get("image_size", 224)
    sides = {int(side) for side in (size if isinstance(size, Sequence) else (size,))}
    if len(sides) != 1:
        raise WeightsError(f"it takes images of {size} pixels; expected squares")
    if (mode := given.get("mode", "RGB")) != "RGB":
        raise WeightsError(f"its preprocess_cfg has the mode '{mode}'; expected 'RGB'")
    if (resampling := given.get("interpolation", "bicubic")) not in ("bicubic", "bilinear"):
        raise WeightsError(f"its preprocess_cfg has the interpolation '{resampling}'; expected bicubic or bilinear")
    mean, std = (_triple(given.get(name, default)) for name, default in (("mean", CLIP_MEAN), ("std", CLIP_STD)))
    return InputRule(sides.pop(), stride, any_size, mean, std, resampling)


def decided(architecture: Architecture, rule: InputRule, dense: Dense | None) -> dict[str, Any]:
    """What decides a feature beside the weights: the configuration's vision part, the input rule, the dense path."""
    vision = {name: value for name, value in architecture.model["vision_cfg"].items() if name not in TRAINING}
    model = {"embed_dim": architecture.model["embed_dim"], "vision_cfg": vision}
    if not vision.get("timm_model_name"):  # timm's have their own activation
        model["quick_gelu"] = bool(architecture.model.get("quick_gelu", False))
    return {"model": model, **rule_as_decided(rule), **({"dense": dense} if dense else {})}


def logits_of(state: StateDict) -> dict[str, float]:
    """The scale and the bias of the logits between images and texts, as far as the weights have them."""
    names = ("logit_scale", "logit_bias")
    return {name: float(state[name].reshape(-1)[0]) for name in names if name in state and state[name].numel()}


class _Towers:
    """Builds towers from one state dict, whose tensors they share."""

    def __init__(self, architecture: Architecture, state: StateDict, dense: Dense) -> None:
        self._architecture, self._dense = architecture, dense
        self._visual, self._text = building.visual_state(state), building.text_state(state)

    def image(self, image_size: int) -> ImageTower:
        """A new image tower for images of that size. Raises WeightsError when the tensors are not its own."""
        channels, rule = self._architecture.form
        visual = building.empty_visual(self._architecture.model, image_size)
        state = self._visual if image_size == rule.size else building.resized_state(self._visual, visual)
        building.fill(visual, state, "image tower")
        set_size(visual, image_size)
        tower = image_tower(visual, self._dense)
        tower.channels, tower.embed_dim = channels, int(self._architecture.model["embed_dim"])
        return tower.eval().requires_grad_(False)

    def text(self, tokenizer: _LateTokenizer) -> TextTower:
        """A new text tower. Raises WeightsError when the tensors are not its own, or it ends texts otherwise."""
        module = building.fill(building.empty_text(self._architecture.model), self._text, "text tower")
        _check_end(module, tokenizer)
        return text_tower(module, tokenizer.padding).eval().requires_grad_(False)


class _LateTokenizer:
    """A backbone's tokenizer, whose files are read when it is first used: a run on features alone needs none."""

    def __init__(self, architecture: Architecture) -> None:
        self._architecture = architecture

    @cached_property
    def _own(self) -> ClipTokenizer | HubTokenizer:
        return tokenizer_of(self._architecture.model["text_cfg"], self._architecture.tokenizer)

    @property
    def leading(self) -> int:
        return self._own.leading

    @property
    def padding(self) -> list[int]:
        return self._own.padding

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        return self._own(texts)


class _NoTokenizer:
    """Of a backbone that was loaded without its text tower."""

    leading = 0

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        without_text()
        return []


def _check_end(module: Any, tokenizer: Callable[[Sequence[str]], list[list[int]]]) -> None:
    """Raise WeightsError where the tower would look for the end of a text elsewhere than the tokenizer puts it."""
    if kind_of(module) != TRANSFORMER or module.cls_emb is not None or module.pool_type not in READ_AT_END:
        return
    for row in tokenizer(["", "a photo of a dog"]):
        ids = torch.tensor(row)
        read = ids.argmax() if module.pool_type == "argmax" else (ids == module.eos_id).int().argmax()
        if int(read) != len(row) - 1:
            raise WeightsError(
                f"its text tower reads a text at token {int(read)} of {row}, not at its last one; "
                "expected a tokenizer whose end token is the one that pool_type and eos_id say"
            )


def _triple(values: Any) -> Triple:
    if isinstance(values, Sequence) and len(values) == 3:
        return float(values[0]), float(values[1]), float(values[2])
    raise WeightsError(f"its preprocess_cfg has {values} for three channels; expected three numbers")


def _kept(preprocess: Mapping[str, Any]) -> dict[str, Any]:
    names = ("mean", "std", "interpolation", "mode", "resize_mode", "size")
    return {name: _json(preprocess[name]) for name in names if preprocess.get(name) is not None}


def _json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
