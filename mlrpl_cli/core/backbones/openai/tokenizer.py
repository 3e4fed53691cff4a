"""CLIP's tokenizer: OpenAI's `clip` where that is installed, else open_clip's copy of it.

Either package takes seconds to import with all that it imports; the one file that holds the tokenizer does not.
"""

import importlib.util
import runpy
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from mlrpl_cli.core.backbones.tokens import check_lengths
from mlrpl_cli.core.io.errors import ConfigError

# The ids that CLIP's vocabulary reserves for the start and the end of a text, and the tokens that it may have.
START, END, CONTEXT_LENGTH = 49406, 49407, 77
SOURCES = (("clip", "simple_tokenizer.py"), ("open_clip", "tokenizer.py"))
"""Packages and the file of each that defines `SimpleTokenizer`; other packages are called `clip` too, without it."""


def tokenize(texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, from start-of-text to end-of-text, not padded.

    Raises ConfigError for a text of more than 77 tokens, naming it.
    """
    return ClipTokenizer()(texts)


class ClipTokenizer:
    """CLIP's byte pairs: one token stands before the words and one after them."""

    leading, trailing = 1, 1

    def __init__(
        self,
        context_length: int = CONTEXT_LENGTH,
        encode: Callable[[str], list[int]] | None = None,
        ends: tuple[int, int] = (START, END),
    ) -> None:
        """`encode` gives the ids of the words, by default OpenAI's; `ends` are the tokens around them."""
        self.context_length, self._encode, self._ends = context_length, encode, ends
        self.padding = [0] * context_length
        """The ids that texts are filled up with, for each place of the context."""

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        encode, (start, end) = self._encode or _tokenizer(), self._ends
        rows = [[start, *encode(text), end] for text in texts]
        check_lengths(texts, rows, self.context_length, "CLIP")
        return rows


@cache
def _tokenizer() -> Callable[[str], list[int]]:
    for package, file in SOURCES:
        found = importlib.util.find_spec(package)  # without importing it
        for folder in (found and found.submodule_search_locations) or ():
            if (path := Path(folder) / file).is_file():
                return runpy.run_path(str(path))["SimpleTokenizer"]().encode
    raise ConfigError("expected OpenAI's clip or open_clip, got neither; run pip install open-clip-torch")
