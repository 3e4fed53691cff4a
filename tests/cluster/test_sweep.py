"""A sweep whose runs are tasks of a cluster: the same rows as on one machine, whatever is lost on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlrpl_cli.core.cluster.connection import MOST_LOSSES
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.io.errors import DataError, RunError
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.sweep import worker
from mlrpl_cli.core.sweep.engines import cluster as engine
from mlrpl_cli.core.sweep.engines.cluster import rows_by_ray
from mlrpl_cli.core.sweep.plan import RayEngine, SweepOptions
from mlrpl_cli.core.sweep.results import read_results, read_scores
from mlrpl_cli.core.sweep.worker import Done
from tests import small
from tests.cluster.conftest import below_this, ends, started, two_machines, wait_for

MEASURED = ("key", "map", "validation_map", "average_precision", "selected_map", "selected_epoch", "mask_sha256")
"""What a row says that does not depend on the machine."""


class Sweep:
    """A small sweep as a command line."""

    def __init__(self, folder: Path, out: Path) -> None:
        """`folder` holds the data and the backbone, whose paths are settings of a row."""
        self.folder, self.out = folder, out
        self.settings = {**small.OPTIONS, "epochs": 2, "backbone": folder / "clip.safetensors", "cache": out / "cache"}

    def start(self, *more: object) -> subprocess.Popen[str]:
        """The command as a process, the first of its own group."""
        asked = ["sweep", "--data", self.folder / "prepared", "--out", self.out, "--methods", "sarl,linear"]
        asked += ["--keep", "0.5,0.7", "--seeds", "0,1", "--no-tune", "--device", "cpu", *more]
        asked += [part for name, value in self.settings.items() for part in ("--set", f"{name}={value}")]
        return started(asked)

    def check(self, plain: Sweep) -> None:
        """Each run has one row and its scores, those of a sweep without a cluster to the bit."""
        lines = [json.loads(line) for line in (self.out / "results.jsonl").read_text().splitlines()]
        assert len({line["key"] for line in lines}) == len(lines) == 8
        expected = {row["key"]: row for row in read_results(plain.out / "results.jsonl")}
        for row in lines:
            assert {name: row[name] for name in MEASURED} == {name: expected[row["key"]][name] for name in MEASURED}
            assert (read_scores(self.out, row["key"]) == read_scores(plain.out, row["key"])).all()

    def wait_for_rows(self, count: int, process: subprocess.Popen[str]) -> None:
        """Return once so many rows are written, in the middle of the sweep."""
        results = self.out / "results.jsonl"
        wait_for(lambda: results.is_file() and len(results.read_text().splitlines()) >= count, process)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The same sweep by a process of this machine, with one thread."""
    folder = tmp_path_factory.mktemp("plain")
    small.write_prepared(folder / "prepared", keep=0.7)
    small.write_backbone(folder / "clip.safetensors")
    sweep = Sweep(folder, folder / "plain")
    code, _, err = ends(sweep.start("--jobs", 1))
    assert code == 0, err
    return sweep


@pytest.fixture
def sweep(plain: Sweep, tmp_path: Path) -> Sweep:
    return Sweep(plain.folder, tmp_path / "ray")


def test_a_lost_worker_s_cells_run_again_and_a_killed_command_goes_on(sweep, plain, finishing):
    """The first command loses a worker and is then killed; the second does what is left, and no row comes twice."""
    process = finishing(sweep.start("--engine", "ray", "--jobs", 2))
    wait_for(lambda: below_this("ray::mlrpl"), process)[0].kill()
    sweep.wait_for_rows(2, process)
    process.kill()
    process.wait()
    before = sweep.out.joinpath("results.jsonl").read_text().splitlines()
    assert 2 <= len(before) < 8
    code, _, err = ends(finishing(sweep.start("--engine", "ray", "--jobs", 2)))
    assert code == 0, err
    assert sweep.out.joinpath("results.jsonl").read_text().splitlines()[: len(before)] == before
    sweep.check(plain)


def test_a_machine_that_is_lost_loses_no_run_and_doubles_none(sweep, plain, finishing):
    """Its second node is a process of its own, which is killed with what runs there."""
    with two_machines() as (cluster, second):
        process = finishing(sweep.start("--engine", "ray", "--ray-address", cluster.address))
        sweep.wait_for_rows(2, process)
        cluster.remove_node(second, allow_graceful=False)
        code, _, err = ends(process)
    assert code == 0, err
    sweep.check(plain)


def test_what_no_process_can_begin_with_is_one_line(sweep, finishing):
    """A cluster that is not there."""
    code, _, err = ends(finishing(sweep.start("--engine", "ray", "--ray-address", "127.0.0.1:1")))
    assert code == 1
    assert [line for line in err.splitlines() if line.startswith("mlrpl: error: cannot connect to Ray at 127.0.0.1:1")]


@dataclass(frozen=True)
class Planned:
    """As much of a plan as handing out cells asks for; a cell is a word."""

    options: SweepOptions
    config: TrainConfig

    def key(self, cell: str) -> str:
        return cell


def come_to(cell: str) -> Done:
    """What a cell comes to that is called after what it does."""
    if cell == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if cell == "value":
        raise ValueError("a\nbug")
    if cell == "memory":
        raise MemoryError
    if cell == "told":
        raise DataError("a reason")
    return Done({"key": cell})


def run_there(told: object, cell: str) -> Done:
    """In a process that has begun."""
    worker._worker = SimpleNamespace(run=come_to)
    return worker.run_cell(cell)


def begin_there(told: object, cell: str) -> Done:
    raise RunError("this machine cannot begin")


@pytest.fixture
def shared() -> SimpleNamespace:
    options = SweepOptions(Path("data"), Path("out"), jobs=2, engine=RayEngine())
    return SimpleNamespace(plan=Planned(options, TrainConfig(device="cpu")), objects=None)


def test_what_ends_a_run_ends_no_other(shared, monkeypatch):
    """A process that is killed each time is tried four times, and an error is one run's."""
    monkeypatch.setattr(engine, "run_there", run_there)
    heard = Notes()
    cells = ["kill", "value", "memory", "told", "good"]
    rows = dict(rows_by_ray(shared, deque(cells), heard))
    assert {cell: done.error for cell, done in rows.items() if cell != "kill"} == {
        "value": "ValueError: a bug",
        "memory": "MemoryError: ",
        "told": "a reason",
        "good": None,
    }
    assert rows["kill"].error.startswith(f"it was lost {MOST_LOSSES} times with the process that ran it, as without")
    assert "\n" not in rows["kill"].error
    assert [note.partition(":")[0] for note in heard.notes] == ["a run was lost with its process, and runs again"] * 3


def test_a_machine_that_cannot_begin_ends_the_sweep(shared, monkeypatch):
    monkeypatch.setattr(engine, "run_there", begin_there)
    with pytest.raises(RunError, match=r"^this machine cannot begin$"):
        list(rows_by_ray(shared, deque(["a", "b"]), Notes()))


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)
