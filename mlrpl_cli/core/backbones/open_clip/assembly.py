"""A backbone out of what open_clip calls a model: its configuration and a state dict under its names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

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
    Triple,
    fingerprint_of,
    logits_of,
    rule_as_decided,
    without_text,
)
from mlrpl_cli.core.backbones.open_clip import building
from mlrpl_cli.core.backbones.open_clip.plain import check_sizes, form_of, plain_sizes, plain_state
from mlrpl_cli.core.backbones.open_clip.text import check_end, text_tower
from mlrpl_cli.core.backbones.open_clip.tokenizers import LateTokenizer
from mlrpl_cli.core.backbones.open_clip.towers import ClassTokenTower, image_tower, input_of, set_size
from mlrpl_cli.core.backbones.openai import assembly as openai
from mlrpl_cli.core.backbones.openai.architectures import VISUAL, StateDict
from mlrpl_cli.core.backbones.openai.transformer import Form
from mlrpl_cli.core.io.errors import WeightsError
from mlrpl_cli.core.io.reading import short

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
    def plain(self) -> tuple[Form, Form] | None:
        """The forms of our own towers where these compute the same; None where open_clip's modules are taken."""
        return form_of(self.model)

    @cached_property
    def sizes(self) -> tuple[int, InputRule]:
        """D and the input rule. Raises WeightsError for a configuration that cannot be built, or not with a grid."""
        if self.plain:
            channels, stride = plain_sizes(self.model)
            return channels, input_rule(self, stride, any_size=True)
        channels, stride, free = _built_sizes(json.dumps(dict(self.model), sort_keys=True))
        return channels, input_rule(self, stride, free)

    def recorded(self) -> dict[str, Any]:
        """JSON values, from which `architecture_from` makes the same again."""
        return {"model": dict(self.model), "preprocess": _kept(self.preprocess), "tokenizer": self.tokenizer}


@lru_cache(maxsize=256)
def _built_sizes(model: str) -> tuple[int, int, bool]:
    """`input_of` the tower of a model_cfg in JSON: many weights have the same one, and building it takes a while."""
    visual = building.empty_visual(json.loads(model))
    image_tower(visual, VALUES)
    return input_of(visual)


def architecture_from(recorded: Mapping[str, Any]) -> Architecture:
    """The architecture that a run recorded. Raises WeightsError when there is none.

    It may come from a stranger: names by which timm would ask the network, or read a folder, are refused.
    """
    try:
        found = recorded["architecture"]
        architecture = Architecture(found["model"], found["preprocess"], found.get("tokenizer"))
        place = str(found["model"]["vision_cfg"].get("timm_model_name"))
    except (KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"the run's record of its backbone is damaged: {error} is missing; train again") from error
    if ":" in place:
        raise WeightsError(
            f"the run's record of its backbone names no architecture of timm, but a place, {short(place)}; "
            "train again, or name the backbone with --backbone"
        )
    return architecture


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
    kept = {"architecture": architecture.recorded(), **(record or {})}
    try:
        if architecture.plain:
            return replace(_ours(options, architecture, state, text, kept), notes=tuple(notes))
        return _theirs(options, architecture, state, text, kept, tuple(notes))
    except WeightsError as error:
        raise WeightsError(f"{family} backbone '{options.name}': {error}") from error


def reassemble(options: BackboneOptions, family: str, weights: StateDict) -> Backbone:
    """The backbone of a record and of the `Backbone.weights` that it had, without its text tower.

    Both may come from a stranger, as `architecture_from` knows.
    """
    architecture = replace(architecture_from(options.recorded or {}), tokenizer=None)
    return assemble(options, family, architecture, weights, text=False)


def describe(options: BackboneOptions, family: str, architecture: Architecture, **told: Any) -> Description:
    """What a configuration says of a backbone; `told` are other fields of `Description`."""
    try:
        channels, rule = architecture.sizes
    except WeightsError as error:
        raise WeightsError(f"{family} backbone '{options.name}': {error}") from error
    embed_dim = int(architecture.model["embed_dim"])
    ours = architecture.plain is not None and rule.problem(openai.DEFAULTS.image_size) is None
    defaults = openai.DEFAULTS if ours else Defaults(rule.size)
    return Description(options.name, family, rule, defaults, channels, embed_dim, **told)


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
    # SigLIP's towers of 384 pixels and patches of 14 leave out the last 6, so they have seen 378.
    side = sides.pop()
    return InputRule(side - side % stride, stride, any_size, mean, std, resampling)


