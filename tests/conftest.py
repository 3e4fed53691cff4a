"""What several tests need: the command line as a user types it, and one thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch counts the cores: the workers share them

import torch
from filelock import FileLock

from mlrpl_cli.app import main
from mlrpl_cli.core.backbones.backbone import BackboneOptions
from mlrpl_cli.core.backbones.lite import packages
from mlrpl_cli.core.backbones.lite.family import FAMILY
from tests.warm import Outcome


@pytest.fixture(autouse=True)
def _outside_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For many trainings on matrices too small to gain by a second thread, which would wait for a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def fitted_lite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that all processes of the tests share, for lite's joint space, whose fit takes many seconds."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "fitted-lite"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "fit.lock"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLRPL_CACHE", str(folder))
        if packages.installed():
            FAMILY.load(BackboneOptions("lite"), text=False)
    return folder


class _Here(Executor):
    """Does at once, in this process, what it is given."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments, **options))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def _pool_here(processes: int, initializer: Callable[..., None], arguments: Sequence[Any]) -> Iterator[Executor]:
    initializer(*arguments)
    yield _Here()


@pytest.fixture
def sweep_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The runs of sweeps in this process, for tests of what becomes of them: no process has to start."""
    threads = torch.get_num_threads()
    monkeypatch.setattr("mlrpl_cli.core.sweep.engines.processes.process_pool", _pool_here)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def mlrpl(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """`mlrpl("prepare", "--keep", 0.5)` runs the command in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(int(stopped.value.code or 0), captured.out, captured.err)

    return run
