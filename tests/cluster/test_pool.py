"""Workers that end with what they are given: how often a task is tried."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import psutil
import pytest

from mlrpl_cli.core.cluster.connection import MOST_LOSSES, cluster
from mlrpl_cli.core.io.errors import DataError, WeightsError
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.prediction.bulk.pool import Pool


class Fragile:
    """Doubles a number; what it is told is deadly ends its process, and what is wrong is an error of ours."""

    def begin(self) -> None:
        pass

    def double(self, number: int, deadly: int = -1, wrong: int = -1) -> int:
        if number == deadly:
            time.sleep(0.5)  # a part takes a while before it fails, in which the result of the one before has arrived
            os._exit(1)
        if number == wrong:
            raise WeightsError("NaN")
        return 2 * number


@pytest.fixture(scope="module")
def ray():
    before = set(os.environ)
    with cluster(None, 3) as begun:
        assert begun.get_runtime_context().get_node_id()
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        yield begun
    assert set(os.environ) == before


def run(ray, count: int, workers: int = 2, **asked: int) -> list[tuple[int, int]]:
    pool = Pool(ray, Fragile, workers, {"num_cpus": 1}, Silent())
    return list(pool.run(range(count), lambda w: w.begin.remote(), lambda w, n: w.double.remote(n, **asked)))


def test_each_task_is_done_once_in_whatever_order(ray):
    assert sorted(run(ray, 25)) == [(number, 2 * number) for number in range(25)]
    assert run(ray, 0) == []


def test_more_workers_than_the_cluster_has_room_for_wait_and_the_others_do_the_work(ray):
    assert len(run(ray, 10, workers=20)) == 10


def test_a_task_that_ends_its_worker_again_and_again_is_named(ray):
    with pytest.raises(DataError, match=rf"^part 3 was lost {MOST_LOSSES} times with the process that had it"):
        run(ray, 10, deadly=3)


def test_an_error_of_ours_comes_out_as_it_was_raised(ray):
    with pytest.raises(WeightsError, match=re.escape("NaN")):
        run(ray, 10, wrong=4)


class Unstartable:
    """Only one of these begins; the others end as they do."""

    def begin(self, number: int, startable: int) -> None:
        if number >= startable:
            os._exit(1)

    def double(self, number: int) -> int:
        time.sleep(0.2)
        return 2 * number


def run_some(ray, count: int, startable: int) -> list[tuple[int, int]]:
    numbers = iter(range(10_000))
    pool = Pool(ray, Unstartable, 2, {"num_cpus": 1}, Silent())
    begin = lambda worker: worker.begin.remote(next(numbers), startable)  # noqa: E731
    return list(pool.run(range(count), begin, lambda w, n: w.double.remote(n)))


def test_workers_that_cannot_start_stop_nothing_as_long_as_others_make_progress(ray):
    assert sorted(run_some(ray, 40, startable=1)) == [(number, 2 * number) for number in range(40)]


def test_where_no_worker_can_start_the_line_says_what_ray_says(ray):
    with pytest.raises(DataError, match=rf"^workers were lost {2 * MOST_LOSSES} times .*\. Ray says: The actor died"):
        run_some(ray, 5, startable=0)


def test_without_an_address_it_is_a_ray_of_its_own_whatever_the_environment_says(monkeypatch):
    """Another one, whose nodes are not seen."""
    from ray.cluster_utils import Cluster

    other = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    address = other.address
    try:
        monkeypatch.setenv("RAY_ADDRESS", address)
        code = """
import os
from mlrpl_cli.core.cluster.connection import cluster, resources
with cluster(None, 3) as ray:
    print(resources(ray), os.environ.get("RAY_ADDRESS"))
print(os.environ["RAY_ADDRESS"])
with cluster("auto", 3) as ray:
    print(resources(ray))
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    finally:
        other.shutdown()
    assert done.stdout.splitlines() == ["(3, 0) None", address, "(1, 0)"]


def test_a_ray_of_its_own_listens_on_this_machine_alone(ray):
    """For whoever reaches a Ray can have it run code."""
    own = psutil.Process()
    found = [each for process in (own, *own.children(recursive=True)) for each in process.net_connections("inet")]
    listening = [each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN]
    assert listening
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
