"""A real Ray, a trained run and images: what prediction over many images is tried on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mlrpl_cli.core.config import make_config
from mlrpl_cli.core.images.find import find_images
from mlrpl_cli.core.prediction.predictor import Prediction, Predictor
from mlrpl_cli.core.training.train import train
from tests import small

BATCH = 8
T = TypeVar("T")
LONGEST = 300
"""Seconds that a job of these tests may take."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.ray)


@pytest.fixture(scope="session", autouse=True)
def _ray() -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'mlrpl[ray]'")


@dataclass(frozen=True)
class Work:
    """A run and a folder of images, and what a job on them has to write."""

    run: Path
    images: Path
    out: Path

    def arguments(self, *more: object, source: object = None) -> list[str]:
        """The command line; `more` comes last."""
        asked = ["predict", "--engine", "ray", source or self.images, "--run", self.run, "--out", self.out]
        asked += ["--batch-size", BATCH, "--part-images", BATCH, "--ray-workers", 2, "--device", "cpu", *more]
        return [str(argument) for argument in asked]

    def start(self, *more: object, source: object = None) -> subprocess.Popen[str]:
        """The command as a process, the first of its own group."""
        return started(self.arguments(*more, source=source))

    def parts(self) -> list[Path]:
        """The parts that are done."""
        return sorted((self.out / "predictions").glob("part-*.parquet"))

    def wait_for_parts(self, count: int, process: subprocess.Popen[str]) -> None:
        """Return once so many parts are done, in the middle of a job."""
        wait_for(lambda: len(self.parts()) >= count, process)

    def table(self) -> pa.Table:
        """All predictions, in the order of the images."""
        return pa.concat_tables(pq.read_table(path) for path in self.parts())

    def check(self, predictor: Predictor) -> None:
        """Every image has its row, once, and equals what a plain prediction says to the bit."""
        plain = list(predictor.predict_files(find_images([str(self.images)]), BATCH, workers=1))
        good = [result for result in plain if isinstance(result, Prediction)]
        found = self.table()
        assert found["image"].to_pylist() == [str(result.path) for result in good]
        np.testing.assert_array_equal(
            np.array(found["probabilities"].to_pylist(), np.float32), [p.probabilities for p in good]
        )
        assert found["decisions"].to_pylist() == [p.decisions and list(p.decisions) for p in good]
        bad = [str(result.path) for result in plain if not isinstance(result, Prediction)]
        errors = [pq.read_table(path) for path in sorted((self.out / "errors").glob("part-*.parquet"))]
        assert [name for table in errors for name in table["image"].to_pylist()] == bad


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(make_config(flags=small.write_training(tmp_path_factory.mktemp("trained"), epochs=2, images=90))).run


@pytest.fixture(scope="session")
def predictor(run: Path) -> Predictor:
    return Predictor.from_run(run, device="cpu")


@pytest.fixture
def work(run: Path, tmp_path: Path) -> Work:
    return Work(run, write_images(tmp_path / "images", 60), tmp_path / "out")


@pytest.fixture
def long_work(run: Path, tmp_path: Path) -> Work:
    """One that takes long enough to be stopped in the middle."""
    return Work(run, write_images(tmp_path / "images", 1500), tmp_path / "out")


def write_images(folder: Path, count: int) -> Path:
    """Small pictures of noise, each another one."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{number:05d}.png")
    return folder


def started(arguments: Iterable[object]) -> subprocess.Popen[str]:
    """A command line of mlrpl as a process, the first of its own group."""
    command = [sys.executable, "-m", "mlrpl_cli", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # Where the tests run in the background, SIGINT is ignored, and so it would be here.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=heard, **streams)


def wait_for(found: Callable[[], T], process: subprocess.Popen[str]) -> T:
    """What is `found` at last, while a job runs."""
    limit = time.monotonic() + LONGEST
    while not (what := found()):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < limit
        time.sleep(0.02)
    return what


@contextmanager
def two_machines() -> Iterator[tuple[Any, Any]]:
    """A cluster of two nodes with a CPU each, and the second one: a process of its own, as is the first."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        second = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        yield cluster, second
    finally:
        cluster.shutdown()


def below_this(name: str) -> list[psutil.Process]:
    """The processes below this one whose command line has a name."""
    return [child for child in psutil.Process().children(recursive=True) if name in " ".join(told(child))]


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that hold the model."""
    below = psutil.Process(process.pid).children(recursive=True)
    return [child for child in below if "ray::Worker" in " ".join(told(child))]


def alive(process: psutil.Process) -> bool:
    """Whether it runs; one may end while that is asked."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def told(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def ends(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a job."""
    out, err = process.communicate(timeout=LONGEST)
    return process.returncode, out, err


@pytest.fixture
def finishing() -> Iterator[Callable[[subprocess.Popen[str]], subprocess.Popen[str]]]:
    """Processes that are ended with the test, whatever becomes of it."""
    started: list[subprocess.Popen[str]] = []

    def kept(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
        started.append(process)
        return process

    yield kept
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
