import time

from mlrpl_cli.core.data.loading import Waiting


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def passes(self, seconds):
        self.now += seconds


def test_the_share_of_waiting_is_the_time_until_an_item_came(monkeypatch):
    clock = Clock(monkeypatch)

    def slow():
        for item in range(4):
            clock.passes(1)
            yield item

    waiting, seen = Waiting(), []
    for item in waiting.through(slow()):
        seen.append(item)
        clock.passes(3)
    assert seen == [0, 1, 2, 3]
    assert waiting.share == 0.25


def test_waiting_for_nothing_is_no_share():
    assert list(Waiting().through([])) == []
    assert Waiting().share == 0
