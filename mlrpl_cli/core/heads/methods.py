"""What a method is: an entry that holds its own factories, its options and the rates at which it learns.

`registry.METHODS` has the name of each; here they are built, and rebuilt from a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, cast

import pydantic.dataclasses
import torch
from torch import Tensor, nn

from mlrpl_cli.core.config import CheckedOptions, OptionsError, TrainConfig
from mlrpl_cli.core.heads.recognizers import Recognizer, TrainableRecognizer
from mlrpl_cli.core.heads.registry import METHODS
from mlrpl_cli.core.heads.semantic_decoupling import SemanticDecoupling
from mlrpl_cli.core.heads.text_heads import TextHead
from mlrpl_cli.core.heads.text_inputs import TextInputs, check_class_names
from mlrpl_cli.core.io.errors import ConfigError, first_few

PROMPTS = ("context_tokens", "context_template", "context_lr")
FROM_TEMPLATE = ("context_template", "context_lr")
"""Of prompts that start as words unless they are told otherwise."""
SEMANTICS = ("semantics", "glove")
ATTENTION = (*SEMANTICS, "attention_width")
OF_METHODS = (*PROMPTS, *ATTENTION)
"""Options of training that only some methods use; every other option belongs to every run."""


@pydantic.dataclasses.dataclass(frozen=True)
class NoOptions(CheckedOptions):
    """The options of a method that has none."""


class ParameterGroup(NamedTuple):
    """Parameters that learn at one rate."""

    parameters: Sequence[nn.Parameter]
    lr: float
    """Peak learning rate."""
    weight_decay: float


def standard_groups(trainable: TrainableRecognizer, config: TrainConfig) -> list[ParameterGroup]:
    """Contexts at their own rate; matrices decayed; vectors, scales and biases neither."""
    learned = [parameter for parameter in trainable.recognizer.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in learned if parameter.ndim >= 2]
    others = [parameter for parameter in learned if parameter.ndim < 2]
    groups = [ParameterGroup(matrices, config.lr, config.weight_decay), ParameterGroup(others, config.lr, 0.0)]
    if contexts := list(trainable.text_head.contexts().values()):
        groups.append(ParameterGroup(contexts, config.context_lr, 0.0))
    return groups


def groups_from_words(trainable: TrainableRecognizer, config: TrainConfig) -> list[ParameterGroup]:
    """`standard_groups`, with contexts at context_lr times the root mean square of the words that they start as.

    A step of AdamW is as long as its rate, whatever the gradient. At rates that suit the rest it would leave within a
    few steps nothing of words whose embeddings are of size 0.05; relative to them it means the same everywhere.
    """
    *others, contexts = standard_groups(trainable, config)
    size = torch.stack([context.detach().square().mean() for context in contexts.parameters]).mean().sqrt()
    return [*others, contexts._replace(lr=contexts.lr * float(size))]


@dataclass(frozen=True)
class Method:
    """How a recognizer is made, trained and made again. Raises ConfigError for a part that cannot be one."""

    recognizer: Callable[[TextInputs, int, int], Recognizer]
    """A new recognizer from inputs, D channels of the feature map and E of the joint embedding."""
    text_head: Callable[[TextInputs], TextHead]
    """A new text head from the same inputs."""
    rebuild: Callable[[int, Mapping[str, Tensor], Any], Recognizer]
    """A recognizer of C classes whose tensors have the shapes of a trained one's state, from that and the options."""
    summary: str
    """One line for tables."""
    uses: tuple[str, ...] = ()
    """Which options of training among `OF_METHODS` it reads; to read another one is an error."""
    options: type[CheckedOptions] = NoOptions
    """Its own options: a frozen pydantic class with a range and a sentence for each field."""
    groups: Callable[[TrainableRecognizer, TrainConfig], Sequence[ParameterGroup]] = standard_groups
    """Which of its parameters learn at which rate."""
    steps: bool = True
    """Whether it learns in steps; else learning rate and epochs change nothing of it."""

    def __post_init__(self) -> None:
        parts = ("recognizer", "text_head", "rebuild", "groups")
        wrong = [f"its {name} is no function" for name in parts if not callable(getattr(self, name))]
        if "__pydantic_validator__" not in vars(self.options):
            wrong.append("its options are no class of pydantic.dataclasses.dataclass")
        wrong += [f"its uses has '{name}', none of {', '.join(OF_METHODS)}" for name in {*self.uses} - {*OF_METHODS}]
        if wrong:
            raise ConfigError("; ".join(wrong))


