import os
import signal
import threading
import time

import pytest
import torch
from torch.utils.data import Dataset

from mlrpl_cli.core.images.loading import PADDING, load, shares, timed
from mlrpl_cli.core.io.errors import DataError


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def passes(self, seconds):
        self.now += seconds


def test_the_time_until_an_item_came_is_noted(monkeypatch):
    clock = Clock(monkeypatch)

    def slow():
        for item in range(4):
            clock.passes(1)
            yield item

    waits, seen = [], []
    for item in timed(slow(), waits):
        seen.append(item)
        clock.passes(3)
    assert (seen, waits) == ([0, 1, 2, 3], [1, 1, 1, 1])


class Killed(Dataset):
    """Its images end the process that decodes them, as a system without memory does."""

    def __len__(self):
        return 4

    def __getitem__(self, position):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_decoding_process_that_is_killed_is_told_in_one_line():
    with pytest.raises(DataError, match=r"^a process that decodes images was killed, as happens without .*--workers"):
        list(load(Killed(), [[0, 1], [2, 3]], workers=2))


class Signals(Dataset):
    """Which signals reach the process that decodes: SIGINT, SIGTERM."""

    def __len__(self):
        return 1

    def __getitem__(self, position):
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        return torch.tensor([signal.SIGINT not in blocked, signal.SIGTERM not in blocked])


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="there are no such masks here")
def test_decoding_processes_do_not_hear_ctrl_c_and_end_upon_sigterm():
    """PyTorch ends by SIGTERM what does not end by itself."""
    (heard,) = load(Signals(), [[0]], workers=1)
    assert heard.tolist() == [[False, True]]
    assert signal.getsignal(signal.SIGCHLD) in (signal.SIG_DFL, None)


class Noted(Dataset):
    """Says when its items are made."""

    def __init__(self):
        self.made = [threading.Event() for _ in range(3)]

    def __len__(self):
        return len(self.made)

    def __getitem__(self, position):
        self.made[position].set()
        return position


def test_the_next_batch_is_made_while_one_is_in_use():
    dataset = Noted()
    for positions in load(dataset, [[0], [1], [2]], workers=0):
        assert dataset.made[min(int(positions) + 1, 2)].wait(60)


@pytest.mark.parametrize(
    ("images", "batch_size", "processes"), [(10, 4, 1), (10, 4, 2), (10, 4, 3), (1, 8, 4), (0, 4, 2)]
)
def test_shares_are_equal_and_hold_every_image_once(images, batch_size, processes):
    indices = [(position, 0) for position in range(images)][::-1]
    parts = [list(shares(indices, batch_size, rank, processes)) for rank in range(processes)]
    for number, batch in enumerate(zip(*parts, strict=True)):
        assert len(set(map(len, batch))) == 1
        together = [index for part in batch for index in part]
        expected = indices[number * batch_size : (number + 1) * batch_size]
        assert together == expected + [PADDING] * (-len(expected) % processes)
    assert len(parts[0]) == -(-images // batch_size)
