"""MiniLM against transformers' BERT with mean pooling, on drawn weights, and gradients against finite differences."""

import pytest
import torch
import torch.nn.functional as F

from mlrpl_cli.core.backbones.lite.joint import JointSpace
from mlrpl_cli.core.backbones.lite.text import MiniLM, SentenceEncoder, WordPieces, renamed
from mlrpl_cli.core.backbones.open_clip.library import open_clip
from mlrpl_cli.core.backbones.tokens import pad_tokens
from mlrpl_cli.core.io.errors import ConfigError

TEXTS = [[101, 4937, 102], [101, 1037, 6302, 1997, 1037, 4937, 1012, 102], [101, 3899, 102], [101, 102]]


def bert():
    pytest.importorskip("transformers", reason="pip install 'mlrpl[photos]'")
    open_clip()  # transformers imports torchvision, which this lets import
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    config = BertConfig(**sizes, layer_norm_eps=1e-12, initializer_range=0.1)
    return BertModel(config).eval()


@pytest.fixture
def space():
    draw = torch.Generator().manual_seed(1)
    keys = F.normalize(torch.randn(20, 384, generator=draw), dim=-1)
    basis = torch.linalg.qr(torch.randn(20, 6, generator=draw))[0]
    return JointSpace(mean=torch.randn(384, generator=draw) / 20, keys=keys, basis=basis)


@torch.inference_mode()
def test_a_text_is_embedded_as_by_transformers():
    theirs = bert()
    ours = SentenceEncoder().eval()
    ours.load_state_dict(dict(renamed(theirs.state_dict())))
    ids, end = pad_tokens(TEXTS)
    mask = torch.arange(ids.shape[1]) <= end[:, None]
    hidden = theirs(ids, attention_mask=mask.long()).last_hidden_state * mask[..., None]
    expected = F.normalize(hidden.sum(dim=1), dim=-1)
    assert (expected[0] - expected[2]).abs().max() > 1e-3
    torch.testing.assert_close(ours(ours.words(ids), end), expected, rtol=0, atol=1e-4)


def test_what_stands_behind_the_end_is_not_read(space):
    tower = MiniLM(space).eval()
    ids, end = pad_tokens(TEXTS)
    embeddings = tower.embed(ids)
    behind = torch.arange(ids.shape[1]) > end[:, None]
    torch.testing.assert_close(tower(embeddings.masked_fill(behind[..., None], 5.0), end), tower(embeddings, end))


@torch.inference_mode()
def test_a_text_says_how_near_it_is_to_each_label(space):
    tower = MiniLM(space).eval()
    ids, end = pad_tokens(TEXTS)
    text = tower.encoder(tower.embed(ids), end) - space.mean
    shares = ((F.normalize(text, dim=-1) @ space.keys.T) / 0.1).softmax(dim=-1)
    found = tower.encode_tokens(TEXTS)
    assert found.shape == (4, 6)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, shares @ space.basis)


def test_gradients_of_a_context_are_those_of_finite_differences(space):
    """In float64, of two words of one text and along a drawn direction each."""
    tower = MiniLM(space).eval().requires_grad_(False).double()
    ids, end = pad_tokens(TEXTS)
    embeddings = tower.embed(ids).requires_grad_()
    weights = torch.randn(len(TEXTS), 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def score(given):
        return (tower(given, end).double() * weights).sum()

    (gradient,) = torch.autograd.grad(score(embeddings), embeddings)
    for word in (2, 5):
        step = torch.zeros_like(embeddings)
        step[1, word] = torch.randn(384, generator=torch.Generator().manual_seed(word), dtype=torch.float64) * 1e-3
        by_differences = (score(embeddings + step) - score(embeddings - step)) / 2
        torch.testing.assert_close((gradient * step).sum(), by_differences, rtol=1e-3, atol=1e-9)


@pytest.fixture
def pieces():
    tokenizers = pytest.importorskip("tokenizers", reason="pip install 'mlrpl[photos]'")
    vocabulary = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "cat": 3, "##s": 4}
    own = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    own.normalizer = tokenizers.normalizers.BertNormalizer()
    own.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    special = [("[CLS]", 1), ("[SEP]", 2)]
    own.post_processor = tokenizers.processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    own.enable_truncation(4)
    own.enable_padding(length=4)
    return WordPieces(own.to_str())


def test_texts_are_neither_padded_nor_cut(pieces):
    assert pieces(["Cats", "cat cat cat"]) == [[1, 3, 4, 2], [1, 3, 3, 3, 2]]
    (empty,) = pieces([""])
    assert (pieces.leading, pieces.trailing) == (empty.index(2), len(empty) - empty.index(2)) == (1, 1)


def test_a_text_that_is_too_long_is_refused(pieces):
    with pytest.raises(ConfigError, match=r"'cat cat .* is 132 tokens long, lite takes 128; shorten it"):
        pieces(["cat " * 130])
