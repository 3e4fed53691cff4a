"""Commands killed at random moments (tests/trust/kills.py says how): nothing finished is lost, nothing is doubled."""

import pytest

from tests.trust.kills import run


def problems_of(kills: int, seed: int) -> list[str]:
    tallies = run(kills, seed)
    assert sum(tally.total for tally in tallies.values()) == kills
    return [problem for tally in tallies.values() for problem in tally.problems]


def test_a_handful_of_kills_loses_nothing():
    assert problems_of(kills=4, seed=0) == []


@pytest.mark.slow
def test_two_hundred_kills_lose_nothing():
    assert problems_of(kills=200, seed=1) == []
