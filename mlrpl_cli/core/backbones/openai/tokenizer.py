"""CLIP's tokenizer: OpenAI's `clip` where that is installed, else open_clip's copy of it.

Either package takes seconds to import with all that it imports; the one file that holds the tokenizer does not.
"""

import importlib.util
import runpy
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from mlrpl_cli.core.io.errors import ConfigError

# The ids that CLIP's vocabulary reserves for the start and the end of a text, and the tokens that it may have.
START, END, CONTEXT_LENGTH = 49406, 49407, 77
SOURCES = (("clip", "simple_tokenizer.py"), ("open_clip", "tokenizer.py"))
"""Packages and the file of each that defines `SimpleTokenizer`; other packages are called `clip` too, without it."""


def tokenize(texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, from start-of-text to end-of-text, not padded.

    Raises ConfigError for a text of more than 77 tokens, naming it.
    """
    rows = [[START, *_tokenizer()(text), END] for text in texts]
    for text, row in zip(texts, rows, strict=True):
        if len(row) > CONTEXT_LENGTH:
            raise ConfigError(f"'{text[:60]}' is {len(row)} tokens long, CLIP takes {CONTEXT_LENGTH}; shorten it")
    return rows


class ClipTokenizer:
    """`tokenize`, and that one token stands before the words and one after them."""

    leading, trailing = 1, 1

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        return tokenize(texts)


@cache
def _tokenizer() -> Callable[[str], list[int]]:
    for package, file in SOURCES:
        found = importlib.util.find_spec(package)  # without importing it
        for folder in (found and found.submodule_search_locations) or ():
            if (path := Path(folder) / file).is_file():
                return runpy.run_path(str(path))["SimpleTokenizer"]().encode
    raise ConfigError("expected OpenAI's clip or open_clip, got neither; run pip install open-clip-torch")
