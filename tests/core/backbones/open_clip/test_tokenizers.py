"""Tokenizers of other text towers, built here with the tokenizers library; transformers reads their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlrpl_cli.core.backbones.open_clip.library import open_clip
from mlrpl_cli.core.backbones.open_clip.tokenizers import CLIPS, HubTokenizer, tokenizer_of
from mlrpl_cli.core.backbones.openai.tokenizer import tokenize
from mlrpl_cli.core.io.errors import ConfigError, WeightsError

VOCABULARY = ["[PAD]", "</s>", "[UNK]", "[CLS]", "[SEP]", "<bos>", "a", "dog", "hot", "photo"]
KINDS = {
    # kind: (what is put around the words, special tokens of its configuration)
    "T5": ("$A </s>", {"pad_token": "</s>", "eos_token": "</s>"}),
    "Gemma": ("$A </s>", {"pad_token": "[PAD]", "eos_token": "</s>", "bos_token": "<bos>"}),
    "BERT": ("[CLS] $A [SEP]", {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}),
    "bare": ("$A", {"pad_token": "[PAD]", "cls_token": "[CLS]", "bos_token": "<bos>", "eos_token": "</s>"}),
}

transformers = pytest.importorskip("transformers", reason="tokenizers of Hugging Face's files need transformers")


def write(folder: Path, kind: str, **options: Any) -> str:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    around, special = KINDS[kind]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    used = [word for word in around.split() if word != "$A"]
    if used:
        pairs = [(word, VOCABULARY.index(word)) for word in used]
        tokenizer.post_processor = processors.TemplateProcessing(single=around, special_tokens=pairs)
    tokenizer.save(str(folder / "tokenizer.json"))
    kept = {"tokenizer_class": "PreTrainedTokenizerFast", **special, **options}
    (folder / "tokenizer_config.json").write_text(json.dumps(kept))
    return str(folder)


@pytest.mark.parametrize(
    ("kind", "leading", "trailing"), [("T5", 0, 1), ("Gemma", 0, 1), ("BERT", 1, 1), ("bare", 0, 0)]
)
def test_what_stands_around_the_words_is_found_out(kind: str, leading: int, trailing: int, tmp_path: Path) -> None:
    tokenizer = tokenizer_of({"hf_tokenizer_name": write(tmp_path, kind), "context_length": 8})
    assert (tokenizer.leading, tokenizer.trailing) == (leading, trailing)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_padding_are_what_open_clips_tokenizer_gives(kind: str, tmp_path: Path) -> None:
    folder = write(tmp_path, kind)
    texts = ["a hot dog", "dog", "a  photo "]
    ours = tokenizer_of({"hf_tokenizer_name": folder, "context_length": 8})
    theirs = open_clip().tokenizer.HFTokenizer(folder, context_length=8)(texts)
    assert [row + ours.padding[len(row) :] for row in ours(texts)] == theirs.tolist()


def test_a_separator_is_taken_out_as_open_clip_does(tmp_path: Path) -> None:
    folder = write(tmp_path, "BERT")
    text = {"hf_tokenizer_name": folder, "context_length": 8, "tokenizer_kwargs": {"strip_sep_token": True}}
    theirs = open_clip().tokenizer.HFTokenizer(folder, context_length=8, strip_sep_token=True)(["a dog"])
    ours = tokenizer_of(text)
    assert [row + ours.padding[len(row) :] for row in ours(["a dog"])] == theirs.tolist()
    assert VOCABULARY.index("[SEP]") not in ours(["a dog"])[0]


def test_the_clips_mode_puts_the_class_token_last(tmp_path: Path) -> None:
    folder = write(tmp_path, "bare")
    ours = tokenizer_of({"hf_tokenizer_name": folder, "context_length": 8, "tokenizer_mode": CLIPS})
    theirs = open_clip().tokenizer.HFTokenizer(folder, context_length=8, tokenizer_mode=CLIPS)(["a hot dog", "dog"])
    assert [row + ours.padding[len(row) :] for row in ours(["a hot dog", "dog"])] == theirs.tolist()
    assert (ours.leading, ours.trailing) == (1, 1)


def test_a_text_that_is_too_long_is_named(tmp_path: Path) -> None:
    tokenizer = tokenizer_of({"hf_tokenizer_name": write(tmp_path, "T5"), "context_length": 4})
    with pytest.raises(ConfigError, match="'a hot dog photo' is 5 tokens long, the backbone takes 4"):
        tokenizer(["dog", "a hot dog photo"])


def test_padding_on_the_left_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="on the left"):
        tokenizer_of({"hf_tokenizer_name": write(tmp_path, "Gemma", padding_side="left"), "context_length": 8})


def test_a_tokenizer_without_padding_is_refused(tmp_path: Path) -> None:
    own = open_clip().tokenizer.HFTokenizer(write(tmp_path, "BERT"), context_length=8)
    own.tokenizer.pad_token = None
    with pytest.raises(WeightsError, match="no padding token"):
        HubTokenizer(own)


def test_files_that_are_none_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="its files are damaged") as refused:
        tokenizer_of({"hf_tokenizer_name": str(tmp_path), "context_length": 8})
    assert "\n" not in str(refused.value)


def test_clips_own_is_as_long_as_the_tower_takes() -> None:
    tokenizer = tokenizer_of({"context_length": 5})
    assert tokenizer(["a dog"]) == tokenize(["a dog"])
    with pytest.raises(ConfigError, match="CLIP takes 5"):
        tokenizer(["a photo of a dog"])
    assert len(tokenizer_of({"context_length": 100})(["dog " * 90])[0]) == 92


def test_clips_own_with_other_cleaning_is_open_clips() -> None:
    options = {"clean": "canonicalize"}
    theirs = open_clip().tokenizer.SimpleTokenizer(**options)(["A Dog, running!"])[0]
    (ours,) = tokenizer_of({"tokenizer_kwargs": options})(["A Dog, running!"])
    assert ours == theirs[: len(ours)].tolist()
    assert not theirs[len(ours) :].any()
