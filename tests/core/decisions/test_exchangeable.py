"""What chance would not do is found, by counting pairs, and what chance does is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from mlrpl_cli.core.decisions.exchangeable import above, is_even, unevenness, unlike_unknown


def test_the_share_of_pairs_and_its_deviation_are_those_of_mann_and_whitney():
    random = np.random.default_rng(0)
    scores, known = random.normal(size=300).round(1), random.random(300) < 0.3
    share, deviations = above(scores, known)
    pairs = scores[known][:, None], scores[~known][None]
    assert share == pytest.approx(((pairs[0] > pairs[1]) + (pairs[0] == pairs[1]) / 2).mean())
    theirs = mannwhitneyu(scores[known], scores[~known], method="asymptotic", use_continuity=False)
    assert theirs.pvalue == pytest.approx(2 * norm.sf(abs(deviations)), rel=1e-2)


def test_without_pairs_there_is_nothing_to_say():
    assert above(np.arange(3.0), np.ones(3, bool)) == (0.5, 0.0)
    assert above(np.zeros(4), np.array([True, False, True, False])) == (0.5, 0.0)


def test_chance_is_found_even_and_whole_images_and_favoured_classes_are_not():
    random = np.random.default_rng(0)
    for keep in (0.01, 0.1, 0.5):
        for _ in range(300):
            assert is_even(random.random((400, 20)) < keep)
    whole = np.repeat(random.random((400, 1)) < 0.3, 20, axis=1)
    favoured = random.random((400, 20)) < np.where(np.arange(20) < 3, 0.6, 0.2)
    assert not is_even(whole)
    assert not is_even(favoured)
    assert is_even(np.ones((4, 3), bool))


def test_unevenness_has_no_mean_and_unit_deviation_where_chance_decides():
    random = np.random.default_rng(0)
    found = [unevenness(random.binomial(20, 0.1, size=300), 20, 0.1) for _ in range(3000)]
    assert np.mean(found) == pytest.approx(0, abs=0.1)
    assert np.std(found) == pytest.approx(1, abs=0.1)


def test_cells_that_chance_chose_stand_for_the_others_and_positives_do_not():
    """Verified absents of three classes in a tenth of the cells, and all that is present: known cells score higher."""
    random = np.random.default_rng(0)
    logits = random.normal(-1.5, 2, (400, 8))
    truth = np.where(random.random(logits.shape) < 1 / (1 + np.exp(-logits)), 1, -1)
    by_chance = np.where(random.random(logits.shape) < 0.3, truth, 0)
    assert not unlike_unknown(logits, by_chance).any()
    absents = (random.random(logits.shape) < 0.1) & (np.arange(8) < 3)
    assert unlike_unknown(logits, np.where((truth == 1) | absents, truth, 0)).all()
    one = np.where(np.arange(8) == 0, np.where(truth == 1, 1, 0), by_chance)
    assert unlike_unknown(logits, one).tolist() == [True] + [False] * 7
    assert not unlike_unknown(logits, truth).any()  # nothing is unknown
    assert not unlike_unknown(logits, np.zeros_like(truth)).any()
