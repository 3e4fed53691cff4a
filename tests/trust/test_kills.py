"""Commands killed (tests/trust/kills.py says how): nothing finished is lost, nothing is doubled."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.trust.kills import State, Strike, run, scenarios, torment

HANDFUL = {
    "prepare": [Strike(signal.SIGKILL, 0.5), Strike(signal.SIGTERM, 0.9)],
    "train with a bank": [Strike(signal.SIGTERM, 0.85), Strike(signal.SIGKILL, 0.3)],
    "train without a bank": [Strike(signal.SIGINT, 0.7)],
    "sweep": [Strike(signal.SIGKILL, 0.8)],
}
"""By scenario, for a single run."""


def _something(name: str, finished: State) -> bool:
    """Whether there was anything to lose: an epoch, or a row."""
    return name == "prepare" or any(part.startswith(("epoch", "row")) for part in finished)


@pytest.mark.parametrize("name", HANDFUL)
def test_a_handful_of_kills_loses_nothing(tmp_path: Path, name: str) -> None:
    (scenario,) = [scenario for scenario in scenarios(tmp_path) if scenario.name == name]
    strikes = HANDFUL[name]
    tally = torment(scenario, iter([strikes]), len(strikes), tmp_path / "work")
    assert tally.problems == []
    assert tally.kills == {strike.number.name: 1 for strike in strikes}
    assert all(_something(name, finished) for finished in tally.finished)


@pytest.mark.slow
def test_two_hundred_kills_lose_nothing() -> None:
    tallies = run(200, seed=1)
    assert sum(tally.total for tally in tallies.values()) == 200
    assert [problem for tally in tallies.values() for problem in tally.problems] == []
