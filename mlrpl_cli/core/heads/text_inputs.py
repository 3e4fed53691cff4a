"""What a method is built from besides the sizes of the features, and which class names it can be built of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mlrpl_cli.core.backbones.backbone import TextTower, Tokenizer
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.io.errors import ConfigError, first_few
from mlrpl_cli.core.labels.classes import readable, same_prompts


@dataclass(frozen=True)
class TextInputs:
    """What a method's recognizer, text head and semantic vectors are made from."""

    config: TrainConfig
    classes: Sequence[str]
    text_encoder: TextTower
    tokenize: Tokenizer
    generator: torch.Generator
    """What is learned is drawn from it."""
    options: Any = None
    """Those of the method itself, of the class that its entry names."""


def check_class_names(classes: Sequence[str]) -> None:
    """Raise ConfigError when there is no class, or a name is empty or given twice."""
    names = [readable(name).lower() for name in classes]
    if not names:
        raise ConfigError("no class to recognise; give at least one")
    if empty := [position for position, name in enumerate(names) if not name]:
        raise ConfigError(f"class names must not be empty; number {first_few(empty)} (counting from 0) is")
    if repeated := [name for _, name in same_prompts(classes)]:
        raise ConfigError(f"class names must differ; given more than once: {first_few(repeated)}")
