"""What class names become: text features that images are compared with, and vectors that guide the attention.

Learnable prompts [v_1 … v_M, the words of the name, "."] go through the frozen text encoder (method.md, part 4);
semantic vectors x_c are CLIP's text embeddings or GloVe's (part 3).
Axes: C classes, M context tokens, T tokens in a prompt, W text width, E joint embedding, S semantic size.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mlrpl_cli.core.backbones.openai.text import TextEncoder, pad_tokens
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.io.errors import ConfigError, DataError, first_few
from mlrpl_cli.core.io.reading import MIB, open_file
from mlrpl_cli.core.labels.classes import readable, same_prompts

CONTEXT_STD, TEMPLATE = 0.02, "a photo of a {}"
LONGEST_LINE = MIB
"""Bytes of a word and its numbers in a GloVe file; the published ones have 5,000."""
UNIT_WITHIN = 1e-3
"""How far float32 may leave the length of a vector that was divided by its length from one."""


@dataclass(frozen=True)
class TextInputs:
    """What a method's text head and semantic vectors are made from."""

    config: TrainConfig
    classes: Sequence[str]
    text_encoder: TextEncoder
    tokenize: Callable[[Sequence[str]], list[list[int]]]
    generator: torch.Generator
    """What is learned is drawn from it."""


