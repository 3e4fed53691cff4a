"""What prediction by Ray takes more than a plain one, and its memory: python -m scripts.measure_ray [IMAGES …]

Small pictures of noise, the backbone tiny without a run, one thread a process. With IMAGES, the memory of jobs of so
many. Rates are of the time between the first part and the last, so without the start of Ray, which is told beside them.
CPU time is told, too: other programs on the machine change it less.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch
from PIL import Image

from mlrpl_cli.core.images.find import find_images
from mlrpl_cli.core.prediction.predictor import Predictor

CLASSES = "car, cup, tree, ball"
PICTURES = 4096
"""Of the comparison: eight parts."""
SIDE = 32


class Measured(NamedTuple):
    """One job."""

    rate: float
    """Images a second."""
    cpu: float
    """Milliseconds of CPU an image, in all processes that predict."""
    start: float
    """Seconds until the first part."""
    driver: int
    worker: int
    """The most memory (RSS, MiB) of the command and of one worker."""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        if sizes := [int(size) for size in sys.argv[1:]]:
            for size in sizes:
                done = by_ray(write_pictures(place / f"{size}", size), place / f"out-{size}", 1)
                print(f"{size} images: command {done.driver} MiB, worker {done.worker} MiB, {done.rate:.0f} images/s")
            return
        images = write_pictures(place / "images", PICTURES)
        for turn in range(2):
            rate, cpu = plain(images)
            print(f"plain: {rate:.0f} images/s, {cpu:.2f} ms CPU an image")
            for workers in (1, 2):
                done = by_ray(images, place / f"out-{turn}-{workers}", workers)
                told = f"{done.rate:.0f} images/s, {done.cpu:.2f} ms CPU an image, first part after {done.start:.0f} s"
                print(f"Ray, {workers} workers: {told}", flush=True)


def write_pictures(folder: Path, count: int) -> Path:
    random = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number // 1000:03d}" / f"{number % 1000:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)
    return folder


def plain(images: Path) -> tuple[float, float]:
    """(images a second, ms of CPU an image) of the same in this process, once the model is loaded."""
    torch.set_num_threads(1)
    predictor = Predictor.from_backbone("tiny", [name.strip() for name in CLASSES.split(",")], device="cpu")
    paths = find_images([str(images)])
    list(predictor.predict_files(paths[:512], 32, workers=1))
    begun, cpu = time.perf_counter(), time.process_time()
    list(predictor.predict_files(paths, 32, workers=1))
    return len(paths) / (time.perf_counter() - begun), 1000 * (time.process_time() - cpu) / len(paths)


def by_ray(images: Path, out: Path, workers: int) -> Measured:
    command = [sys.executable, "-m", "mlrpl_cli", "predict", "--engine", "ray", str(images), "--backbone", "tiny"]
    command += ["--classes", CLASSES, "--device", "cpu", "--ray-workers", str(workers), "--out", str(out), "--quiet"]
    begun, most, cpu = time.time(), {False: 0, True: 0}, dict[int, float]()
    at_first: dict[int, float] | None = None
    done = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            with suppress(psutil.Error):
                driver = psutil.Process(process.pid)
                for one in [driver, *driver.children(recursive=True)]:
                    with suppress(psutil.Error):
                        worker = "ray::Worker" in " ".join(one.cmdline())
                        if worker or one.pid == process.pid:
                            most[worker] = max(most[worker], one.memory_info().rss >> 20)
                            cpu[one.pid] = sum(one.cpu_times()[:2])
            if at_first is None and list((out / "predictions").glob("part*")):
                at_first, done = dict(cpu), len(list((out / "predictions").glob("part*")))
            time.sleep(0.05)
    assert process.returncode == 0
    times = sorted(path.stat().st_mtime for path in (out / "predictions").glob("part*"))
    counted = sum(1 for _ in images.rglob("*.png"))
    since = counted * (len(times) - 1) / len(times)
    spent = sum(cpu.values()) - sum((at_first or {}).values())
    rest = counted * (len(times) - done) / len(times)
    rate = since / max(times[-1] - times[0], 1e-9)
    return Measured(rate, 1000 * spent / max(rest, 1), times[0] - begun, most[False], most[True])


if __name__ == "__main__":
    main()
