"""Where CLIP's tokenizer and checkpoint addresses come from: OpenAI's `clip` when installed, else open_clip.

Imported only when text is tokenised or a checkpoint fetched: both packages take seconds to import.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Protocol

import torch

from mlrpl_cli.core.io.errors import ConfigError, WeightsError


class BytePairEncoder(Protocol):
    def encode(self, text: str) -> list[int]: ...


# The ids that CLIP's vocabulary reserves for the start and the end of a text.
START, END = 49406, 49407
CONTEXT_LENGTH = 77
OPEN_CLIP_NAMES = {"ViT-L/14@336px": "ViT-L-14-336"}
OPERATORS = ("nms", "qnms")


def tokenize(texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, from start-of-text to end-of-text, not padded.

    Raises ConfigError for a text of more than 77 tokens, naming it.
    """
    encoder = _tokenizer()
    rows = [[START, *encoder.encode(text), END] for text in texts]
    for text, row in zip(texts, rows, strict=True):
        if len(row) > CONTEXT_LENGTH:
            raise ConfigError(f"'{text[:60]}' is {len(row)} tokens long, CLIP takes {CONTEXT_LENGTH}; shorten it")
    return rows


def checkpoint_url(name: str) -> str:
    """The address of OpenAI's checkpoint `name`, such as "RN101"; the folder before the file is its SHA-256."""
    if _has_openai_clip():
        from clip import clip

        return clip._MODELS[name]
    url = import_open_clip().get_pretrained_url(OPEN_CLIP_NAMES.get(name, name.replace("/", "-")), "openai")
    if not url:
        raise WeightsError(f"open_clip knows no OpenAI checkpoint named {name}; give --backbone a path instead")
    return url


@cache
def _tokenizer() -> BytePairEncoder:
    if _has_openai_clip():
        from clip.simple_tokenizer import SimpleTokenizer

        return SimpleTokenizer()
    return import_open_clip().SimpleTokenizer()


def _has_openai_clip() -> bool:
    """True for OpenAI's own package; other packages are called `clip` too, and they have no tokenizer module."""
    try:
        return importlib.util.find_spec("clip.simple_tokenizer") is not None
    except ImportError:
        return False


def import_open_clip() -> ModuleType:
    """open_clip, also where torchvision's compiled part belongs to another torch."""
    try:
        import open_clip
    except RuntimeError:
        _declare_torchvision_operators()
        import open_clip
    return open_clip


@cache
def _declare_torchvision_operators() -> torch.library.Library:
    """Let torchvision's Python part import where its compiled operators were built for another torch.

    Only the declarations are missing, and nothing that open_clip's tokenizer or addresses need calls them.
    The library has to stay alive for as long as its declarations, so the cache holds it.
    """
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in OPERATORS:
        if not hasattr(torch.ops.torchvision, operator):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
