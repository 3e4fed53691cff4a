"""The simple orders, by their equations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mlrpl_cli.core.curation.asking.choosing import choose, units_of
from mlrpl_cli.core.curation.asking.options import CELL, IMAGE
from mlrpl_cli.core.curation.asking.strategies import Balanced, Random, Uncertainty
from tests.core.curation.asking import pools


def test_uncertainty_asks_first_where_p_is_nearest_to_one_half():
    pool = pools.pool()
    units = units_of(pool.may_ask, CELL, (1, 1))
    asked = [pool.probabilities[units.rows[u], units.column[u]] for u, _ in choose(Uncertainty(pool, None), units, 40)]
    margins = np.abs(np.array(asked) - 0.5)
    assert (np.diff(margins) >= 0).all()
    assert margins[0] == np.abs(pool.probabilities[pool.may_ask] - 0.5).min()


def test_balanced_divides_doubt_by_how_often_a_class_is_known_to_be_present():
    labels = np.zeros((20, 2), np.int8)
    labels[:8, 0], labels[:3, 1], labels[3:8, 1] = 1, 1, -1
    pool = replace(pools.pool(20, 2), labels=labels, may_ask=labels == 0, probabilities=np.full((20, 2), 0.25))
    assert Balanced(pool, None).of_all()[10] == pytest.approx([0.75 / 3, 0.75 / 2])


def test_random_takes_every_image_first_equally_often_however_many_cells_are_open():
    """200 times 4 images: with equal chances an image comes first fewer than 30 times once in 10^4."""
    may_ask = np.array([[True, False, False], [True, True, True], [False, True, True], [False, False, True]])
    pool = replace(pools.pool(4, 3), may_ask=may_ask)
    units, first = units_of(may_ask, IMAGE, (1, 0.2)), np.zeros(4)
    for seed in range(200):
        unit, _ = next(choose(Random(pool, np.random.default_rng(seed)), units, 1))
        first[units.rows[unit]] += 1
    assert first.min() >= 30


def test_random_is_that_of_its_seed():
    pool = pools.pool()
    units = units_of(pool.may_ask, CELL, (1, 1))
    orders = [[u for u, _ in choose(Random(pool, np.random.default_rng(seed)), units, 20)] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
