"""The options of training, and what every class of options is made from: frozen, every error reported at once.

Precedence is defaults < file < flags. "Not given" is None. What each option means, its range and its choices stand at
its field; docs/options.md and the flags of the commands are made of them. The options of evaluation, export and figures
stand in their rooms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from mlrpl_cli.core.io import files, reading
from mlrpl_cli.core.io.errors import ConfigError, DataError, one_line
from mlrpl_cli.core.io.schema import FileName, FolderName, Name, Text, fields_of, sentences

AUTO = "auto"
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bf16"]
Which = Literal["best", "last"]
BEST, LAST = get_args(Which)
ImageSize = Annotated[int, Field(ge=1, le=4096)]
CacheDtype = Literal["float16", "uint8"]
FLOAT16, UINT8 = get_args(CacheDtype)

MOST_BYTES = 64 * reading.KIB
"""Of a configuration file: fifty times one with every option, and read in seconds whatever is in it."""
DEEPEST, LONGEST = 20, 4096
"""Levels that YAML may nest and characters that one of its values may have."""


class OptionsError(ConfigError):
    """Options that TrainConfig does not take: `problems` has a sentence for each, by name."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(problems.values()))
        self.problems = problems


@dataclass(frozen=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class CheckedOptions:
    """Options whose types, ranges and choices stand at their fields.

    Raises OptionsError, for all of them at once, when an option has no such value or there is none of that name.
    """

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth(cls, value: Any, info: ValidationInfo) -> Any:
        """Python counts true as 1, and YAML reads yes and on as true."""
        if isinstance(value, bool) and fields_of(cls)[str(info.field_name)].get("type") != "boolean":
            raise ValueError
        return value

    @model_validator(mode="wrap")
    @classmethod
    def _told(cls, values: Any, validate: Callable[[Any], CheckedOptions]) -> CheckedOptions:
        try:
            return validate(values)
        except ValidationError as error:
            raise OptionsError(sentences(error, cls)) from None


@dataclass(frozen=True)
class TrainConfig(CheckedOptions):
    """All that decides a training run, besides the prepared data."""

    data: FolderName | None = None
    """Prepared folder. Default: the newest below ./prepared."""
    run: FolderName | None = None
    """Folder for checkpoints and logs. Default: a new one below ./runs, named after data, method and seed."""
    backbone: Name | None = None
    """"tiny", RN50, RN101, ViT-B/16, …, a checkpoint file, or "random:NAME". Default: tiny for scenes, else RN101."""
    backbone_config: FileName | None = None
    """What the tensors of a checkpoint file do not say: the name of an architecture, or a JSON file."""
    dense: Literal["values", "tokens"] | None = None
    """Where the positions that are compared with texts come from: the "values" of the last attention, or the "tokens"
    that come out of it. Default: values."""
    method: Name = "sarl-anchored"
    """The method, with options of its own as in "sa:attention_temperature=0.1"; docs/method.md has the equations."""
    method_options: dict[str, Any] = Field(default_factory=dict)
    """The method's own options by name; a command line gives them behind its name."""
    image_size: ImageSize | None = None
    """Side of the square input in pixels, a multiple of the backbone's stride. Default: the backbone's own; 448 for
    OpenAI's, 256 for tiny."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 20
    """Passes over the training images."""
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 32
    """Images a step, over all processes together."""
    lr: Annotated[float, Field(ge=0, le=10)] = 2e-3
    """Peak learning rate of AdamW for the attention, scales and biases."""
    context_lr: Annotated[float, Field(ge=0, le=10)] = 2e-3
    """Peak learning rate of AdamW for the prompt contexts; in sarl-anchored and sarl-warm, where they start as words,
    relative to the size of these."""
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 1e-2
    """AdamW's decoupled weight decay of the attention's matrices; contexts, scales and biases are not decayed."""
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the steps in which the learning rate rises linearly; a cosine takes it to zero after that."""
    loss: Name | None = None
    """Over known labels: "asl" (asymmetric) or "bce". Over all labels: "an" (unknown ones are assumed absent, with a
    weight) or "em" (entropy maximisation). Default: "an" when no class has an absent training label, else "asl"."""
    gamma_negative: Annotated[float, Field(ge=0, le=10)] = 2.0
    """Focusing exponent of "asl" on absent cells."""
    gamma_positive: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Focusing exponent of "asl" on present cells."""
    margin: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Probability below which "asl" forgives an absent cell."""
    unknown_weight: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Weight of an unknown cell in "an": less where many positives are missing; WAN's is 1 / (classes - 1)."""
    entropy_weight: Annotated[float, Field(ge=0, le=10)] = 0.1
    """Weight α of the entropy of an unknown cell in "em"."""
    context_tokens: Annotated[int, Field(ge=1, le=74)] = 16
    """M, learnable context vectors in a prompt; ignored when contexts start as words."""
    context_template: Text | None = None
    """Words that the contexts start as. Default: "a photo of a" in sarl-anchored and sarl-warm; in others they are
    drawn from N(0, 0.02)."""
    semantics: Literal["clip", "glove"] = "clip"
    """What guides the attention: "clip" (text embedding of "a photo of a NAME") or "glove"."""
    glove: FileName | None = None
    """Word vectors in GloVe's text format, needed for semantics "glove"."""
    attention_width: Annotated[int | None, Field(ge=1, le=65_536)] = None
    """K, width of the bilinear attention. Default: the backbone's own; 64 for tiny, 128 for lite, 1024 for most."""
    views: Annotated[int, Field(ge=0, le=1000)] = 2
    """Most encoded views of each training image in the feature cache, the first one plain, the others cropped and
    flipped, fewer where cache_gib asks for it; 0 keeps none and encodes a new random view of each image every epoch."""
    cache: FolderName | None = None
    """Folder of the feature cache, which runs share. Default: features beside the prepared folder."""
    cache_dtype: CacheDtype | None = None
    """Number format of the feature cache: "float16", or "uint8" with a scale per channel, which halves it. Default:
    float16 where it fits in cache_gib and on the disk, else uint8."""
    cache_gib: Annotated[float, Field(ge=0)] = 64.0
    """Most disk space for the views of one run, in GiB. When they would need more, or more than the disk has, 8 bits
    are taken (unless cache_dtype is given), then fewer views, and at last none."""
    workers: Annotated[int | None, Field(ge=0, le=256)] = None
    """Processes that decode images, for each training process; 0 decodes in the training process. Default: one for
    each core, at most 8."""
    device: Device = "auto"
    """"cpu", "cuda", or "auto" for CUDA where there is one."""
    precision: Precision = "auto"
    """What the frozen encoders compute in: "float32", "bf16", or "auto": bf16 where the hardware
    multiplies it, unless the backbone (tiny) asks for float32. What is learned is kept in float32, and only U f is
    multiplied in this precision."""
    selection: Literal["validation", "test"] = "validation"
    """Which split chooses the best epoch: "validation", or "test" as the published methods do (and that flatters)."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Seed of initialisation, of the order of images, and of views that are encoded anew every epoch."""

    @model_validator(mode="before")
    @classmethod
    def _method_with_options(cls, values: Any) -> Any:
        """A method that is written with its options is its name and them."""
        given = dict(values.kwargs or {})
        if isinstance(method := given.get("method"), str) and ":" in method:
            given["method"], given["method_options"] = split_method(method)
        return ArgsKwargs(values.args, given)


def split_method(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of a method that is written "NAME" or "NAME:option=value,option=value".

    "sa:attention_temperature=0.1" → ("sa", {"attention_temperature": 0.1}); values are scalars of YAML, and text where
    they are none. Raises OptionsError for another form.
    """
    name, colon, options = text.partition(":")
    parts = options.split(",") if colon else []
    if wrong := [part for part in parts if not all(side.strip() for side in part.partition("=")[::2])]:
        got = f"got '{reading.short(wrong[0])}' in '{reading.short(text)}'"
        raise OptionsError({"method": f"method: expected NAME or NAME:option=value,option=value, {got}"})
    return name.strip(), {key.strip(): _scalar(value) for key, _, value in (part.partition("=") for part in parts)}


def _scalar(text: str) -> Any:
    with suppress(ValueError):
        if isinstance(value := _parse_yaml(text), bool | int | float | str):
            return value
    return text.strip()


def make_config(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    problems: Callable[[TrainConfig], Sequence[str]] = lambda config: (),
) -> TrainConfig:
    """Defaults, overridden by a YAML `file`, overridden by the `flags` that are not None.

    Raises ConfigError with every problem found: unknown keys, wrong values, and what `problems` says of the others.
    """
    values = read_yaml(file) if file else {}
    given = given_options(None, flags)
    if "method" in given and "method_options" not in given:
        values.pop("method_options", None)  # those of the method that the file names
    values |= given
    errors: Mapping[str, str] = {}
    try:
        config = TrainConfig(**values)
    except OptionsError as error:
        errors = error.problems
        known = values.keys() & asdict(TrainConfig()).keys()
        config = TrainConfig(**{key: values[key] for key in known - errors.keys()})
    raise_together([*errors.values(), *problems(config)])
    return config


def raise_together(errors: Sequence[str]) -> None:
    """Raise one ConfigError that holds every error, or return when there is none."""
    if errors:
        raise ConfigError("; ".join(errors))


def given_options(assignments: Sequence[str] | None, flags: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a command line gives: its `--set` assignments, overridden by the flags that are not None.

    ["epochs=5", "loss=bce"] → {"epochs": 5, "loss": "bce"}: values are YAML, and text where they are none.
    """
    wrong = [text for text in assignments or () if "=" not in text]
    raise_together([f"--set {reading.short(text)}: expected key=value, such as epochs=5" for text in wrong])
    values: dict[str, Any] = {}
    for key, _, text in (assignment.partition("=") for assignment in assignments or ()):
        values[key.strip()] = text
        with suppress(ValueError):
            values[key.strip()] = _parse_yaml(text)
    return values | {name: value for name, value in (flags or {}).items() if value is not None}


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ConfigError when it cannot be read or holds something else."""
    try:
        content = _parse_yaml(reading.read_text(path, MOST_BYTES))
    except (OSError, ValueError, DataError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {one_line(error)}") from error
    if content is not None and not isinstance(content, dict):
        raise ConfigError(f"{path}: expected lines of key: value, got a {type(content).__name__}")
    return {key if isinstance(key, str) else reading.shown(key): value for key, value in (content or {}).items()}


def write_yaml(config: TrainConfig, path: Path) -> None:
    """Write every option, given or default, so that the file says the whole of it."""
    import yaml

    files.write_text(path, yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True))


def _parse_yaml(text: str) -> Any:
    """The value of a YAML document. Raises ValueError for what is none, and for what nobody writes by hand.

    An alias repeats a whole value, which grows exponentially; a long enough number in base 60 takes for ever.
    """
    import yaml  # here, since help and usage errors read none

    depth = 0
    try:
        for event in yaml.parse(text):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise ValueError(f"expected at most {DEEPEST} levels of nesting")
            if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
                raise ValueError("expected plain values, got a YAML alias or tag; write the value out")
            if isinstance(event, yaml.ScalarEvent) and len(event.value) > LONGEST:
                raise ValueError(f"expected values of at most {LONGEST} characters, got {len(event.value)}")
        return yaml.safe_load(text)
    except (yaml.YAMLError, LookupError, AttributeError, TypeError, RecursionError) as error:
        # The last four are what PyYAML lets through for values that are wrong for their type.
        raise ValueError(one_line(error)) from error
