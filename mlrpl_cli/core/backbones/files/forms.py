"""Which architecture weights are of: decided by what is known, asked for where shapes could mean several.

Shapes say neither the activation nor the heads nor the input rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from mlrpl_cli.core.backbones.files import configuration
from mlrpl_cli.core.backbones.files.catalogue import fitting_names
from mlrpl_cli.core.backbones.files.huggingface.names import is_huggingface
from mlrpl_cli.core.backbones.files.reading import Weights
from mlrpl_cli.core.backbones.files.sizes import Sizes, differences, is_custom, sizes_of_state
from mlrpl_cli.core.backbones.open_clip.assembly import Architecture
from mlrpl_cli.core.io.errors import WeightsError, first_few

OPENAI, OPENAI_GELU = "openai", "openai-gelu"
HEAD_WIDTH, MLP_RATIO = 64, 4
RESNETS = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64")
"""What both OpenAI and open_clip call an architecture, with QuickGELU there and GELU here."""


class Decided(NamedTuple):
    architecture: Architecture
    notes: tuple[str, ...] = ()


def decide(weights: Weights, state: Mapping[str, Tensor], config: str | None) -> Decided:
    """The architecture of `weights`, whose `state` has open_clip's names and may be without values.

    By `config`, which is a name or a file, else by the configuration beside the weights, else by what OpenAI's own
    files say of themselves, else by the one form that fits. Raises WeightsError for what does not fit, and where
    several forms do.
    """
    if config is not None:
        return _chosen(config, state)
    published = weights.archive is not None
    if not published and (found := configuration.beside(weights.path.parent, is_huggingface(weights.entries))):
        path, architecture = found
        note = f"{weights.path} is taken as {path} says ({_said(architecture.model)})"
        return Decided(_fitting(f"{path} is not of {weights.path}", architecture, state), (note,))
    if published or weights.openai:
        if problem := openai_problem(state):
            raise WeightsError(
                f"{weights.path} has OpenAI's marks, but not its form: {problem}; {_ask('NAME or FILE')}"
            )
        said = (
            "its SHA-256 is one that OpenAI published" if published else "it carries the sizes that OpenAI's files do"
        )
        note = f"{weights.path} is taken as OpenAI's (QuickGELU, heads of {HEAD_WIDTH}, its input): {said}"
        return Decided(openai_form(state, quick_gelu=True), (note,))
    return _only(weights.path, state)


def _said(model: Mapping[str, Any]) -> str:
    """What of a configuration shapes do not say."""
    vision = model["vision_cfg"]
    if timm := vision.get("timm_model_name"):
        return f"timm's {timm}"
    return f"{'Quick' if model.get('quick_gelu') else ''}GELU, heads of {vision.get('head_width', HEAD_WIDTH)}"


def openai_problem(state: Mapping[str, Tensor]) -> str | None:
    """Why the tensors cannot be of OpenAI's form, or None."""
    sizes = sizes_of_state(state)
    for name, expected in _openai_sizes(sizes).items():
        if sizes[name] != expected:
            return f"{name} is {sizes[name]}, expected {expected}"
    for name in ("vision_cfg.width", "text_cfg.width"):
        if _attended(name, sizes) % HEAD_WIDTH:
            return f"{name} {_attended(name, sizes)} is no multiple of heads of {HEAD_WIDTH}"
    return None


