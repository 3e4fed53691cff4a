"""Text towers beside open_clip's own, with embeddings in place of words."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mlrpl_cli.core.backbones.backbone import Backbone, TextTower
from mlrpl_cli.core.backbones.open_clip.assembly import Architecture
from mlrpl_cli.core.backbones.open_clip.building import empty_text, fill, random_state, text_state
from mlrpl_cli.core.backbones.open_clip.text import PaddedText, text_tower
from mlrpl_cli.core.backbones.tokens import pad_tokens
from mlrpl_cli.core.io.errors import WeightsError
from scripts.small_backbones import TEXTS, backbone_of, library_model, lively_state, model_cfg

# An image tower that takes open_clip's modules, so that the text tower does, too.
IMAGE = "ViT, mean"
WORDS = ["a photo of a traffic light.", "dog", "no!"]
HUGGING_FACE: Mapping[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "RoBERTa": ("RobertaConfig", {"max_position_embeddings": 40, "pad_token_id": 1}, {"hf_proj_type": "linear"}),
    "XLM-RoBERTa": ("XLMRobertaConfig", {"max_position_embeddings": 40, "pad_token_id": 1}, {"hf_proj_type": "mlp"}),
    "BERT": (
        "BertConfig",
        {"max_position_embeddings": 40, "pad_token_id": 0},
        {"hf_proj_type": "linear", "hf_pooler_type": "cls_last_hidden_state_pooler"},
    ),
    "mT5": ("MT5Config", {"d_model": 32, "num_heads": 4, "d_ff": 48, "d_kv": 8, "pad_token_id": 0}, {}),
    "NLLB": (
        "M2M100Config",
        {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_layers": 1,
         "decoder_attention_heads": 4, "decoder_ffn_dim": 48, "max_position_embeddings": 40, "pad_token_id": 1},
        {"hf_proj_type": "linear", "hf_pooler_type": "cls_pooler"},
    ),
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")


@cache
def small(family: str) -> tuple[dict[str, Any], dict[str, Tensor], Backbone]:
    model = model_cfg(IMAGE, family)
    state = lively_state(model)
    return model, state, backbone_of(model, state)


def filled(rows: list[list[int]], length: int, padding: int = 0) -> Tensor:
    return torch.tensor([row + [padding] * (length - len(row)) for row in rows])


@torch.no_grad()
@pytest.mark.parametrize("family", TEXTS)
def test_texts_are_encoded_as_open_clip_does(family: str) -> None:
    """ "!" is the id of padding in CLIP's vocabulary: CoCa's mask leaves it out."""
    model, state, backbone = small(family)
    rows, tower = backbone.tokenizer(WORDS), backbone.text_tower()
    expected = library_model(model, state).encode_text(filled(rows, model["text_cfg"]["context_length"]))
    expected = expected[0] if isinstance(expected, tuple) else expected
    torch.testing.assert_close(tower.encode_tokens(rows), expected, rtol=1e-4, atol=1e-4)
    assert float((expected[0] - expected[1]).abs().max()) > 1e-2
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    assert tower.context_length == model["text_cfg"]["context_length"]


@torch.no_grad()
@pytest.mark.parametrize("family", TEXTS)
def test_what_stands_behind_the_end_is_not_read(family: str) -> None:
    tower = small(family)[2].text_tower()
    ids, end = pad_tokens(small(family)[2].tokenizer(WORDS[:2]))
    embeddings = tower.embed(ids)
    other = embeddings.clone()
    other[1, int(end[1]) + 1 :] = 7
    expected = tower(embeddings, end)
    assert expected.dtype == torch.float32
    torch.testing.assert_close(tower(other, end), expected)
    torch.testing.assert_close(tower(embeddings[1:, : int(end[1]) + 1], end[1:]), expected[1:], rtol=1e-4, atol=1e-5)


def slopes_agree(tower: TextTower, embeddings: Tensor, end: Tensor, step: float = 1e-5, error: float = 1e-6) -> None:
    """The gradient of a random sum of the output along a random direction, and the central difference of it."""
    generator = torch.Generator().manual_seed(4)
    embeddings = embeddings.double().requires_grad_()
    direction = torch.randn(embeddings.shape, generator=generator, dtype=torch.float64)
    upstream = torch.randn(tower(embeddings, end).shape, generator=generator, dtype=torch.float64)

    def value(along: float) -> Tensor:
        return (tower(embeddings + along * direction, end) * upstream).sum()

    value(0).backward()
    with torch.no_grad():
        slope = (value(step) - value(-step)) / (2 * step)
    torch.testing.assert_close((embeddings.grad * direction).sum(), slope, rtol=error, atol=error)
    assert abs(float(slope)) > 1e-3


@pytest.mark.parametrize("family", TEXTS)
def test_gradients_of_contexts_are_those_of_finite_differences(family: str) -> None:
    backbone = small(family)[2]
    tower = backbone.text_tower().double()
    ids, end = pad_tokens(backbone.tokenizer(WORDS[:2]))
    slopes_agree(tower, tower.embed(ids).detach(), end)


@cache
def hugging_face_configuration(family: str, folder: Path) -> dict[str, Any]:
    import transformers

    kind, options, text = HUGGING_FACE[family]
    sizes = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    if family in ("mT5", "NLLB"):
        sizes = {"vocab_size": 99, "num_layers": 2}
    if family == "NLLB":
        sizes.pop("num_layers")
    getattr(transformers, kind)(**{**sizes, "intermediate_size": 48, **options}).save_pretrained(folder)
    text = {"hf_pooler_type": "mean_pooler", **text, "hf_model_name": str(folder), "context_length": 12}
    return {**model_cfg(IMAGE), "text_cfg": text, "embed_dim": 24}


@pytest.mark.parametrize("family", HUGGING_FACE)
def test_hugging_face_towers_give_what_open_clip_gives(family: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="text towers of Hugging Face need transformers")
    model = hugging_face_configuration(family, tmp_path)
    state = random_state(model, seed=0)
    own = {**model, "text_cfg": {**model["text_cfg"], "hf_model_pretrained": False}}
    padding = HUGGING_FACE[family][1]["pad_token_id"]
    tower = text_tower(fill(empty_text(model), text_state(state), "text tower"), [padding] * 12)
    rows = [[3, 5, 7, 2], [3, 9, 11, 12, 13, 2]]
    ids, end = pad_tokens(rows)
    with torch.no_grad():
        expected = library_model(own, state).encode_text(filled(rows, 12, padding))
        torch.testing.assert_close(tower.encode_tokens(rows), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(tower(tower.embed(ids), end), expected, rtol=1e-4, atol=1e-4)
    tower = tower.double()
    # T5 takes the mean square of its norms in float32, whatever its weights are in.
    steps = (1e-2, 1e-2) if family == "mT5" else (1e-5, 1e-6)
    slopes_agree(tower, tower.embed(ids).detach(), end, *steps)


def test_without_transformers_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    model = {**model_cfg(IMAGE), "text_cfg": {"hf_model_name": "roberta-base"}}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"'roberta-base' needs transformers; run pip install 'mlrpl\[hub\]'"):
        empty_text(model)


def test_a_tokenizer_that_ends_texts_otherwise_is_refused() -> None:
    """The tower would take another token's output for the text's."""
    model = model_cfg(IMAGE, "MetaCLIP 2, end by its id")
    state = lively_state(model)
    model["text_cfg"]["eos_id"] = 7
    with pytest.raises(WeightsError, match="reads a text at token 0"):
        backbone_of(model, state).text_tower()


def test_a_text_tower_without_a_pool_is_refused() -> None:
    model = model_cfg(IMAGE)
    model["text_cfg"]["pool_type"] = "none"
    with pytest.raises(WeightsError, match="gives no text vector"):
        backbone_of(model, lively_state(model)).text_tower()


def test_a_backbone_loaded_without_its_text_tower_says_so() -> None:
    from mlrpl_cli.core.backbones.backbone import BackboneOptions
    from mlrpl_cli.core.backbones.open_clip.assembly import assemble

    model, state, _ = small("SigLIP")
    images = {name: tensor for name, tensor in state.items() if name.startswith("visual.")}
    backbone = assemble(BackboneOptions("small"), "open_clip", Architecture(model), images, text=False)
    with pytest.raises(WeightsError, match="without its text"):
        backbone.text_tower()


def test_texts_given_after_one_another_do_not_see_each_other() -> None:
    """Embeddings are put into the tower for one call."""
    tower = small("SigLIP")[2].text_tower()
    assert isinstance(tower, PaddedText)
    ids, end = pad_tokens(small("SigLIP")[2].tokenizer(WORDS[:2]))
    with torch.no_grad():
        first = tower(tower.embed(ids), end)
        tower(tower.embed(ids) * 2, end)
        assert torch.equal(tower(tower.embed(ids), end), first)
    assert tower.given.embeddings is None
