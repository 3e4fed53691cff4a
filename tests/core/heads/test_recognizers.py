import numpy as np
import pytest
import torch

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.backbones.openai.architectures import build_text_encoder, random_state
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.heads.methods import build_trainable, rebuild_recognizer
from mlrpl_cli.core.heads.registry import METHODS
from mlrpl_cli.core.heads.text_inputs import TextInputs
from tests import reference, small
from tests.core.heads.test_category_prompts import by_letter

CLASSES = ("dog", "traffic light")
TEMPLATE_LETTERS = "a photo of a"
"""What contexts start as, a token each letter: `by_letter` makes them."""
FITTED = ("anchored", "sarl-anchored")
"""Methods with a member that is fitted, which starts where its fit says."""


def random_features(images: int = 4) -> ImageFeatures:
    generator = torch.Generator().manual_seed(0)
    shapes = ((images, 4, 64), (images, 4, 8), (images, 8), (images, 4))
    return ImageFeatures(*(torch.randn(shape, generator=generator) for shape in shapes))


def build(method: str):
    text_encoder = build_text_encoder(random_state(small.ARCHITECTURE, seed=0))
    config = TrainConfig(method=method, attention_width=5, context_tokens=2)
    inputs = TextInputs(config, CLASSES, text_encoder, by_letter, torch.Generator().manual_seed(1))
    return build_trainable(inputs, channels=64, embed_dim=8)


@torch.no_grad()
def test_sarl_scores_are_the_cosine_of_the_attended_joint_feature():
    """α cos(Σ_p a_cp g_p, t_c) + β_c, written out in numpy."""
    trainable, features = build("sarl"), random_features()
    side = trainable.recognizer.visual_head
    weights = (side.decoupling.image_projection, side.decoupling.semantic_projection)
    attention = reference.semantic_attention(
        features.grid.numpy(),
        side.semantics.numpy(),
        *(linear.weight.numpy() for linear in weights),
        side.decoupling.score.numpy(),
    )
    text, output = trainable.text_head().numpy(), trainable(features)
    for b in range(4):
        for c in range(2):
            pooled = sum(attention[b, c, p] * features.joint[b, p].numpy() for p in range(4))
            cosine = pooled @ text[c] / np.linalg.norm(pooled) / np.linalg.norm(text[c])
            assert float(output.logits[b, c]) == pytest.approx(20 * cosine, abs=1e-4)
    np.testing.assert_allclose(output.attention, attention, atol=1e-5)


@torch.no_grad()
def test_the_baseline_scores_clips_own_vector():
    trainable, features = build("baseline"), random_features()
    output = trainable(features)
    expected = 20 * torch.nn.functional.cosine_similarity(features.pooled[:, None], trainable.text_head()[None], dim=-1)
    torch.testing.assert_close(output.logits, expected)
    torch.testing.assert_close(output.attention[:, 1], features.attention)


@torch.no_grad()
def test_semantic_attention_weighs_regions_by_their_cosine_with_the_frozen_text():
    trainable, features = build("sa"), random_features()
    output = trainable(features)
    semantics = trainable.recognizer.visual_head.semantics
    torch.testing.assert_close(semantics, build("zero-shot").text_head())
    attention = reference.fused_attention(features.joint.numpy(), semantics.numpy(), 0.05)
    np.testing.assert_allclose(output.attention, attention, atol=1e-5)
    pooled, _ = trainable.recognizer.visual_head(features)
    np.testing.assert_allclose(pooled, attention @ features.joint.numpy(), atol=1e-5)


@torch.no_grad()
def test_dualcoop_is_the_published_pair_of_region_logits():
    trainable, features = build("dualcoop"), random_features()
    positive, negative = trainable.text_head().chunk(2)
    assert not torch.allclose(positive, negative)
    expected = reference.dualcoop_logits(features.joint.numpy(), positive.numpy(), negative.numpy())
    np.testing.assert_allclose(trainable(features).logits, expected, atol=1e-3)


@torch.no_grad()
def test_linear_pools_its_region_scores():
    trainable, features = build("linear"), random_features()
    head = trainable.recognizer
    head.region_weight.normal_(generator=torch.Generator().manual_seed(2))
    head.bias.copy_(torch.tensor([0.3, -0.7]))
    expected = reference.linear_logits(features.joint.numpy(), head.region_weight.numpy(), 20, head.bias.numpy())
    np.testing.assert_allclose(trainable(features).logits, expected, atol=1e-4)


@torch.no_grad()
def test_sarl_plus_takes_the_mean_logit_of_its_members():
    trainable, features = build("sarl+"), random_features()
    decoupled, regions = trainable.recognizer.members
    regions.region_weight.normal_(generator=torch.Generator().manual_seed(2))
    text = trainable.text_head()
    one, other = decoupled(features, text), regions(features, text)
    output = trainable(features)
    torch.testing.assert_close(output.logits, (one.logits + other.logits) / 2)
    torch.testing.assert_close(output.attention, one.attention)
    assert [logits.shape for logits in output.member_logits] == [output.logits.shape] * 2


