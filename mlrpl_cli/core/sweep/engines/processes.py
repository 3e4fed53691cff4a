"""Cells in processes of this machine: one may be killed, and the others go on in new ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

import torch

from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.io.processes import process_pool, without_interrupts
from mlrpl_cli.core.sweep.encoding import Shared
from mlrpl_cli.core.sweep.plan import Cell
from mlrpl_cli.core.sweep.worker import Done, run_cell, start_problem, start_worker


def rows_by_processes(shared: Shared, left: deque[Cell]) -> Iterator[tuple[Cell, Done]]:
    """Take the cells off `left`, and give each with what it came to, as they finish.

    Raises RunError when a process cannot start.
    """
    jobs = shared.plan.options.jobs or 1
    threads = max(torch.get_num_threads() // jobs, 1)
    while left:
        with process_pool(jobs, start_worker, (shared, threads)) as pool:
            _check_started(pool, jobs)
            yield from _from_pool(pool, jobs, left)


def _check_started(pool: ProcessPoolExecutor, jobs: int) -> None:
    """Raise RunError when a process cannot start: what ends one at its start would end every run."""
    try:
        with without_interrupts():
            started = [pool.submit(start_problem) for _ in range(jobs)]
        problems = [problem for future in started if (problem := future.result())]
    except BrokenProcessPool as error:
        raise RunError(
            "a process of the sweep was killed while it loaded backbone and features, as happens without enough "
            "memory; lower --jobs, or free some and sweep again"
        ) from error
    if problems:
        raise RunError(problems[0])


def _from_pool(pool: ProcessPoolExecutor, jobs: int, left: deque[Cell]) -> Iterator[tuple[Cell, Done]]:
    """Take cells off `left` until it is empty or a process of `pool` has died."""
    running: dict[Future[Done], Cell] = {}
    broken = False
    while running or (left and not broken):
        try:
            # No more than can run at once, so that a process that dies takes only the runs under way with it.
            while left and not broken and len(running) < jobs:
                with without_interrupts():
                    running[pool.submit(run_cell, left[0])] = left[0]
                left.popleft()
        except BrokenProcessPool:
            broken = True
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            broken |= isinstance(future.exception(), BrokenProcessPool)
            yield running.pop(future), _result(future)


def _result(future: Future[Done]) -> Done:
    """What a run came to: whatever ended one run must not end the others."""
    match future.exception():
        case None:
            return future.result()
        case BrokenProcessPool():
            told = "its process, or that of a run beside it, was killed; run the sweep again to try once more"
            return Done(error=told)
        case error:
            return Done.failed(error)
