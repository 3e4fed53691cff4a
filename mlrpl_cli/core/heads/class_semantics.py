"""Class semantics: the vectors x_c that guide the attention, CLIP's text embeddings or GloVe's (method.md, part 3).

Axes: C classes, E joint embedding, S semantic size.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mlrpl_cli.core.heads.text_inputs import TextInputs
from mlrpl_cli.core.io.errors import ConfigError, DataError, first_few
from mlrpl_cli.core.io.reading import MIB, open_file
from mlrpl_cli.core.labels.classes import readable

TEMPLATE = "a photo of a {}"
LONGEST_LINE = MIB
"""Bytes of a word and its numbers in a GloVe file; the published ones have 5,000."""
UNIT_WITHIN = 1e-3
"""How far float32 may leave the length of a vector that was divided by its length from one."""


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
