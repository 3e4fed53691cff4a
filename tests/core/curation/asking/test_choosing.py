"""The quick choice is that of computing every worth each time."""

from __future__ import annotations

import numpy as np
import pytest

from mlrpl_cli.core.curation.asking.choosing import choose, units_of
from mlrpl_cli.core.curation.asking.information import Information
from mlrpl_cli.core.curation.asking.options import CELL, IMAGE
from mlrpl_cli.core.curation.asking.strategies import Balanced, Random, Uncertainty
from tests.core.curation.asking import pools

COSTS = (1.0, 0.2)


def slowly(pool, by: str, budget: int) -> list[tuple[float, list[tuple[int, int]]]]:
    """The greedy choice by the definition of information and of costs."""
    cells = [(row, column) for row, column in np.argwhere(pool.may_ask).tolist()]
    units = [[cell] for cell in cells]
    if by == IMAGE:
        units = [mine for row in range(len(pool.labels)) if (mine := [cell for cell in cells if cell[0] == row])]
    answered, found = set(), []
    for _ in range(budget):
        costs = [1.0 if by == CELL else COSTS[0] + COSTS[1] * len(unit) for unit in units]
        worths = [
            sum(pools.information(pool, *cell, answered) for cell in unit) / cost
            for unit, cost in zip(units, costs, strict=True)
        ]
        best = int(np.argmax(worths))
        found.append((worths[best], units[best]))
        answered |= set(units[best])
        units.pop(best)
    return found


@pytest.mark.parametrize("by", [CELL, IMAGE])
def test_the_best_are_taken_one_after_another(by):
    pool = pools.pool(images=12, classes=3)
    units = units_of(pool.may_ask, by, COSTS)
    found = list(choose(Information(pool), units, 9))
    expected = slowly(pool, by, 9)
    assert [[(units.rows[u], c) for c in units.columns(u)] for u, _ in found] == [unit for _, unit in expected]
    assert [worth for _, worth in found] == pytest.approx([worth for worth, _ in expected], rel=1e-5)


@pytest.mark.parametrize("by", [CELL, IMAGE])
@pytest.mark.parametrize("strategy", [Random, Uncertainty, Balanced, Information])
def test_everything_is_asked_once_and_nothing_that_may_not_be(strategy, by):
    pool = pools.pool()
    units = units_of(pool.may_ask, by, COSTS)
    taken = np.zeros(pool.labels.shape, int)
    for unit, worth in choose(strategy(pool, np.random.default_rng(0)), units, 1000):
        taken[units.rows[unit], units.columns(unit)] += 1
        assert worth >= 0
    assert (taken == pool.may_ask).all()


def test_an_image_costs_to_open_and_by_answer():
    may_ask = np.array([[True, False, True], [False, False, False], [True, True, True]])
    units = units_of(may_ask, IMAGE, (2.0, 0.5))
    assert units.rows.tolist() == [0, 2]
    assert units.costs.tolist() == [3.0, 3.5]
    assert units.columns(0).tolist() == [0, 2]
    assert units.per_cost(np.ones((3, 3))).tolist() == pytest.approx([2 / 3, 3 / 3.5])


def test_dear_images_make_room_for_those_with_many_open_cells():
    """Of equal worths a cell, the price of opening decides for many cells at once; without it all are alike."""
    may_ask = np.array([[True, False, False], [True, True, True]])
    worths = np.ones((2, 3))
    assert np.argmax(units_of(may_ask, IMAGE, (5.0, 0.1)).per_cost(worths)) == 1
    alike = units_of(may_ask, IMAGE, (0.0, 1.0)).per_cost(worths)
    assert alike[0] == alike[1]
