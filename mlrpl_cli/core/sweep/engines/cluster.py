"""Cells as tasks of a Ray cluster: a task whose process or machine is lost runs again on another one."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from mlrpl_cli import __version__
from mlrpl_cli.core.cluster.connection import MOST_LOSSES, Folder, cause_of, check_interrupt, room, said
from mlrpl_cli.core.io.errors import MlrplError
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.sweep.encoding import Objects, Shared, load_objects
from mlrpl_cli.core.sweep.plan import Cell
from mlrpl_cli.core.sweep.worker import Done

LOOKING = 5.0
"""Seconds until a signal is noticed that was lost in Ray's code."""


@dataclass(frozen=True)
class Told:
    """What a process of the cluster needs to begin."""

    shared: Shared
    objects: Objects | None
    """What the command's own machine has in the file `Shared.objects`."""
    threads: int
    folder: Folder
    job: str
    """Which sweep it is, of all that a process may have served before."""
    version: str = __version__
    """Of the command's mlrpl."""


def rows_by_ray(shared: Shared, left: deque[Cell], progress: Progress) -> Iterator[tuple[Cell, Done]]:
    """Take the cells off `left`, and give each with what it came to, as they finish.

    Raises ConfigError where there is no cluster, and what the start of a process raises.
    """
    options = shared.plan.options
    asked, device = options.engine, shared.plan.config.device
    assert asked is not None
    threads = asked.threads or 1
    with room(asked.address, device, threads, options.jobs, progress) as found:
        ray = found.ray
        objects = load_objects(shared.objects) if shared.objects else None
        told = ray.put(Told(shared, objects, threads, Folder(), os.urandom(8).hex()))
        # Lost ones are handed out again here: Ray would try without end what ends for want of memory.
        task = ray.remote(run_there).options(max_retries=0, name="mlrpl sweep", **found.each)
        losses = Counter[str]()
        running: dict[Any, Cell] = {}
        while running or left:
            while left and (options.jobs is None or len(running) < options.jobs):
                cell = left.popleft()
                running[task.remote(told, cell)] = cell
            ended, _ = ray.wait(list(running), num_returns=1, timeout=LOOKING)
            check_interrupt()
            for reference in ended:
                cell = running.pop(reference)
                try:
                    done = ray.get(reference)
                    if done.scores is not None:  # what lies in Ray's store cannot be written to, and goes with Ray
                        done = replace(done, scores=done.scores.copy())
                except ray.exceptions.RayTaskError as error:
                    if isinstance(cause := cause_of(error), MlrplError) and cause is error.cause:
                        raise cause from error  # no process of that machine can begin
                    done = Done.failed(cause)
                except ray.exceptions.RayError as error:
                    losses[key := shared.plan.key(cell)] += 1
                    if losses[key] < MOST_LOSSES:
                        progress.note(f"a run was lost with its process, and runs again: {said(error)}")
                        left.appendleft(cell)
                        continue
                    lost = f"it was lost {MOST_LOSSES} times with the process that ran it, as without enough memory"
                    done = Done(error=f"{lost}; run the sweep again. Ray says: {said(error)}")
                yield cell, done


def run_there(told: Told, cell: Cell) -> Done:
    """What a cell comes to, on whatever machine this is. Raises RunError where the process cannot begin."""
    from mlrpl_cli.core.sweep.worker import begin_once, run_cell

    begin_once(told.job, told.version, told.folder, told.shared, told.objects, told.threads)
    return run_cell(cell)
