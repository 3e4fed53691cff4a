"""The classifier that is anchored at zero-shot scores, and the fit that it rests on."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.heads.fitted import map_estimate
from mlrpl_cli.core.heads.fitted.anchored import AnchoredClassifier, content
from mlrpl_cli.core.heads.fitted.map_estimate import PRECISIONS, Evidence, chosen_precision, fit
from mlrpl_cli.core.heads.losses import Cells, make_cells
from tests import reference

IMAGES, CLASSES, CHANNELS = 60, 3, 5


def evidence(informative: float = 1.0, content_says: float = 0.0, known: float = 0.5) -> Evidence:
    """Cells that the first zero-shot score explains as far as `informative`, and content as far as `content_says`."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(IMAGES, CLASSES, 2, generator=generator)
    content = torch.randn(IMAGES, CHANNELS, generator=generator) / CHANNELS**0.5
    logits = informative * 3 * scores[..., 0] + content_says * 8 * content[:, :CLASSES] - 0.5
    present = torch.rand(IMAGES, CLASSES, generator=generator) < torch.sigmoid(logits)
    weights = (torch.rand(IMAGES, CLASSES, generator=generator) < known).float()
    return Evidence(scores, content, Cells(torch.where(present, 1.0, -1.0), weights))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_the_fit_is_the_minimum_that_an_independent_solver_finds():
    """scipy's BFGS over the objective written out in numpy, in float64."""
    given = evidence(content_says=1.0)
    found = fit(given, 0.3)
    arrays = [part.double().numpy() for part in (given.scores, given.content, *given.cells)]
    priors = (0.3, map_estimate.OF_TRUST, map_estimate.OF_BIAS)
    priors += map_estimate.OF_SHARED_TRUST, map_estimate.OF_SHARED_BIAS
    solved = minimize(reference.anchored_objective, np.zeros(15 + 6 + 3 + 2 + 1), args=(*arrays, *priors), tol=1e-9)
    trust, weight, offset = reference.anchored_parts(solved.x, CHANNELS, CLASSES)
    np.testing.assert_allclose(found.trust, trust, atol=1e-4)
    np.testing.assert_allclose(found.weight, weight, atol=1e-4)
    np.testing.assert_allclose(found.offset, offset, atol=1e-4)


def test_a_class_without_a_known_cell_takes_what_the_others_say_of_the_scores():
    given = evidence()
    given.cells.weights[:, 2] = 0
    found = fit(given, 1.0)
    assert (found.weight[:, 2] == 0).all()
    assert found.trust[2, 0] > 1
    torch.testing.assert_close(found.trust[2], found.trust[:2].mean(dim=0), atol=0.4, rtol=0)


def test_the_order_of_images_changes_no_logit_where_there_are_more_channels_than_cells_decide():
    """300 channels of falling size, at the least λ: the minimum is found, not only approached."""
    drawn = torch.Generator().manual_seed(2)
    content = torch.randn(200, 300, generator=drawn) * torch.logspace(0, -2, 300)
    content = content / content.square().sum(dim=1).mean().sqrt()
    scores = torch.randn(200, CLASSES, 2, generator=drawn)
    present = torch.rand(200, CLASSES, generator=drawn) < 0.3
    given = Evidence(scores, content, Cells(torch.where(present, 1.0, -1.0), torch.ones(200, CLASSES)))
    order = torch.randperm(200, generator=drawn)
    other = Evidence(scores[order], content[order], Cells(*(of[order] for of in given.cells)))
    one, two = (fit(of, PRECISIONS[-1]).logits(scores, content) for of in (given, other))
    torch.testing.assert_close(one, two, atol=1e-4, rtol=0)


def test_without_a_known_cell_the_zero_shot_scores_are_added_up():
    given = evidence(known=0)
    torch.testing.assert_close(fit(given, 1.0).logits(given.scores, given.content), given.scores.sum(dim=-1))


def test_unknown_cells_say_nothing():
    given = evidence()
    other = Evidence(given.scores, given.content, Cells(given.cells.targets.clone(), given.cells.weights))
    other.cells.targets[given.cells.weights == 0] *= -1
    for one, two in zip(vars(fit(given, 1.0)).values(), vars(fit(other, 1.0)).values(), strict=True):
        assert torch.equal(one, two)


def test_the_correction_is_strict_where_scores_say_all_and_free_where_content_does():
    assert chosen_precision(evidence(), generator()) >= 1
    assert chosen_precision(evidence(informative=0, content_says=1, known=1), generator()) < 1


