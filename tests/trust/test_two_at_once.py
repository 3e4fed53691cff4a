"""Commands that run at the same time on the same data and the same feature cache."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlrpl_cli.core.io.locks import sole_writer
from mlrpl_cli.core.runs.folder import LAST, load_checkpoint
from mlrpl_cli.core.sweep.results import RESULTS, read_results
from tests import small

SETTINGS = {**small.OPTIONS, "backbone": "clip.safetensors", "epochs": 2}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    small.write_prepared(tmp_path / "data", images=150)
    small.write_backbone(tmp_path / "clip.safetensors")
    return tmp_path


def start(place: Path, *arguments: str) -> subprocess.Popen[str]:
    options = ["--data=data", *(f"--set={key}={value}" for key, value in SETTINGS.items()), *arguments[1:]]
    command = [sys.executable, "-m", "mlrpl_cli", arguments[0], *options]
    return subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def ended(*processes: subprocess.Popen[str]) -> list[tuple[int, str]]:
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert not [text for text in said if "Traceback" in text]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def sweep(place: Path, out: str) -> subprocess.Popen[str]:
    return start(place, "sweep", "--methods=linear", "--keep=0.7", "--seeds=0,1", "--no-tune", f"--out={out}")


def timeless(place: Path, out: str) -> list[dict]:
    rows = read_results(place / out / RESULTS)
    return [{k: v for k, v in row.items() if "second" not in k and k != "config"} for row in rows]


def test_two_trains_and_a_sweep_on_one_cache_come_to_what_each_comes_to_alone(place: Path) -> None:
    """The cache is empty when they start, so that all three fill it."""
    together = [start(place, "train", "--run=a"), start(place, "train", "--run=b", "--seed=1"), sweep(place, "out")]
    assert [code for code, _ in ended(*together)] == [0, 0, 0]
    cache = {path.name for path in (place / "features").rglob("*")}
    assert not [name for name in cache if name.startswith(".")]
    (place / "features").rename(place / "other")
    for arguments in (("--run=alone-a",), ("--run=alone-b", "--seed=1")):
        assert ended(start(place, "train", *arguments))[0][0] == 0
    assert ended(sweep(place, "alone"))[0][0] == 0
    for run in ("a", "b"):
        left, right = (load_checkpoint(place / name, LAST) for name in (run, f"alone-{run}"))
        assert left.info == right.info
        assert [name for name in left.tensors if not left.tensors[name].equal(right.tensors[name])] == []
    assert timeless(place, "out") == timeless(place, "alone")


def test_of_two_trains_that_want_one_folder_one_is_refused(place: Path) -> None:
    (code, _), (refused, said) = sorted(ended(start(place, "train", "--run=run"), start(place, "train", "--run=run")))
    assert (code, refused) == (0, 1)
    (line,) = [line for line in said.splitlines() if line.startswith("mlrpl:")]
    assert "another process is writing to" in line or "already holds a run" in line


def test_of_two_sweeps_that_want_one_folder_one_is_refused(place: Path) -> None:
    """One that began later, when the other is over, would only look at what there is."""
    (place / "out").mkdir()
    with sole_writer(place / "out", "wait"):
        ((refused, said),) = ended(sweep(place, "out"))
    (line,) = [line for line in said.splitlines() if line.startswith("mlrpl:")]
    assert refused == 1
    assert "another process is writing to" in line
    codes = [code for code, _ in ended(sweep(place, "out"), sweep(place, "out"))]
    assert codes in ([0, 0], [0, 1], [1, 0])
    rows = timeless(place, "out")
    assert len({row["key"] for row in rows}) == len(rows) == 2


def test_two_trains_without_a_run_folder_take_two(place: Path) -> None:
    assert [code for code, _ in ended(start(place, "train"), start(place, "train"))] == [0, 0]
    runs = sorted((place / "runs").iterdir())
    assert [run.name for run in runs] == ["data-sarl+-seed0", "data-sarl+-seed0-2"]
    left, right = (load_checkpoint(run, LAST).tensors for run in runs)
    assert all(left[name].equal(right[name]) for name in left)
