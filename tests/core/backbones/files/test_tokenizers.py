"""Whose tokenizer a text encoder from files has."""

import json

import pytest

from mlrpl_cli.core.backbones.backbone import BackboneOptions
from mlrpl_cli.core.backbones.files.family import FAMILY
from mlrpl_cli.core.backbones.files.tokenizers import CLIP_TOKENS, tokenizer_of
from mlrpl_cli.core.io.errors import WeightsError
from tests.core.backbones.files.models import transformers_model

WORDS = ["<pad>", "</s>", "<unk>", "a", "photo", "of", "dog"]


def test_files_of_clips_vocabulary_are_clips_own_tokenizer(tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps(CLIP_TOKENS))
    assert tokenizer_of(tmp_path, {"vocab_size": 49408}) is None
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": CLIP_TOKENS}}))
    assert tokenizer_of(tmp_path, {"vocab_size": 49408}) is None


@pytest.mark.parametrize("content", [{**CLIP_TOKENS, "dog</w>": 7}, {}, [], {"model": 3}])
def test_other_files_of_that_size_are_a_tokenizer_of_their_own(content, tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": content}}))
    assert tokenizer_of(tmp_path, {"vocab_size": 49408}) == str(tmp_path)


@pytest.mark.parametrize("size", [50, 49410])
def test_a_vocabulary_of_another_size_is_not_taken_for_clips(size, tmp_path):
    pytest.importorskip("transformers", reason="it writes the folder")
    ends = {"bos_token_id": size - 2, "eos_token_id": size - 1}
    transformers_model("CLIP", tmp_path, {}, {"vocab_size": size, **ends})
    with pytest.raises(
        WeightsError, match=f"a vocabulary of {size}, not CLIP's 49408, .* put its tokenizer.json there"
    ):
        FAMILY.load(BackboneOptions(str(tmp_path)))
    FAMILY.load(BackboneOptions(str(tmp_path)), text=False)


def test_a_name_in_the_configuration_gives_way_to_files(tmp_path):
    assert tokenizer_of(tmp_path, {"vocab_size": 50, "hf_tokenizer_name": "timm/ViT-B-16-SigLIP"}) is None
    (tmp_path / "spiece.model").touch()
    assert tokenizer_of(tmp_path, {"vocab_size": 50, "hf_tokenizer_name": "timm/ViT-B-16-SigLIP"}) == str(tmp_path)


def test_texts_are_read_by_the_tokenizer_in_the_folder(tmp_path):
    """A vocabulary of words and an end token, as T5's and SigLIP's: no token before the words."""
    transformers = pytest.importorskip("transformers", reason="it reads the files of a tokenizer")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    transformers_model("Siglip", tmp_path, {}, {"vocab_size": len(WORDS), "bos_token_id": 1, "eos_token_id": 1})
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(tmp_path)
    backbone = FAMILY.load(BackboneOptions(str(tmp_path)))
    assert backbone.tokenizer(["A photo, of a dog!", "dog"]) == [[3, 4, 5, 3, 6, 1], [6, 1]]
    assert backbone.tokenizer.leading == 0
    assert backbone.text_tower().encode_tokens([[3, 6, 1]]).shape == (1, 48)
