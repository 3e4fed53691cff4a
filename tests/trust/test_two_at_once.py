"""Commands that run at the same time on the same data and the same feature cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlrpl_cli.core.config import LAST
from mlrpl_cli.core.io.files import sole_writer
from mlrpl_cli.core.runs.checkpoint import load_checkpoint
from mlrpl_cli.core.sweep.results import RESULTS, read_results
from tests import small, warm

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = {**small.OPTIONS, "backbone": "clip.safetensors", "epochs": 2}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    small.write_prepared(tmp_path / "data", images=150)
    small.write_backbone(tmp_path / "clip.safetensors")
    return tmp_path


def command(name: str, *options: str) -> list[str]:
    return [name, "--data=data", *(f"--set={key}={value}" for key, value in SETTINGS.items()), *options]


def sweep(out: str) -> list[str]:
    return command("sweep", "--methods=linear", "--keep=0.7", "--seeds=0,1", "--no-tune", f"--out={out}")


def at_once(place: Path, *commands: list[str]) -> list[tuple[int, str]]:
    """Exit code and standard error of each of these commands, which begin together."""
    logs = [place / f"{number}.log" for number in range(len(commands))]
    processes = [warm.start(arguments, folder=place, stderr=log) for arguments, log in zip(commands, logs, strict=True)]
    codes, said = [process.wait() for process in processes], [log.read_text() for log in logs]
    assert not [text for text in said if "Traceback" in text]
    return list(zip(codes, said, strict=True))


def timeless(place: Path, out: str) -> list[dict]:
    rows = read_results(place / out / RESULTS)
    return [{k: v for k, v in row.items() if "second" not in k and k != "config"} for row in rows]


def test_two_trains_and_a_sweep_on_one_cache_come_to_what_each_comes_to_alone(place: Path, mlrpl, sweep_here) -> None:
    """The cache is empty when they start, so that all three fill it."""
    commands = [command("train", "--run=a"), command("train", "--run=b", "--seed=1"), sweep("out")]
    assert [said for code, said in at_once(place, *commands) if code] == []
    cache = {path.name for path in (place / "features").rglob("*")}
    assert not [name for name in cache if name.startswith(".")]
    (place / "features").rename(place / "other")
    for arguments in (
        command("train", "--run=alone-a"),
        command("train", "--run=alone-b", "--seed=1"),
        sweep("alone"),
    ):
        assert mlrpl(*arguments).code == 0
    for run in ("a", "b"):
        left, right = (load_checkpoint(place / name, LAST) for name in (run, f"alone-{run}"))
        assert left.info == right.info
        assert [name for name in left.tensors if not left.tensors[name].equal(right.tensors[name])] == []
    assert timeless(place, "out") == timeless(place, "alone")


def test_two_trains_that_want_one_folder_make_one_run(place: Path) -> None:
    """The second is refused, or comes late enough to find the run finished."""
    (code, _), (other, said) = sorted(at_once(place, *[command("train", "--run=run")] * 2))
    assert code == 0
    told = [line for line in said.splitlines() if line.startswith("mlrpl:")]
    assert other == len(told)
    assert all("another process is writing to" in line or "trained by another process" in line for line in told)
    assert load_checkpoint(place / "run", LAST).info.epoch == SETTINGS["epochs"]


def test_of_two_sweeps_that_want_one_folder_one_is_refused(place: Path, mlrpl) -> None:
    """One that began later, when the other is over, would only look at what there is."""
    (place / "out").mkdir()
    with sole_writer(place / "out", "wait"):
        refused = mlrpl(*sweep("out"))
    (line,) = [line for line in refused.err.splitlines() if line.startswith("mlrpl:")]
    assert refused.code == 1
    assert "another process is writing to" in line
    codes = [code for code, _ in at_once(place, *[sweep("out")] * 2)]
    assert codes in ([0, 0], [0, 1], [1, 0])
    rows = timeless(place, "out")
    assert len({row["key"] for row in rows}) == len(rows) == 2


def test_two_trains_without_a_run_folder_take_two(place: Path) -> None:
    assert [code for code, _ in at_once(place, *[command("train")] * 2)] == [0, 0]
    runs = sorted((place / "runs").iterdir())
    assert [run.name for run in runs] == ["data-sarl-anchored-seed0", "data-sarl-anchored-seed0-2"]
    left, right = (load_checkpoint(run, LAST).tensors for run in runs)
    assert all(left[name].equal(right[name]) for name in left)
