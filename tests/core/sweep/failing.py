"""Runs that fail in the ways that runs fail; in a module of its own, for the processes of a sweep to import."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

from mlrpl_cli.core.sweep import worker
from mlrpl_cli.core.sweep.encoding import Shared
from mlrpl_cli.core.sweep.plan import Cell


def start_worker(shared: Shared, threads: int) -> None:
    """A process that finds no features."""
    worker.start_worker(replace(shared, learning=None), threads)


def start_killed_worker(shared: Shared, threads: int) -> None:
    """A process that is killed while it starts, as without enough memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def run_cell(cell: Cell) -> worker.Done:
    """`sd` is killed and `linear` raises; the others run."""
    if cell.method == "sd":
        os.kill(os.getpid(), signal.SIGKILL)
    if cell.method == "linear":
        raise ValueError("a bug")
    return worker.run_cell(cell)