def load_method(name: str) -> Method:
    """The method of that name. Raises ConfigError for an unknown one, and for an entry that is no `Method`."""
    method = METHODS.load(name)
    if not isinstance(method, Method):
        raise ConfigError(f"method '{name}': expected a Method at '{METHODS[name]}', got a {type(method).__name__}")
    return method


def method_options(name: str, given: Mapping[str, Any]) -> CheckedOptions:
    """The options of a method, those `given` and its defaults. Raises ConfigError for all that is wrong with them."""
    kind = load_method(name).options
    try:
        return kind(**given)
    except OptionsError as error:
        if not fields(kind):
            raise ConfigError(f"method {name} has no options, got {first_few(given)}; leave them out") from error
        raise ConfigError("; ".join(f"method {name}: {problem}" for problem in error.problems.values())) from error


def build_trainable(inputs: TextInputs, channels: int, embed_dim: int) -> TrainableRecognizer:
    """A recognizer ready to train on feature maps of D `channels`, every learned tensor drawn from `inputs.generator`.

    Raises ConfigError for class names that no prompt can hold, and for a method that cannot be loaded.
    """
    check_class_names(inputs.classes)
    name, config = inputs.config.method, inputs.config
    method = load_method(name)
    declared = cast(TrainConfig, _Declared(config, method))
    inputs = replace(inputs, config=declared, options=method_options(name, config.method_options))
    recognizer = method.recognizer(inputs, channels, embed_dim)
    # The attention first and the contexts after it: a seed means its draws in this order.
    for module in recognizer.modules():
        if isinstance(module, SemanticDecoupling):
            module.initialize(inputs.generator)
    return TrainableRecognizer(recognizer, method.text_head(inputs))


def rebuild_recognizer(
    method: str, classes: int, state: Mapping[str, Tensor], given: Mapping[str, Any] | None = None
) -> Recognizer:
    """The trained recognizer whose state dict is `state`, which says its sizes, in evaluation mode.

    `given` are the options of the method that it was trained with. Raises RuntimeError for the state of another one.
    """
    options = method_options(method, given or {})
    try:
        recognizer = load_method(method).rebuild(classes, state, options)
    except KeyError as error:
        raise RuntimeError(f"Error in loading the recognizer: there is no {error}") from error
    recognizer.load_state_dict(state)
    return recognizer.eval().requires_grad_(False)


def parameter_groups(trainable: TrainableRecognizer, config: TrainConfig) -> list[ParameterGroup]:
    """The groups of the configured method that hold anything.

    Raises ConfigError when a learned parameter is in none of them, or in two.
    """
    method = load_method(config.method)
    groups = [group for group in method.groups(trainable, cast(TrainConfig, _Declared(config, method))) if group[0]]
    counts = dict.fromkeys(trainable.learned(), 0)
    names = {id(parameter): name for name, parameter in trainable.learned().items()}
    for parameter in (parameter for group in groups for parameter in group.parameters):
        counts[names[id(parameter)]] += 1
    if wrong := [f"{name} in {count}" for name, count in counts.items() if count != 1]:
        expected = "expected each learned parameter in one group of one learning rate"
        raise ConfigError(f"method '{config.method}': {expected}, got {first_few(wrong)}; correct its groups")
    return groups


class _Declared:
    """The options of training as a method sees them: those that it says that it uses, and those of every run."""

    def __init__(self, config: TrainConfig, method: Method) -> None:
        self._config, self._hidden = config, {*OF_METHODS} - {*method.uses}

    def __getattr__(self, name: str) -> Any:
        if name in self._hidden:
            # A sweep tells runs apart by what is declared.
            told = f"method '{self._config.method}' reads {name}, which its uses lacks"
            raise ConfigError(f"{told}; add it there, or to the Method that it was copied from")
        return getattr(self._config, name)