def openai_form(state: Mapping[str, Tensor], quick_gelu: bool) -> Architecture:
    """OpenAI's form in the sizes of the tensors: heads of 64 channels, its input rule."""
    sizes = sizes_of_state(state)
    vision, text = (_of(sizes, tower) for tower in ("vision_cfg", "text_cfg"))
    patch = vision.get("patch_size")
    layers = list(vision["layers"]) if patch is None else vision["layers"]
    model = {
        **{"embed_dim": text["embed_dim"], "quick_gelu": quick_gelu},
        **({"custom_text": True} if is_custom(state) else {}),
        "vision_cfg": {
            **{"image_size": vision["grid"] * (patch or 32), "layers": layers, "width": vision["width"]},
            **{"patch_size": patch, "head_width": HEAD_WIDTH},
        },
        "text_cfg": {
            **{"context_length": text["context_length"], "vocab_size": text["vocab_size"], "width": text["width"]},
            **{"heads": text["width"] // HEAD_WIDTH, "layers": text["layers"]},
        },
    }
    return Architecture(model, {})


def _chosen(config: str, state: Mapping[str, Tensor]) -> Decided:
    option = configuration.OPTION
    if config in (OPENAI, OPENAI_GELU):
        if problem := openai_problem(state):
            raise WeightsError(f"{option}={config} does not fit: {problem}; {_answers(state)}")
        return Decided(openai_form(state, quick_gelu=config == OPENAI))
    if config in RESNETS:
        raise WeightsError(
            f"{option}={config} is OpenAI's name, with QuickGELU, and open_clip's, with GELU; "
            f"say {OPENAI} or {OPENAI_GELU}, or {config}:TAG for a pretraining of open_clip"
        )
    path = Path(config) if configuration.is_file(config) else None
    architecture = configuration.read_configuration(path) if path else configuration.named(config)
    return Decided(_fitting(f"{option}={config} does not fit", architecture, state, _answers))


def _only(path: Path, state: Mapping[str, Tensor]) -> Decided:
    """The one form that fits, which is said. Raises WeightsError where several do, or none."""
    names, openai = fitting_names(state), openai_problem(state) is None
    if len(names) == 1 and not openai:
        note = f"{path} is taken as open_clip's {names[0]}, the one configuration that its shapes fit"
        return Decided(configuration.named(names[0]), (note,))
    raise WeightsError(f"{path} does not say its activation, its heads and its input; {_answers(state)}")


def _answers(state: Mapping[str, Tensor]) -> str:
    """What of the option would fit, as the end of a sentence."""
    names = [name for name in fitting_names(state) if name not in RESNETS]
    forms = (
        {}
        if openai_problem(state)
        else {OPENAI: f"QuickGELU, heads of {HEAD_WIDTH}", OPENAI_GELU: "the same with GELU"}
    )
    told = [f"{form} ({meaning})" for form, meaning in forms.items()] + names
    fit = f"its shapes fit {first_few(told, 8)}" if told else "its shapes fit no configuration that is known here"
    return f"{fit}; {_ask('NAME or FILE' if told else 'FILE')}"


def _ask(value: str) -> str:
    return f"say --backbone-config {value}, FILE being its open_clip_config.json or config.json"


def _fitting(what: str, architecture: Architecture, state: Mapping[str, Tensor], answers: Any = None) -> Architecture:
    """The architecture, if the tensors are of it."""
    if not (wrong := differences(architecture.model, sizes_of_state(state))):
        return architecture
    advice = answers(state) if answers else f"remove it, give the file that belongs to it, or {_ask('NAME or FILE')}"
    raise WeightsError(f"{what}: {first_few(wrong)}; {advice}")


def _openai_sizes(sizes: Sizes) -> Sizes:
    """What OpenAI's form has in common, as far as shapes show it."""
    width = {tower: sizes.get(f"{tower}.width", 0) for tower in ("vision_cfg", "text_cfg")}
    expected: Sizes = {}
    for name in sizes:
        tower, _, part = name.partition(".")
        if part == "mlp_width":
            expected[name] = MLP_RATIO * width[tower]
        elif isinstance(sizes[name], bool):
            expected[name] = False
    return expected


def _attended(name: str, sizes: Sizes) -> int:
    """Channels that are split into heads: of a ResNet, those that its attention pool takes."""
    resnet = name.startswith("vision_cfg") and "vision_cfg.patch_size" not in sizes
    return int(sizes[name]) * (32 if resnet else 1)


def _of(sizes: Sizes, tower: str) -> dict[str, Any]:
    return {name.partition(".")[2]: value for name, value in sizes.items() if name.startswith(f"{tower}.")}
