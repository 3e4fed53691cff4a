"""Where a configuration of weights comes from: a file beside them, or a name or a file that the user gives."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlrpl_cli.core.backbones.files import catalogue
from mlrpl_cli.core.backbones.files.huggingface import config as huggingface
from mlrpl_cli.core.backbones.files.sizes import sizes_of_config
from mlrpl_cli.core.backbones.open_clip.assembly import Architecture
from mlrpl_cli.core.io.errors import DataError, WeightsError, did_you_mean
from mlrpl_cli.core.io.reading import MIB, read_json, short, shown

OPTION = "backbone_config"
OPEN_CLIP, TRANSFORMERS = "open_clip_config.json", "config.json"
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
LARGEST = MIB
NEEDED = ("embed_dim", "vision_cfg", "text_cfg")


def beside(folder: Path, transformers_names: bool) -> tuple[Path, Architecture] | None:
    """The configuration in the folder of the weights, if there is one.

    A config.json of transformers is of tensors under transformers' names; where there are two, these are of that one.
    """
    names = (TRANSFORMERS, OPEN_CLIP) if transformers_names else (OPEN_CLIP, TRANSFORMERS)
    for path in (folder / name for name in names if (folder / name).is_file()):
        if path.name == OPEN_CLIP or transformers_names:
            return path, read_configuration(path)
    return None


def read_configuration(path: Path) -> Architecture:
    """What open_clip's model_cfg or open_clip_config.json, or transformers' config.json, tells. Raises WeightsError."""
    content = _content(path)
    if "model_cfg" not in content and not all(name in content for name in NEEDED):
        if huggingface.is_huggingface(content):
            return huggingface.architecture_of(path, content, _processor(path.parent))
        raise WeightsError(
            f"{path}: expected {', '.join(NEEDED)} of a model_cfg of open_clip, or a config.json of transformers, "
            f"got {shown(list(content))}; give one of these"
        )
    model, preprocess = content.get("model_cfg", content), content.get("preprocess_cfg") or {}
    parts = (model, preprocess, *(model.get(name) for name in NEEDED[1:] if isinstance(model, Mapping)))
    if not all(isinstance(part, Mapping) for part in parts) or type(model.get("embed_dim")) is not int:
        raise WeightsError(f"{path}: expected a model_cfg of open_clip, got {shown(model)}; give such a file")
    try:
        sizes_of_config(model)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    return Architecture(model, preprocess)


def named(name: str) -> Architecture:
    """The architecture of one of open_clip's configurations, NAME or NAME:TAG. Raises WeightsError."""
    form, _, tag = name.partition(":")
    known = catalogue.configurations()
    if form not in known:
        advice = did_you_mean(form, ["openai", "openai-gelu", *known])
        raise WeightsError(f"{OPTION}: no configuration and no file is called '{short(name)}'; {advice}")
    model = dict(known[form])
    preprocess, quick = catalogue.preprocess_of(form, tag or None, OPTION)
    return Architecture(model if quick is None else {**model, "quick_gelu": quick}, preprocess)


def is_file(name: str) -> bool:
    """Whether the option means a file: a known name is not one, even where a file is called so."""
    return name.endswith(".json") or os.sep in name or (name not in catalogue.configurations() and os.path.isfile(name))


def _content(path: Path) -> Mapping[str, Any]:
    with _readable(path):
        content = read_json(path, LARGEST)
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: expected a mapping, got {shown(content)}; fetch it again")
    return content


def _processor(folder: Path) -> Mapping[str, Any] | None:
    """What is said of the images that a tower takes, if something is."""
    for path in (folder / name for name in PROCESSORS if (folder / name).is_file()):
        content = _content(path)
        inner = content.get("image_processor", content)
        if isinstance(inner, Mapping) and "image_mean" in inner:
            return inner
    return None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """One line for a file of JSON that cannot be read."""
    try:
        yield
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}; check the path") from error
    except DataError as error:
        raise WeightsError(str(error)) from error
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON in UTF-8; fetch it again") from error