@torch.no_grad()
def test_sarl_warm_starts_where_zero_shot_is_with_even_attention():
    """The mean over positions against the template: cos(mean_p g_p, t_c), with a full stop behind the name."""
    trainable, features = build("sarl-warm"), random_features()
    output = trainable(features)
    torch.testing.assert_close(output.attention, torch.full_like(output.attention, 1 / 4))
    pooled = torch.nn.functional.normalize(features.joint.mean(dim=1), dim=-1)
    texts = torch.nn.functional.normalize(trainable.text_head(), dim=-1)
    torch.testing.assert_close(output.logits, 20 * pooled @ texts.T)
    assert trainable.text_head.contexts()["prompts.context"].shape == (2, len(TEMPLATE_LETTERS), 64)


@torch.no_grad()
def test_anchored_counts_twice_in_sarl_anchored_also_when_it_is_made_again():
    trainable, features = build("sarl-anchored"), random_features()
    warm, anchored = trainable.recognizer.members
    anchored.offset.copy_(torch.arange(2.0))
    text = trainable.text_head()
    expected = (warm(features, text).logits + 2 * anchored(features, text).logits) / 3
    torch.testing.assert_close(trainable(features).logits, expected)
    again = rebuild_recognizer("sarl-anchored", 2, trainable.recognizer.state_dict())
    torch.testing.assert_close(again(features, text).logits, expected)


def test_a_fitted_member_is_not_trained_in_steps():
    output = build("sarl-anchored")(random_features())
    assert len(output.member_logits) == 1
    assert output.member_logits[0].requires_grad


def test_the_loss_of_one_member_moves_that_member_alone():
    trainable = build("sarl+")
    trainable(random_features()).member_logits[1].sum().backward()
    moved = {name for name, parameter in trainable.learned().items() if parameter.grad is not None}
    assert moved == {name for name in trainable.learned() if "members.1." in name}


@torch.no_grad()
@pytest.mark.parametrize("method", [method for method in METHODS if method not in ("dualcoop", *FITTED)])
def test_each_class_starts_at_its_prior(method):
    trainable, features = build(method), random_features(8)
    prior = torch.tensor([0.1, 0.6])
    trainable.recognizer.initialize_from_prior(features, trainable.text_head(), prior)
    torch.testing.assert_close(trainable(features).logits.mean(0), torch.logit(prior))


@pytest.mark.parametrize(
    ("method", "learned"),
    [
        ("zero-shot", 0),
        ("baseline", 2 * 64),
        ("cspo", 2 * 2 * 64),
        ("sd", 2 * 64 + 5 * (64 + 8 + 1)),
        ("sarl", 2 * 2 * 64 + 5 * (64 + 8 + 1)),
        ("sa", 2 * 2 * 64),
        ("dualcoop", 2 * 2 * 2 * 64 - 3),
        ("linear", 2 * 8),
        ("sarl-warm", 2 * len(TEMPLATE_LETTERS) * 64 + 5 * (64 + 8 + 1)),
        ("anchored", -3),
        ("sarl-anchored", 2 * len(TEMPLATE_LETTERS) * 64 + 5 * (64 + 8 + 1)),
        ("sarl+", 2 * 2 * 64 + 5 * (64 + 8 + 1) + 2 * 8 + 1 + 2),
    ],
)
def test_each_method_learns_its_parts_scale_and_bias(method, learned):
    """M·W a context, K(D + S + 1) for attention, C·E for regions, 1 + C for α and β of each member (but DualCoOp)."""
    assert sum(parameter.numel() for parameter in build(method).learned().values()) == learned + 1 + 2


@pytest.mark.parametrize("method", METHODS)
def test_a_recognizer_is_rebuilt_from_its_tensors_alone(method):
    trained, features = build(method), random_features()
    rebuilt = rebuild_recognizer(method, len(CLASSES), trained.recognizer.state_dict())
    text = trained.text_head()
    assert torch.equal(rebuilt(features, text).logits, trained.recognizer(features, text).logits)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", [method for method in METHODS if method not in ("zero-shot", "baseline", "cspo")])
def test_tensors_of_another_method_are_refused_without_a_warning(method):
    with pytest.raises(RuntimeError, match="Error"):
        rebuild_recognizer(method, len(CLASSES), build("cspo").recognizer.state_dict())


@pytest.mark.parametrize("method", [method for method in METHODS if method != "anchored"])
def test_an_empty_batch_gives_empty_logits_and_gradients_that_are_zero(method):
    trainable = build(method)
    logits = trainable(random_features(0)).logits
    logits.sum().backward()
    assert logits.shape == (0, 2)
    assert all((p.grad is None) or (p.grad == 0).all() for p in trainable.learned().values())