def test_nothing_to_choose_by_is_the_strictest():
    given = evidence()
    given.cells.weights.zero_()
    assert chosen_precision(given, generator()) == PRECISIONS[0]


def features(images: int = 12) -> ImageFeatures:
    drawn = torch.Generator().manual_seed(3)
    shapes = ((images, 4, CHANNELS), (images, 4, 8), (images, 8), (images, 4))
    return ImageFeatures(*(torch.randn(shape, generator=drawn) for shape in shapes))


def classifier() -> AnchoredClassifier:
    texts = torch.randn(CLASSES, 8, generator=torch.Generator().manual_seed(4))
    return AnchoredClassifier(texts, CHANNELS)


def cells(images: int = 12) -> Cells:
    present = torch.rand(images, CLASSES, generator=torch.Generator().manual_seed(5)) < 0.4
    return Cells(torch.where(present, 1.0, -1.0), torch.ones(images, CLASSES))


def test_scores_are_the_cosines_of_the_image_and_of_its_regions():
    one, found = classifier(), features()
    scores, contents = one.describe(found)
    pooled, regions = reference.zero_shot_scores(found.pooled.numpy(), found.joint.numpy(), one.texts.numpy(), 0.1)
    np.testing.assert_allclose(scores[..., 0], pooled, atol=1e-5)
    np.testing.assert_allclose(scores[..., 1], regions, atol=1e-5)
    strongest = found.grid.numpy().max(axis=1)
    rooted = np.sign(strongest) * np.abs(strongest) ** 0.5
    np.testing.assert_allclose(contents, rooted / np.linalg.norm(rooted, axis=1, keepdims=True), atol=1e-5)


def test_a_fitted_classifier_scores_an_image_alike_alone_and_among_others():
    one, found = classifier(), features()
    one.fit(one.describe(found), cells(), generator())
    together = one(found, torch.empty(0)).logits
    alone = one(found.map(lambda tensor: tensor[3:4]), torch.empty(0)).logits
    torch.testing.assert_close(alone[0], together[3])
    assert torch.isfinite(together).all()


def test_the_same_cells_make_the_same_classifier():
    states = []
    for _ in range(2):
        one = classifier()
        one.fit(one.describe(features()), cells(), generator())
        states.append(one.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("images", [1, 2])
def test_images_that_do_not_differ_are_no_division_by_zero(images):
    one = classifier()
    same = features(1).map(lambda tensor: tensor.expand(images, *tensor.shape[1:]))
    one.fit(one.describe(same), cells(images), generator())
    assert torch.isfinite(one(same, torch.empty(0)).logits).all()


def test_content_does_not_depend_on_where_it_is():
    grid = features().grid
    torch.testing.assert_close(content(grid), content(grid[:, [2, 0, 3, 1]]))


def test_cells_are_what_the_loss_takes_them_for():
    labels = torch.tensor([[1, 0], [-1, 1]])
    known = make_cells(TrainConfig(loss="bce"), labels)
    assert known.weights.tolist() == [[1, 0], [1, 1]]
    assert known.targets.tolist() == [[1, -1], [-1, 1]]
    assumed = make_cells(TrainConfig(loss="an", unknown_weight=0.25), labels)
    assert assumed.weights.tolist() == [[1, 0.25], [1, 1]]
    assert make_cells(TrainConfig(loss="em"), labels).weights.tolist() == [[1, 0], [1, 1]]


@pytest.mark.parametrize("images", [9, 40])
def test_axes_are_those_along_which_images_differ(images):
    """Of 20 channels 9 images span at most 9; a channel that is always 0 and one that repeats another add none."""
    content = torch.randn(images, 20, generator=torch.Generator().manual_seed(0))
    content[:, 3], content[:, 5] = 0, content[:, 4]
    axes = Evidence(torch.zeros(images, 2, 2), content, Cells(torch.ones(images, 2), torch.ones(images, 2))).axes
    assert axes.shape == (20, min(images, 18))
    torch.testing.assert_close(axes.T @ axes, torch.eye(axes.shape[1], dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(content.double() @ axes @ axes.T, content.double(), atol=1e-6, rtol=0)
    moved = content.double() @ axes
    torch.testing.assert_close(moved.T @ moved, (moved.T @ moved).diag().diag(), atol=1e-6, rtol=0)
