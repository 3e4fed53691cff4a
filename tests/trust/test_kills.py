"""Commands killed (tests/trust/kills.py says how): nothing finished is lost, nothing is doubled."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import small
from tests.trust.kills import State, Strike, run, scenarios, start_warm, torment

HANDFUL = {
    "prepare": [Strike(signal.SIGTERM, 0.9)],
    "export-labels": [Strike(signal.SIGKILL, 0.6)],
    "complete": [Strike(signal.SIGKILL, 0.7)],
    "suggest": [Strike(signal.SIGKILL, 0.9)],
    "check": [Strike(signal.SIGTERM, 0.9)],
    "report": [Strike(signal.SIGKILL, 0.95)],
    "export": [Strike(signal.SIGKILL, 0.95)],
    "train with a cache": [Strike(signal.SIGKILL, 0.8)],
    "train without a cache": [Strike(signal.SIGINT, 0.7)],
    "cross-validation": [Strike(signal.SIGKILL, 0.5)],
    "sweep": [Strike(signal.SIGKILL, 0.8)],
    "sweep over folds": [Strike(signal.SIGKILL, 0.8)],
}
"""By scenario, for a single run."""


WITHOUT_STEPS = ("prepare", "export-labels", "complete", "suggest", "check", "report", "export")


def _something(name: str, finished: State) -> bool:
    """Whether there was anything to lose: an epoch, a fold, or a row."""
    return name in WITHOUT_STEPS or any(part.startswith(("epoch", "row", "run/")) for part in finished)


@pytest.mark.parametrize("name", HANDFUL)
def test_a_handful_of_kills_loses_nothing(tmp_path: Path, name: str) -> None:
    if name == "export":
        pytest.importorskip("onnxscript", reason="pip install 'mlrpl[onnx]'")
    (scenario,) = [scenario for scenario in scenarios(tmp_path, images=48) if scenario.name == name]
    strikes = HANDFUL[name]
    tally = torment(scenario, iter([strikes]), len(strikes), tmp_path / "work", start_warm)
    assert tally.problems == []
    assert tally.kills == {strike.number.name: 1 for strike in strikes}
    assert all(_something(name, finished) for finished in tally.finished)


@pytest.mark.slow
def test_an_interrupt_of_all_processes_is_all_that_is_told(tmp_path: Path) -> None:
    """Twenty, while workers decode and start anew every few tenths of a second."""
    chance, data = random.Random(0), small.write_prepared(tmp_path / "data", images=150)
    settings = {**small.OPTIONS, "epochs": 100, "views": 0, "workers": 2}
    settings["backbone"] = small.write_backbone(tmp_path / "clip.safetensors")
    options = [f"--set={key}={value}" for key, value in settings.items()]
    for number in range(20):
        command = ["train", "--data", str(data), "--run", str(tmp_path / f"run-{number}"), *options]
        process = subprocess.Popen(
            [sys.executable, "-m", "mlrpl_cli", *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        assert process.stderr is not None
        begun = process.stderr.readline()
        time.sleep(chance.uniform(1, 5))
        os.killpg(process.pid, chance.choice([signal.SIGTERM, signal.SIGINT]))
        said = begun + process.communicate(timeout=60)[1]
        # Both are 130 to a shell: Python ends itself by the signal when it came in the midst of some imports.
        assert process.returncode in (130, -signal.SIGINT), said
        assert "Traceback" not in said
        assert "Exception ignored" not in said


@pytest.mark.slow
def test_two_hundred_kills_lose_nothing() -> None:
    tallies = run(200, seed=1)
    assert sum(tally.total for tally in tallies.values()) == 200
    assert [problem for tally in tallies.values() for problem in tally.problems] == []
