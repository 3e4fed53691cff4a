"""Tokenizers of open_clip's text towers: CLIP's own, and those of Hugging Face's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from mlrpl_cli.core.backbones.hub_client import quiet_hub, reason_of
from mlrpl_cli.core.backbones.open_clip.library import open_clip
from mlrpl_cli.core.backbones.openai.tokenizer import END, START, ClipTokenizer
from mlrpl_cli.core.backbones.tokens import check_lengths
from mlrpl_cli.core.io.errors import WeightsError

CLIPS = "clips"
"""A tokenizer_mode: start and end added, and the class token in the last place of the padding."""


class HubTokenizer:
    """A tokenizer of the transformers library, cleaned and filled up as open_clip's `HFTokenizer` does it."""

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer` is open_clip's `HFTokenizer` or `SigLipTokenizer`."""
        self._own, self._words = tokenizer, tokenizer.tokenizer
        self._mode = getattr(tokenizer, "tokenizer_mode", "")
        self._strip = getattr(tokenizer, "strip_sep_token", False)
        if getattr(self._words, "padding_side", "right") != "right":
            raise WeightsError("its tokenizer fills texts up on the left; expected padding_side 'right'")
        if self._words.pad_token_id is None:
            raise WeightsError("its tokenizer has no padding token; expected a pad_token in its files")
        self.context_length: int = tokenizer.context_length
        self.padding = [0 if self._mode == CLIPS else self._words.pad_token_id] * self.context_length
        self._most = self.context_length
        if self._mode == CLIPS:
            self.padding[:-1] = [self._words.pad_token_id] * (self.context_length - 1)
            self.padding[-1] = self._words.cls_token_id
            self._most -= 1
        self.leading, self.trailing = _special(*self.rows(["", "a"]))

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        rows = self.rows(texts)
        check_lengths(texts, rows, self._most)
        return rows

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, however long."""
        cleaned = [self._clean(text) for text in texts]
        if self._mode == CLIPS:
            plain = self._words(cleaned, add_special_tokens=False).input_ids
            return [[self._words.bos_token_id, *row, self._words.eos_token_id] for row in plain]
        rows = self._words(cleaned).input_ids
        if self._strip:
            rows = [[0 if token == self._words.sep_token_id else token for token in row] for row in rows]
        return [list(row) for row in rows]

    def _clean(self, text: str) -> str:
        if hasattr(self._own, "clean_fn"):
            return self._own.clean_fn(text)
        library = open_clip().tokenizer
        return library.canonicalize_text(library.basic_clean(text))


class LateTokenizer:
    """The tokenizer of a backbone, whose files are read when it is first used: a run on features alone needs none."""

    def __init__(self, text: Mapping[str, Any], where: str | None) -> None:
        """See `tokenizer_of`."""
        self._given = text, where

    @cached_property
    def own(self) -> ClipTokenizer | HubTokenizer:
        return tokenizer_of(*self._given)

    @property
    def leading(self) -> int:
        return self.own.leading

    @property
    def trailing(self) -> int:
        return self.own.trailing

    @property
    def padding(self) -> list[int]:
        """The ids that texts are filled up with, for each place of the context."""
        return self.own.padding

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        return self.own(texts)


def tokenizer_of(text: Mapping[str, Any], where: str | None = None) -> ClipTokenizer | HubTokenizer:
    """The tokenizer that a text_cfg says, its files in a folder or on the hub at `where` if that is given.

    Raises WeightsError when its files cannot be had.
    """
    context = text.get("context_length", 77)
    options = dict(text.get("tokenizer_kwargs") or {})
    name = where or text.get("hf_tokenizer_name")
    if not name:
        return _clip_tokenizer(context, options)
    if text.get("tokenizer_mode"):
        options["tokenizer_mode"] = text["tokenizer_mode"]
    try:
        with quiet_hub():
            return HubTokenizer(open_clip().tokenizer.HFTokenizer(name, context_length=context, **options))
    except ImportError as error:
        raise WeightsError(f"its tokenizer '{name}' needs transformers; run pip install 'mlrpl[hub]'") from error
    except WeightsError:
        raise
    except Exception as error:  # whatever the libraries raise for a name or a file that is not one
        place = "its files are damaged" if Path(name).is_dir() else "it is neither a folder nor to be had from the hub"
        raise WeightsError(
            f"its tokenizer '{name}' cannot be read: {place} ({reason_of(error)}); "
            "give a local-dir: that holds the tokenizer's files"
        ) from error


def _clip_tokenizer(context: int, options: Mapping[str, Any]) -> ClipTokenizer:
    if not options:
        return ClipTokenizer(context)
    own = open_clip().tokenizer.SimpleTokenizer(context_length=context, **options)
    ends = getattr(own, "sot_token_id", START), getattr(own, "eot_token_id", END)
    return ClipTokenizer(context, own.encode, ends)


def _special(empty: Sequence[int], other: Sequence[int]) -> tuple[int, int]:
    """How many ids stand before and after the words: of the empty text there is nothing else."""
    same = [first == second for first, second in zip(empty, other, strict=False)]
    leading = same.index(False) if False in same else len(same)
    return leading, len(empty) - leading
