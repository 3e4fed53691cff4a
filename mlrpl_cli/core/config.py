"""The options of training: one frozen dataclass, one source of defaults, every error reported at once.

Precedence is defaults < file < flags. "Not given" is None.
"""

from __future__ import annotations

import math
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from mlrpl_cli.core.io.errors import ConfigError, DataError, did_you_mean, one_line
from mlrpl_cli.core.io.files import write_text
from mlrpl_cli.core.io.reading import KIB, read_text, short, shown

DEVICES = ("auto", "cpu", "cuda")
AUTO = "auto"
PRECISIONS = (AUTO, "float32", "bf16")
FLOAT16, UINT8 = "float16", "uint8"
CACHE_DTYPES = (FLOAT16, UINT8)
SEMANTICS = ("clip", "glove")
SELECTIONS = ("validation", "test")

MOST_BYTES = 64 * KIB
"""Of a configuration file: fifty times one with every option, and read in seconds whatever is in it."""
DEEPEST, LONGEST = 20, 4096
"""Levels that YAML may nest and characters that one of its values may have."""
LONGEST_TEXT = 2000
"""Characters of an option that is text; a path is the longest."""
UNKNOWN_SHOWN = 10
"""Unknown options that are named with advice; finding advice takes a while."""


@dataclass(frozen=True)
class TrainConfig:
    """All that decides a training run, besides the prepared data."""

    data: str | None = None
    """Prepared folder; None takes the newest below ./prepared."""
    run: str | None = None
    """Folder for checkpoints and logs; None makes one below ./runs, named after data, method and seed."""
    backbone: str | None = None
    """"tiny", one of OpenAI's names, a checkpoint file, or "random:NAME"; None is tiny for scenes and else RN101."""
    method: str = "sarl+"
    """Which visual head and text head are put together; see the registry of methods."""
    image_size: int | None = None
    """Side of the square input in pixels, a multiple of the backbone's stride; None is 256 for tiny and else 448."""
    epochs: int = 20
    """Passes over the training images."""
    batch_size: int = 32
    """Images a step, over all processes together."""
    lr: float = 2e-3
    """Peak learning rate of AdamW for the attention, scales and biases."""
    context_lr: float = 2e-3
    """Peak learning rate of AdamW for the prompt contexts."""
    weight_decay: float = 1e-2
    """AdamW's decoupled weight decay of the attention's matrices; contexts, scales and biases are not decayed."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises linearly; a cosine takes it to zero after that."""
    loss: str = "asl"
    """Loss over known labels: "asl" (asymmetric) or "bce"."""
    gamma_negative: float = 2.0
    """Focusing exponent of "asl" on absent cells."""
    gamma_positive: float = 1.0
    """Focusing exponent of "asl" on present cells."""
    margin: float = 0.05
    """Probability below which "asl" forgives an absent cell."""
    context_tokens: int = 16
    """M, learnable context vectors in a prompt; ignored when context_template is given."""
    context_template: str | None = None
    """Words that the contexts start as, such as "a photo of a"; None draws them from N(0, 0.02)."""
    semantics: str = "clip"
    """What guides the attention: "clip" (text embedding of "a photo of a NAME") or "glove"."""
    glove: str | None = None
    """Word vectors in GloVe's text format, needed for semantics "glove"."""
    attention_width: int | None = None
    """K, width of the bilinear attention; None is 64 for tiny and else 1024."""
    views: int = 2
    """Encoded views of each training image in the feature cache, the first one plain, the others cropped and flipped;
    0 keeps none and encodes a new random view of each image every epoch."""
    cache: str | None = None
    """Folder of the feature cache, which runs share; None is features beside the prepared folder."""
    cache_dtype: str = FLOAT16
    """Number format of the feature cache: "float16", or "uint8" with a scale per channel, which halves it."""
    cache_gib: float = 64.0
    """Most disk space for the views of one run, in GiB; when they would need more, none are kept."""
    workers: int | None = None
    """Processes that decode images, for each training process; 0 decodes in the training process, None takes one for
    each core, at most 8."""
    device: str = "auto"
    """"cpu", "cuda", or "auto" for CUDA where there is one."""
    precision: str = "auto"
    """What the frozen encoders compute in: "float32", "bf16", or "auto": float32 for tiny, and else bf16 where the
    hardware multiplies it. What is learned is kept in float32, and only U f is multiplied in this precision."""
    selection: str = "validation"
    """Which split chooses the best epoch: "validation", or "test" as the published methods do (and that flatters)."""
    seed: int = 0
    """Seed of initialisation, of the order of images, and of views that are encoded anew every epoch."""

    def problems(self) -> list[str]:
        """One sentence for each value that cannot be, empty when all can."""
        found = [_choice(self, name, known) for name, known in CHOICES.items()]
        found += [_bound(self, name, low, high) for name, (low, high) in BOUNDS.items()]
        if self.semantics == "glove" and not self.glove:
            found.append("semantics glove needs glove, the path of a GloVe text file")
        return [sentence for sentence in found if sentence]


CHOICES: dict[str, Sequence[str]] = {
    "device": DEVICES,
    "precision": PRECISIONS,
    "cache_dtype": CACHE_DTYPES,
    "semantics": SEMANTICS,
    "selection": SELECTIONS,
}
BOUNDS: dict[str, tuple[float, float]] = {
    "image_size": (1, 4096),
    "epochs": (1, 100_000),
    "batch_size": (1, 1_000_000),
    "lr": (0, 10),
    "context_lr": (0, 10),
    "weight_decay": (0, 10),
    "warmup": (0, 1),
    "gamma_negative": (0, 10),
    "gamma_positive": (0, 10),
    "margin": (0, 1),
    "context_tokens": (1, 74),
    "attention_width": (1, 65_536),
    "views": (0, 1000),
    "cache_gib": (0, math.inf),
    "workers": (0, 256),
    "seed": (0, 2**32 - 1),
}