def decided(architecture: Architecture, rule: InputRule, dense: Dense | None) -> dict[str, Any]:
    """What decides a feature beside the weights: the configuration's vision part, the input rule, the dense path."""
    vision = {name: value for name, value in architecture.model["vision_cfg"].items() if name not in TRAINING}
    model = {"embed_dim": architecture.model["embed_dim"], "vision_cfg": vision}
    if not vision.get("timm_model_name"):  # timm's have their own activation
        model["quick_gelu"] = bool(architecture.model.get("quick_gelu", False))
    return {"model": model, **rule_as_decided(rule), **({"dense": dense} if dense else {})}


def _ours(
    options: BackboneOptions, architecture: Architecture, state: StateDict, text: bool, record: Mapping[str, Any]
) -> Backbone:
    """Of our own towers."""
    assert architecture.plain is not None
    _, rule = architecture.sizes
    state = plain_state(state)
    check_sizes(architecture.model, state, text)
    given = {"mean": rule.mean, "std": rule.std, "resampling": rule.resampling}
    return openai.assemble(options, state, text, *architecture.plain, given, **record)


def _theirs(
    options: BackboneOptions,
    architecture: Architecture,
    state: StateDict,
    text: bool,
    record: Mapping[str, Any],
    notes: tuple[str, ...],
) -> Backbone:
    """Of open_clip's modules."""
    channels, rule = architecture.sizes
    dense = options.wanted_dense or VALUES
    towers = Towers(architecture, state, dense)
    first = towers.image(rule.size)  # tells at once what is missing
    tokenizer = LateTokenizer(architecture.model["text_cfg"], architecture.tokenizer)
    weights = {name: tensor for name, tensor in state.items() if name.startswith(VISUAL)}
    decides = decided(architecture, rule, dense if isinstance(first, ClassTokenTower) else None)
    return Backbone(
        options.name,
        rule,
        channels,
        int(architecture.model["embed_dim"]),
        fingerprint_of(weights, decides),
        towers.image,
        (lambda: towers.text(tokenizer)) if text else without_text,
        tokenizer,
        {**logits_of(state), **record, "dense": dense},
        notes,
        weights,
    )


class Towers:
    """Builds towers from one state dict, whose tensors they share."""

    def __init__(self, architecture: Architecture, state: StateDict, dense: Dense) -> None:
        self._architecture, self._dense = architecture, dense
        self._visual, self._text = building.visual_state(state), building.text_state(state)

    def image(self, image_size: int) -> ImageTower:
        """A new image tower for images of that size. Raises WeightsError when the tensors are not its own."""
        channels, rule = self._architecture.sizes
        visual = building.empty_visual(self._architecture.model, image_size)
        state = self._visual if image_size == rule.size else building.resized_state(self._visual, visual)
        building.fill(visual, state, "image tower")
        set_size(visual, image_size)
        tower = image_tower(visual, self._dense)
        tower.channels, tower.embed_dim = channels, int(self._architecture.model["embed_dim"])
        return tower.eval().requires_grad_(False)

    def text(self, tokenizer: LateTokenizer) -> TextTower:
        """A new text tower. Raises WeightsError when the tensors are not its own, or it ends texts otherwise."""
        module = building.fill(building.empty_text(self._architecture.model), self._text, "text tower")
        check_end(module, tokenizer)
        return text_tower(module, tokenizer.padding).eval().requires_grad_(False)


def _triple(values: Any) -> Triple:
    if isinstance(values, Sequence) and len(values) == 3:
        return float(values[0]), float(values[1]), float(values[2])
    raise WeightsError(f"its preprocess_cfg has {values} for three channels; expected three numbers")


def _kept(preprocess: Mapping[str, Any]) -> dict[str, Any]:
    names = ("mean", "std", "interpolation", "mode", "resize_mode", "size")
    return {name: _json(preprocess[name]) for name in names if preprocess.get(name) is not None}


def _json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
