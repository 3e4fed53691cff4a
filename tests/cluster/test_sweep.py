"""A sweep whose runs are tasks of a cluster: the same rows as on one machine, whatever is lost on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mlrpl_cli.core.sweep.results import read_results, read_scores
from tests import small
from tests.cluster.conftest import LONGEST, ends, told

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
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, "-m", "mlrpl_cli", *map(str, asked)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=environment, start_new_session=True, **streams)

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
        limit, results = time.monotonic() + LONGEST, self.out / "results.jsonl"
        while not results.is_file() or len(results.read_text().splitlines()) < count:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < limit
            time.sleep(0.02)


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


def runners() -> list[psutil.Process]:
    """The processes on this machine that run cells now."""
    return [process for process in psutil.process_iter() if "ray::mlrpl" in " ".join(told(process))]


def test_a_lost_worker_s_cells_run_again_and_a_killed_command_goes_on(sweep, plain, finishing):
    """The first command loses a worker and is then killed; the second does what is left, and no row comes twice."""
    process = finishing(sweep.start("--engine", "ray", "--jobs", 2))
    limit = time.monotonic() + LONGEST
    while not (found := runners()):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < limit
        time.sleep(0.01)
    found[0].kill()
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
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        second = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        process = finishing(sweep.start("--engine", "ray", "--ray-address", cluster.address))
        sweep.wait_for_rows(2, process)
        cluster.remove_node(second, allow_graceful=False)
        code, _, err = ends(process)
    finally:
        cluster.shutdown()
    assert code == 0, err
    sweep.check(plain)


def test_what_no_process_can_begin_with_is_one_line(sweep, finishing):
    """A cluster that is not there."""
    code, _, err = ends(finishing(sweep.start("--engine", "ray", "--ray-address", "127.0.0.1:1")))
    assert code == 1
    assert [line for line in err.splitlines() if line.startswith("mlrpl: error: cannot connect to Ray at 127.0.0.1:1")]
