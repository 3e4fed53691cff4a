import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from mlrpl_cli.core.evaluation.comparison import (
    confusion,
    interval_of,
    outscored,
    paired_difference,
    pairs_of_columns,
    resample_weights,
    resampled_average_precisions,
    resampled_f1s,
    resampled_maps,
)
from mlrpl_cli.core.evaluation.metrics import precision_recall
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN


@pytest.fixture
def scored():
    """Scores with ties and labels with unknown cells, (40, 3)."""
    random = np.random.RandomState(0)
    scores = random.randint(0, 15, (40, 3)) / 15
    labels = random.choice([PRESENT, ABSENT, ABSENT, UNKNOWN], (40, 3)).astype(np.int8)
    return scores, labels


def test_resampled_maps_are_those_of_the_resampled_images(scored):
    """scikit-learn's average precision on the images drawn, each as often as it was drawn."""
    scores, labels = scored
    weights = resample_weights(40, 12, seed=1)
    assert (weights.sum(axis=1) == 40).all()
    for found, weight in zip(resampled_maps(scores, labels, weights), weights, strict=True):
        drawn = np.repeat(np.arange(40), weight.astype(int))
        aps = []
        for c in range(3):
            known = drawn[labels[drawn, c] != UNKNOWN]
            aps.append(average_precision_score(labels[known, c] == PRESENT, scores[known, c]))
        assert found == pytest.approx(np.mean(aps))


def test_each_class_has_its_own_average_precision_in_each_resample(scored):
    """scikit-learn's, class by class, on the images drawn."""
    scores, labels = scored
    weights = resample_weights(40, 6, seed=1)
    for c, found in enumerate(resampled_average_precisions(scores, labels, weights)):
        for figure, weight in zip(found, weights, strict=True):
            drawn = np.repeat(np.arange(40), weight.astype(int))
            known = drawn[labels[drawn, c] != UNKNOWN]
            assert figure == pytest.approx(average_precision_score(labels[known, c] == PRESENT, scores[known, c]))


def test_f1s_of_resamples_are_those_of_the_resampled_images(scored):
    """A class that a resample has only absent cells of is not counted in it, as in any other set of images."""
    scores, labels = scored
    labels[2:, 0] = np.where(labels[2:, 0] == PRESENT, ABSENT, labels[2:, 0])
    labels[:2, 0] = PRESENT, ABSENT
    weights = resample_weights(40, 40, seed=1)
    assert (weights[:, 0] == 0).any()
    predicted = scores > 0.4
    for of1, cf1, weight in zip(*resampled_f1s(predicted, labels, weights), weights, strict=True):
        drawn = np.repeat(np.arange(40), weight.astype(int))
        expected = precision_recall(predicted[drawn], labels[drawn])
        assert (of1, cf1) == pytest.approx((expected.of1, expected.cf1_of_means), rel=1e-5)
    nothing = resampled_f1s(predicted, np.full_like(labels, UNKNOWN), weights)
    assert np.isnan(nothing).all()


def test_an_interval_holds_the_middle_of_the_resamples_that_say_something():
    found = interval_of(np.array([*range(101), np.nan], float), 50.0)
    assert (found.value, found.low, found.high) == pytest.approx((50.0, 2.5, 97.5))
    nothing = interval_of(np.array([np.nan]), np.nan)
    assert np.isnan([nothing.low, nothing.high]).all()


def test_which_class_outscores_which_is_counted_by_pairs(scored):
    """Against loops over images and pairs of classes."""
    scores, labels = scored
    for p, (worse, absent) in enumerate(outscored(scores, labels)):
        for a in range(3):
            images = [n for n in range(40) if labels[n, p] == PRESENT and labels[n, a] == ABSENT]
            above = [(scores[n, a] > scores[n, p]) + 0.5 * (scores[n, a] == scores[n, p]) for n in images]
            assert (worse[a], absent[a]) == (sum(above), len(images))


@pytest.mark.parametrize("state", [PRESENT, UNKNOWN, ABSENT])
def test_a_class_with_one_known_state_is_left_out_of_the_mean(scored, state):
    scores, labels = scored
    labels[:, 2] = state
    weights = np.ones((1, 40), np.float32)
    expected = resampled_maps(scores[:, :2], labels[:, :2], weights)
    np.testing.assert_allclose(resampled_maps(scores, labels, weights), expected)


def test_a_paired_interval_is_of_the_differences():
    """A constant lead has an interval of no width, however much both figures vary."""
    second = np.random.RandomState(0).random_sample(500)
    interval = paired_difference(second + 0.1, second, 0.1)
    assert (interval.low, interval.value, interval.high) == pytest.approx((0.1, 0.1, 0.1))


def test_confusion_counts_absent_classes_that_outscore_present_ones(scored):
    """Triple by triple, as the sentence says."""
    scores, labels = scored
    counts = {True: [0.0, 0], False: [0.0, 0]}
    for n in range(40):
        for p in range(3):
            for a in range(3):
                if labels[n, p] == PRESENT and labels[n, a] == ABSENT:
                    worse = (scores[n, a] > scores[n, p]) + (scores[n, a] == scores[n, p]) / 2
                    entry = counts[{p, a} == {0, 2}]
                    entry[0] += worse
                    entry[1] += 1
    expected = [counts[kind][0] / counts[kind][1] for kind in (True, False)]
    assert confusion(scores, labels, [(0, 2)]) == pytest.approx(expected)
    assert confusion(scores, labels)[0] is None


def test_pairs_are_looked_up_where_both_classes_are_there():
    assert pairs_of_columns([("apple", "tomato"), ("mug", "teapot")], ("tomato", "mug", "apple")) == [(2, 0)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("images", "classes"), [(0, 2), (4, 0), (4, 2)])
def test_without_any_positive_there_is_no_map_and_no_confusion(images, classes):
    scores, labels = np.zeros((images, classes)), np.full((images, classes), ABSENT, np.int8)
    weights = resample_weights(images, 3)
    assert weights.shape == (3, images)
    assert np.isnan(resampled_maps(scores, labels, weights)).all()
    assert confusion(scores, labels) == (None, None)


@pytest.mark.filterwarnings("error")
def test_a_resample_that_draws_one_state_is_left_out_of_the_interval():
    """The only positive is image 0, the only absent cell image 1; the first and the last resample draw one of them."""
    scores, labels = np.array([[0.2], [0.9]]), np.array([[PRESENT], [ABSENT]], np.int8)
    maps = resampled_maps(scores, labels, np.array([[0, 2], [1, 1], [2, 0]], np.float32))
    np.testing.assert_array_equal(maps, [np.nan, 0.5, np.nan])
    interval = paired_difference(maps, np.zeros(3), 0.7)
    expected = paired_difference(maps[1:2], np.zeros(1), 0.7)
    assert interval == expected
    nothing = paired_difference(maps[:1], np.zeros(1), 0.7)
    assert np.isnan([nothing.low, nothing.high]).all()