class TextHead(nn.Module):
    """Gives the text features: (C, E), (2C, E) for a pair a class, (C, 0) without text; those given, never changed."""

    def __init__(self, features: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("features", features)

    def contexts(self) -> dict[str, nn.Parameter]:
        """What is learned of the text head, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def forward(self) -> Tensor:
        return self.get_buffer("features")


class PromptedText(TextHead):
    """Text features of learnable prompts through the frozen text encoder, those of the first learner first."""

    def __init__(self, inputs: TextInputs, learners: Sequence[str] = ("prompts",), per_class: bool = True) -> None:
        super().__init__(None)
        for name in learners:
            self.add_module(name, PromptLearner(inputs, per_class))
        self.text_encoder = inputs.text_encoder

    def forward(self) -> Tensor:
        learners = [module for module in self.children() if isinstance(module, PromptLearner)]
        return self.text_encoder(torch.cat([one() for one in learners]), torch.cat([one.end for one in learners]))


def no_text(inputs: TextInputs) -> TextHead:
    """For a recognizer that compares with no text."""
    return TextHead(torch.empty(len(inputs.classes), 0))


def template(inputs: TextInputs) -> TextHead:
    """The frozen text features of "a photo of a NAME"."""
    return TextHead(template_features(inputs))


context_per_class = PromptedText
"""A learned context for each class."""
shared_context = partial(PromptedText, per_class=False)
"""One learned context for all classes."""
pair_per_class = partial(PromptedText, learners=("positive", "negative"))
"""A positive and a negative learned context for each class → (2C, E), the positive ones first."""


class PromptLearner(nn.Module):
    """Prompts whose M context vectors (C or 1, M, W) are learned: one context for every class, or one for all of them.

    They are drawn from N(0, 0.02) or start as the words of `config.context_template`, which then decide M.
    """

    words: Tensor
    """(C, T-M, W) the start token, the words, the full stop and the end token, frozen."""

    def __init__(self, inputs: TextInputs, per_class: bool) -> None:
        """Raises ConfigError naming every class whose name is too long for the text encoder."""
        super().__init__()
        config, encoder = inputs.config, inputs.text_encoder
        if config.context_template is None:
            drawn = torch.empty(len(inputs.classes) if per_class else 1, config.context_tokens, encoder.width)
            self.context = nn.Parameter(drawn.normal_(std=CONTEXT_STD, generator=inputs.generator))
        else:
            words = torch.tensor(inputs.tokenize([config.context_template])[0][1:-1], dtype=torch.long)
            self.context = nn.Parameter(encoder.embed(words).repeat(len(inputs.classes) if per_class else 1, 1, 1))
        tokens, limit = self.context.shape[1], encoder.context_length
        rows = inputs.tokenize([f"{readable(name)}." for name in inputs.classes])
        if long := [name for name, row in zip(inputs.classes, rows, strict=True) if len(row) + tokens > limit]:
            raise ConfigError(
                f"prompts must fit {limit} tokens, {tokens} of them context; too long: {first_few(long)}; "
                "shorten the names or lower context_tokens"
            )
        ids, last = pad_tokens(rows)
        self.end = last + tokens  # not a buffer: the text encoder reads it, and reading from a GPU would stop it
        self.register_buffer("words", encoder.embed(ids), persistent=False)

    def forward(self) -> Tensor:
        """Prompt embeddings (C, T, W), T the length of the longest prompt; `end` (C,) says where each one stops."""
        return torch.cat([self.words[:, :1], self.context.expand(len(self.words), -1, -1), self.words[:, 1:]], dim=1)


@torch.no_grad()
def template_features(inputs: TextInputs) -> Tensor:
    """Frozen text embeddings of "a photo of a {name}" → (C, E), each of unit length."""
    tokens = inputs.tokenize([TEMPLATE.format(readable(name)) for name in inputs.classes])
    return F.normalize(inputs.text_encoder.encode_tokens(tokens), dim=-1)


def guiding_vectors(inputs: TextInputs) -> Tensor:
    """(C, S) of the configured kind, set apart from each other. Raises ConfigError like `glove_features`."""
    if inputs.config.semantics == "glove":
        return centred(glove_features(inputs.classes, Path(inputs.config.glove or "")))
    return centred(template_features(inputs))


def centred(vectors: Tensor) -> Tensor:
    """What sets each class's vector apart from the others: x_c minus the mean over classes, of unit length → (C, S).

    Text embeddings of one template are nearly parallel, and what all classes share cannot guide an attention of one
    of them. A single class keeps its vector, and so do two: they would be each other's opposite, for which the
    attention, odd in x_c, could never look at one place.
    """
    return F.normalize(vectors - vectors.mean(dim=0), dim=-1) if len(vectors) > 2 else vectors


def glove_features(classes: Sequence[str], path: Path) -> Tensor:
    """GloVe vectors averaged over the words of each name → (C, S), each of unit length.

    `path` is GloVe's text format: a word and its numbers a line. Raises ConfigError when the file cannot be read,
    names have words that it lacks, or a class's vector has no direction.
    """
    spelt = {name: readable(name).lower().split() for name in classes}
    vectors = _read_vectors(path, {word for name, parts in spelt.items() for word in (name.lower(), *parts)})
    # A file may hold "pottedplant" as VOC writes it and not its two words.
    words = {name: [name.lower()] if name.lower() in vectors else parts for name, parts in spelt.items()}
    if lacking := [name for name, parts in words.items() if not vectors.keys() >= set(parts)]:
        raise ConfigError(f"{path} lacks words of these classes: {first_few(lacking)}; use --semantics clip for them")
    averaged = np.stack([np.mean([vectors[part] for part in parts], axis=0) for parts in words.values()])
    unit = F.normalize(torch.from_numpy(averaged).float(), dim=-1)
    off_by = dict(zip(words, (unit.norm(dim=-1) - 1).abs().tolist(), strict=True))
    if still := [name for name, off in off_by.items() if not off < UNIT_WITHIN]:
        raise ConfigError(f"{path} gives these classes no direction: {first_few(still)}; expected numbers like GloVe's")
    return unit


def _read_vectors(path: Path, wanted: set[str]) -> dict[str, np.ndarray]:
    vectors: dict[str, np.ndarray] = {}
    try:
        with open_file(path) as stream:
            while line := stream.readline(LONGEST_LINE + 1):
                if len(line) > LONGEST_LINE:
                    raise ValueError(f"a line has more than {LONGEST_LINE} bytes")
                word, *numbers = line.decode("utf-8").rstrip("\r\n").split(" ")
                if word in wanted:
                    with suppress(ValueError):  # a few "words" hold a space, such as an address in GloVe's 840B file
                        vectors[word] = np.array(numbers, dtype=np.float64)
    except (OSError, ValueError, DataError) as error:
        raise ConfigError(f"cannot read GloVe vectors from {path}: expected a word and its numbers a line") from error
    if len({len(vector) for vector in vectors.values()}) > 1:
        raise ConfigError(f"{path} holds vectors of different lengths; expected one length, GloVe's text format")
    return vectors


def check_class_names(classes: Sequence[str]) -> None:
    """Raise ConfigError when there is no class, or a name is empty or given twice."""
    names = [readable(name).lower() for name in classes]
    if not names:
        raise ConfigError("no class to recognise; give at least one")
    if empty := [position for position, name in enumerate(names) if not name]:
        raise ConfigError(f"class names must not be empty; number {first_few(empty)} (counting from 0) is")
    if repeated := [name for _, name in same_prompts(classes)]:
        raise ConfigError(f"class names must differ; given more than once: {first_few(repeated)}")
