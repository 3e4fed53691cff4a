"""What becomes of a job when something is killed, lost, broken or full: the rows of a table in docs/reliability.md."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest

from tests.cluster.conftest import LONGEST, alive, below_this, ends, two_machines, workers_of
from tests.trust.test_disk import mounted


def test_a_worker_that_is_killed_is_replaced_and_its_part_is_done_again(long_work, predictor, finishing):
    process = finishing(long_work.start())
    long_work.wait_for_parts(5, process)
    victim = workers_of(process)[0]
    victim.kill()
    code, out, err = ends(process)
    assert code == 0, err
    assert out == f"predictions of 1500 images: {long_work.out}/predictions\n"
    assert "a worker was lost, and another one does its work" in err
    long_work.check(predictor)


def test_a_machine_that_is_lost_loses_nothing_and_doubles_nothing(long_work, predictor, finishing):
    """Its second node is a process of its own, which is killed with all of its workers."""
    with two_machines() as (cluster, second):  # one of the two workers is on either
        process = finishing(long_work.start("--ray-address", cluster.address))
        long_work.wait_for_parts(5, process)
        assert len(below_this("ray::Worker")) == 2
        cluster.remove_node(second, allow_graceful=False)
        code, _, err = ends(process)
    assert code == 0, err
    assert "a worker was lost" in err
    long_work.check(predictor)


def test_a_driver_that_is_killed_goes_on_with_what_is_missing(long_work, predictor, finishing):
    process = finishing(long_work.start())
    long_work.wait_for_parts(5, process)
    below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    limit = time.monotonic() + LONGEST  # its Ray ends with it
    while any(map(alive, below)):
        assert time.monotonic() < limit
        time.sleep(0.1)
    before = {path: path.stat().st_mtime_ns for path in long_work.parts()}
    assert 5 <= len(before) < 1500 // 8
    code, _, err = ends(finishing(long_work.start()))
    assert code == 0, err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    long_work.check(predictor)


@pytest.mark.parametrize("group", [False, True], ids=["SIGTERM", "Ctrl-C"])
def test_an_interrupted_job_keeps_what_is_finished_and_ends_its_ray(long_work, predictor, finishing, group):
    """Ctrl-C goes to the whole group of a terminal, and SIGTERM to the command alone."""
    process = finishing(long_work.start())
    long_work.wait_for_parts(5, process)
    below = psutil.Process(process.pid).children(recursive=True)
    if group:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGTERM)
    code, _, err = ends(process)
    assert code == 130, err
    assert err.splitlines()[-1] == "mlrpl: interrupted"
    psutil.wait_procs(below, timeout=30)
    assert not [child for child in below if alive(child)]
    assert len(long_work.parts()) >= 5
    assert ends(finishing(long_work.start()))[0] == 0
    long_work.check(predictor)


def test_images_that_cannot_be_read_go_to_the_errors_and_the_exit_code_is_that_of_predict(work, predictor, finishing):
    (work.images / "00003.png").write_bytes(b"no image")
    (work.images / "00050.png").write_bytes((work.images / "00051.png").read_bytes()[:60])
    code, _, err = ends(finishing(work.start()))
    assert code == 1
    assert "mlrpl: error: 2 images cannot be read; " in err
    work.check(predictor)
    assert ends(finishing(work.start("--skip-bad")))[0] == 0
    for path in work.images.iterdir():
        path.write_bytes(b"no image")
    code, _, _ = ends(finishing(work.start("--skip-bad", "--out", work.out.with_name("none"))))
    assert code == 4


def test_a_full_disk_is_one_line_and_the_job_goes_on_once_there_is_room(work, predictor, finishing, tmp_path):
    with mounted(tmp_path / "out", "size=20k") as folder:
        code, _, err = ends(finishing(work.start()))
        assert code == 1
        (line,) = (line for line in err.splitlines() if line.startswith("mlrpl:"))
        assert "No space left on device" in line
        before = {path: path.stat().st_mtime_ns for path in work.parts()}
        assert 0 < len(before) < 8
        os.system(f"mount -o remount,size=10m {folder}")
        assert ends(finishing(work.start()))[0] == 0
        assert {path: path.stat().st_mtime_ns for path in before} == before
        work.check(predictor)
