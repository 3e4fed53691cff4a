import pytest
import torch

from mlrpl_cli.core.backbones.openai.text import TextEncoder
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.heads.category_prompts import PromptLearner
from mlrpl_cli.core.heads.text_inputs import TextInputs
from mlrpl_cli.core.io.errors import ConfigError

CLASSES = ["dog", "hot air balloon", "rock'n'roll (band), live!"]


def by_letter(texts):
    """A tokenizer of one token a character: 1 starts and 2 ends a text."""
    return [[1, *(ord(letter) % 90 + 3 for letter in text), 2] for text in texts]


by_letter.leading = by_letter.trailing = 1


@pytest.fixture
def text_encoder() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(width=64, layers=2, embed_dim=8, context_length=77, vocabulary=100).requires_grad_(False)


def build(text_encoder, classes=CLASSES, per_class=True, tokens=4, template=None, seed=0) -> PromptLearner:
    config = TrainConfig(context_tokens=tokens, context_template=template)
    inputs = TextInputs(config, classes, text_encoder, by_letter, torch.Generator().manual_seed(seed))
    return PromptLearner(inputs, per_class)


def test_a_prompt_is_start_context_name_full_stop_end(text_encoder):
    prompts = build(text_encoder)
    embeddings = prompts()
    for c, name in enumerate(CLASSES):
        ids = by_letter([f"{name}."])[0]
        words = text_encoder.token_embedding(torch.tensor(ids))
        expected = torch.cat([words[:1], prompts.context[c], words[1:]])
        torch.testing.assert_close(embeddings[c, : len(expected)], expected)
        assert prompts.end[c] == len(expected) - 1


def test_nothing_is_longer_than_the_longest_prompt(text_encoder):
    longest = max(len(row) for row in by_letter([f"{name}." for name in CLASSES]))
    assert build(text_encoder)().shape == (3, 4 + longest, 64)


def test_contexts_are_per_class_or_shared(text_encoder):
    own, shared = build(text_encoder), build(text_encoder, per_class=False)
    assert own.context.shape == (3, 4, 64)
    assert shared.context.shape == (1, 4, 64)
    assert not torch.equal(own.context[0], own.context[1])
    torch.testing.assert_close(shared()[0, 1:5], shared()[2, 1:5])


def test_a_template_gives_the_contexts_its_words(text_encoder):
    prompts = build(text_encoder, template="a photo")
    words = text_encoder.token_embedding(torch.tensor(by_letter(["a photo"])[0][1:-1]))
    for c in range(3):
        torch.testing.assert_close(prompts.context[c], words)


def test_the_prompt_of_a_template_is_the_text_itself(text_encoder):
    """The encoder gives a learnable prompt that holds a template's words what it gives the words."""
    prompts = build(text_encoder, template="a photo of ")
    direct = text_encoder.encode_tokens(by_letter([f"a photo of {name}." for name in CLASSES]))
    torch.testing.assert_close(text_encoder(prompts(), prompts.end), direct)


def test_a_seed_draws_the_same_contexts_again(text_encoder):
    assert torch.equal(build(text_encoder, seed=5).context, build(text_encoder, seed=5).context)
    assert not torch.equal(build(text_encoder, seed=5).context, build(text_encoder, seed=6).context)


def test_only_the_contexts_are_learned_and_a_class_moves_its_own(text_encoder):
    prompts = build(text_encoder)
    text_encoder(prompts(), prompts.end)[1].sum().backward()
    assert [name for name, _ in prompts.named_parameters()] == ["context"]
    assert (prompts.context.grad[1] != 0).any()
    assert (prompts.context.grad[[0, 2]] == 0).all()


def test_the_ends_stay_on_the_cpu_where_the_text_encoder_reads_them(text_encoder):
    assert build(text_encoder).to("meta").end.device.type == "cpu"


def test_class_names_that_no_prompt_can_hold_are_named(text_encoder):
    sentence = "prompts must fit 77 tokens, 4 of them context; too long: x{80}; shorten the names"
    with pytest.raises(ConfigError, match=sentence):
        build(text_encoder, ["dog", "x" * 80])
