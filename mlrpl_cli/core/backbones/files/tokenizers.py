"""Which tokenizer a text encoder from files was trained with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlrpl_cli.core.io.errors import DataError, WeightsError
from mlrpl_cli.core.io.reading import MIB, read_json

FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
"""What transformers calls a vocabulary."""
CLIP_TOKENS = {"<|startoftext|>": 49406, "<|endoftext|>": 49407, "dog</w>": 1929, "!": 0}
"""Some of CLIP's tokens: a vocabulary of its size that has these is CLIP's."""
CLIP_VOCABULARY = 49408
LARGEST = 256 * MIB


def tokenizer_of(folder: Path, text: Mapping[str, Any]) -> str | None:
    """The folder where it holds the tokenizer of a text_cfg; None for CLIP's own, and for the one that is named there.

    Raises WeightsError where the vocabulary is not of CLIP's size, and neither files nor a name say which it is.
    """
    there = [folder / name for name in FILES if (folder / name).is_file()]
    size = text.get("vocab_size", CLIP_VOCABULARY)
    named = text.get("hf_tokenizer_name") or text.get("hf_model_name")
    if there and (named or size != CLIP_VOCABULARY or not all(map(_is_clips, there))):
        return str(folder)
    if not there and not named and size != CLIP_VOCABULARY:
        raise WeightsError(
            f"{folder}: the text encoder has a vocabulary of {size}, not CLIP's {CLIP_VOCABULARY}, so expected its "
            "tokenizer beside the weights, got none; put its tokenizer.json there"
        )
    return None


def _is_clips(path: Path) -> bool:
    """Whether a file does not speak against CLIP's vocabulary."""
    if path.suffix != ".json":
        return False
    try:
        content = read_json(path, LARGEST)
        vocabulary = content["model"]["vocab"] if path.name == "tokenizer.json" else content
        return all(vocabulary.get(token) == number for token, number in CLIP_TOKENS.items())
    except (OSError, DataError, ValueError, TypeError, LookupError, AttributeError):
        return False
