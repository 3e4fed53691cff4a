"""The information of answers against its definition, and what follows from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mlrpl_cli.core.curation.asking import information as module
from mlrpl_cli.core.curation.asking.information import Information
from tests.core.curation.asking import pools


def test_it_is_half_the_logarithm_of_what_an_answer_adds_to_the_posterior():
    pool = pools.pool()
    found = Information(pool)
    for row, column in np.ndindex(*pool.labels.shape):
        assert found.of_all()[row, column] == pytest.approx(pools.information(pool, row, column, set()), rel=1e-5)
        assert found.deviations()[row, column] ** 2 == pytest.approx(pools.variance(pool, row, column, set()), rel=1e-5)


def test_after_answers_that_are_expected_it_is_that_of_the_posterior_with_them():
    pool, taken = pools.pool(), {(3, 1), (7, 1), (9, 2)}
    found = Information(pool)
    for row, column in taken:
        found.expect(row, np.array([column]))
    for row in range(len(pool.labels)):
        (nats,) = found.of(row, np.array([1]))
        assert nats == pytest.approx(pools.information(pool, row, 1, taken), rel=1e-5)
        assert found.deviation(row, np.array([2])) ** 2 == pytest.approx(pools.variance(pool, row, 2, taken), rel=1e-5)


def test_what_answers_tell_one_after_another_is_the_determinant_of_the_whole():
    """Σ w = ½ ln det Σ_before - ½ ln det Σ_after, whatever the order."""
    pool = pools.pool()
    found, column = Information(pool), np.array([0])
    before, told = np.linalg.slogdet(found.covariance[0])[1], 0.0
    for row in (5, 2, 8):
        told += found.of(row, column)[0]
        found.expect(row, column)
    assert told == pytest.approx(0.5 * (before - np.linalg.slogdet(found.covariance[0])[1]))


def test_a_copy_of_an_asked_image_is_worth_less_and_another_class_as_much():
    pool = pools.pool()
    content, scores, p = pool.content.copy(), pool.scores.copy(), pool.probabilities.copy()
    for of in (content, scores, p):
        of[1] = of[0]
    found = Information(replace(pool, content=content, scores=scores, probabilities=p))
    before = found.of(1, np.arange(4))
    others = found.of(2, np.arange(4))
    found.expect(0, np.array([3]))
    after, lost = found.of(1, np.arange(4)), others[3] - found.of(2, np.array([3]))[0]
    assert (after[:3] == before[:3]).all()
    assert before[3] - after[3] > lost >= 0


def test_the_same_doubt_is_worth_more_in_a_class_of_which_less_is_known():
    pool = pools.pool(known=0)
    labels, scores = pool.labels.copy(), np.repeat(pool.scores[:, :1], 4, axis=1)
    labels[:15, 0], labels[:3, 1] = 1, 1
    pool = replace(pool, labels=labels, scores=scores, probabilities=np.full(labels.shape, 0.4))
    of_all = Information(pool).of_all()[15:]
    assert (of_all[:, 0] < of_all[:, 1]).all()
    assert (of_all[:, 1] < of_all[:, 2]).all()


def test_content_is_looked_at_along_its_main_axes(monkeypatch):
    """Channels without variance are lost without loss."""
    pool = pools.pool(channels=6)
    content = np.concatenate([pool.content, np.zeros((30, 5), np.float32)], axis=1)
    monkeypatch.setattr(module, "AXES", 6)
    wide = Information(replace(pool, content=content))
    assert wide.content.shape == (30, 6)
    assert np.allclose(wide.of_all(), Information(pool).of_all())