def make_config(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    problems: Callable[[TrainConfig], list[str]] = lambda config: config.problems(),
) -> TrainConfig:
    """Defaults, overridden by a YAML `file`, overridden by the `flags` that are not None.

    Raises ConfigError with every problem found: unknown keys, wrong types, and what `problems` says of the values.
    """
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    values, errors = _typed({**(read_yaml(file) if file else {}), **given})
    config = replace(TrainConfig(), **values)
    raise_together([*errors, *problems(config)])
    return config


def raise_together(errors: Sequence[str]) -> None:
    """Raise one ConfigError that holds every error, or return when there is none."""
    if errors:
        raise ConfigError("; ".join(errors))


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """["epochs=5", "loss=bce"] → {"epochs": 5, "loss": "bce"}, the values read as YAML."""
    wrong = [text for text in assignments if "=" not in text]
    raise_together([f"--set {short(text)}: expected key=value, such as epochs=5" for text in wrong])
    pairs = (text.split("=", 1) for text in assignments)
    return {key.strip(): _read_value(value) for key, value in pairs}


def given_options(assignments: Sequence[str] | None, flags: Mapping[str, Any]) -> dict[str, Any]:
    """What a command line gives: its `--set` assignments, overridden by the flags that are not None."""
    return {**parse_assignments(assignments or []), **{key: value for key, value in flags.items() if value is not None}}


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ConfigError when it cannot be read or holds something else."""
    try:
        content = _parse_yaml(read_text(path, MOST_BYTES))
    except (OSError, ValueError, DataError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {one_line(error)}") from error
    if content is not None and not isinstance(content, dict):
        raise ConfigError(f"{path}: expected lines of key: value, got a {type(content).__name__}")
    return {key if isinstance(key, str) else shown(key): value for key, value in (content or {}).items()}


def write_yaml(config: TrainConfig, path: Path) -> None:
    """Write every option, given or default, so that the file says the whole of it."""
    write_text(path, yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True))


def _typed(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    hints = typing.get_type_hints(TrainConfig)
    unknown = [key for key in values if key not in hints]
    errors = [f"unknown option '{short(key)}'; {did_you_mean(key, hints)}" for key in unknown[:UNKNOWN_SHOWN]]
    if len(unknown) > UNKNOWN_SHOWN:
        errors.append(f"{len(unknown) - UNKNOWN_SHOWN} more unknown options")
    typed = {}
    for key, value in values.items():
        try:
            if key in hints:
                typed[key] = _coerce(value, hints[key])
        except (TypeError, ValueError, OverflowError):
            errors.append(f"{key}: expected {_type_name(hints[key])}, got {shown(value)}")
    return typed, errors


def _coerce(value: Any, hint: Any) -> Any:
    """`value` as the type of its field; ValueError or TypeError when it is not one."""
    optional = isinstance(hint, types.UnionType)
    if value is None and optional:
        return None
    kind = typing.get_args(hint)[0] if optional else hint
    if isinstance(value, bool):
        raise TypeError
    if kind is str:
        return _text(value)
    if not isinstance(value, str | int | float):
        raise TypeError
    if kind is float:
        return float(value)  # YAML reads 1e-3 as text
    if int(value) != float(value):
        raise ValueError
    return int(value)


def _text(value: Any) -> str:
    """A value that is text or can be meant as text; ValueError or TypeError for what no path, name or file can hold."""
    if not isinstance(value, str | int | float | Path):
        raise TypeError
    text = str(value)
    if len(text) > LONGEST_TEXT or "\0" in text:
        raise ValueError
    os.fsencode(text)  # its UnicodeEncodeError is a ValueError
    return text


def _read_value(text: str) -> Any:
    try:
        return _parse_yaml(text)
    except ValueError:
        return text


def _parse_yaml(text: str) -> Any:
    """The value of a YAML document. Raises ValueError for what is none, or more than a configuration needs."""
    try:
        _check_yaml(text)
        return yaml.safe_load(text)
    except (yaml.YAMLError, LookupError, AttributeError, TypeError, RecursionError) as error:
        # The last four are what PyYAML lets through for values that are wrong for their type.
        raise ValueError(one_line(error)) from error


def _check_yaml(text: str) -> None:
    """Raise ValueError for aliases and tags, and for depth and length that nobody writes by hand.

    An alias repeats a whole value, which grows exponentially; a long enough number in base 60 takes for ever.
    """
    depth = 0
    for event in yaml.parse(text):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"expected at most {DEEPEST} levels of nesting")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
            raise ValueError("expected plain values, got a YAML alias or tag; write the value out")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > LONGEST:
            raise ValueError(f"expected values of at most {LONGEST} characters, got {len(event.value)}")


def _type_name(hint: Any) -> str:
    kind = typing.get_args(hint)[0] if isinstance(hint, types.UnionType) else hint
    return {int: "a whole number", float: "a number", str: "text"}[kind]


def _choice(config: TrainConfig, name: str, known: Sequence[str]) -> str | None:
    value = getattr(config, name)
    return None if value in known else f"{name}: expected one of {', '.join(known)}, got '{short(value)}'"


def _bound(config: TrainConfig, name: str, low: float, high: float) -> str | None:
    value = getattr(config, name)
    if value is None or low <= value <= high:
        return None
    return f"{name}: expected a number from {low:g} to {high:g}, got {shown(value)}"


def option_names() -> list[str]:
    """The names of all options, in the order they are declared."""
    return [field.name for field in fields(TrainConfig)]
