"""Kill prepare, train and sweep at random moments, go on, and compare with a run that nobody disturbed.

    python -m tests.trust.kills --kills 200

A kill is a SIGKILL to the process alone, or a SIGTERM or SIGINT to it and all that it started. Half of them come at a
random moment, the other half just before a random one of the files that the command opens, renames or removes, or just
after it has opened one for writing, which is then empty.
After each one, what was finished before has to be there to the bit. A command is killed a few times, then left to end.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mlrpl_cli.core.checkpoint import BEST, LAST, checkpoint_path, load_checkpoint, read_log
from mlrpl_cli.core.data.manifest import read_prepared
from mlrpl_cli.core.errors import MlrplError
from mlrpl_cli.core.files import REPLACED_PREFIX, TEMPORARY_PREFIX
from mlrpl_cli.core.sweep.results import RESULTS, read_results, read_scores
from tests import small

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MOST_KILLS_OF_A_COMMAND = 4
ORPHANS_END_WITHIN = 15
"""Seconds; PyTorch's own loaders look every five whether their parent is there."""

# Runs the command line; before the n-th operation on a file below a folder, or with the file open, signals itself.
PROGRAM = """
import builtins, io, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background starts without it
below, at, number, report = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
operations = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "shutil.rmtree"}
count, plain_open = 0, io.open

def moment():
    global count
    count += 1
    if count == at:
        os.kill(os.getpid(), number)

def watch(event, arguments):
    if event in operations and any(str(argument).startswith(below) for argument in arguments):
        moment()

def opened(file, mode="r", *arguments, **options):
    stream = plain_open(file, mode, *arguments, **options)
    if set(mode) & set("wax+") and str(file).startswith(below):
        moment()
    return stream

sys.addaudithook(watch)
io.open = builtins.open = opened
sys.argv[:5] = ["mlrpl"]
from mlrpl_cli.__main__ import main
try:
    main()
finally:
    with plain_open(report, "w") as stream:
        stream.write(str(count))
"""


class LostWorkError(Exception):
    """Finished work is not there any more, or is not what it was."""


@dataclass(frozen=True)
class Scenario:
    """A command that is killed, and what has to hold."""

    name: str
    command: Callable[[Path], list[str]]
    """The arguments to start or to go on with, given the folder that the command writes below."""
    check: Callable[[Path], Any]
    """After a kill: raises LostWorkError when something there is not whole, and returns how far the work has come."""
    result: Callable[[Path], Any]
    """After the end: what must equal that of the undisturbed run."""
    begin: Callable[[Path, random.Random], None] = lambda folder, chance: None
    """Puts into the folder what stands there before."""


@dataclass
class Tally:
    """What was seen of one scenario."""

    kills: Counter[str] = field(default_factory=Counter)
    ends: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.kills.values())


def torment(scenario: Scenario, kills: int, seed: int, place: Path) -> Tally:
    """Kill the scenario's command `kills` times, over as many runs as that takes."""
    chance, tally = random.Random(f"{scenario.name} {seed}"), Tally()
    seconds, operations = _undisturbed(scenario, place / "whole")
    expected = scenario.result(place / "whole")
    sessions: list[int] = []
    while tally.total < kills:
        folder = place / f"{tally.ends:03d}"
        folder.mkdir()
        scenario.begin(folder, chance)
        planned = min(chance.randint(1, MOST_KILLS_OF_A_COMMAND), kills - tally.total)
        try:
            _one_run(scenario, folder, planned, chance, tally, seconds, operations, sessions)
            if scenario.result(folder) != expected:
                raise LostWorkError("another result than the undisturbed run's")
            if left := [
                path for path in folder.rglob("*") if path.name.startswith((TEMPORARY_PREFIX, REPLACED_PREFIX))
            ]:
                raise LostWorkError(f"{left[0]} was left behind")
        except (LostWorkError, MlrplError) as error:
            tally.problems.append(f"{scenario.name}, {folder.name}: {error}")
        tally.ends += 1
        shutil.rmtree(folder)
    tally.problems += [f"{scenario.name}: processes outlived a kill" for _ in range(_survivors(sessions))]
    return tally


def _one_run(
    scenario: Scenario,
    folder: Path,
    planned: int,
    chance: random.Random,
    tally: Tally,
    seconds: float,
    operations: int,
    sessions: list[int],
) -> None:
    before = scenario.check(folder)
    for _ in range(planned):
        number = chance.choice(SIGNALS)
        at = chance.randint(1, operations) if chance.random() < 0.5 else 0
        process = _start(scenario, folder, at, number)
        sessions.append(process.pid)
        if not at:
            time.sleep(chance.uniform(0, seconds))
            (os.kill if number == signal.SIGKILL else os.killpg)(process.pid, number)
        code, said = _wait(process, folder)
        if code == 0:
            break  # it ended before its moment came
        tally.kills[signal.Signals(number).name] += 1
        if code not in (-number, 130):
            raise LostWorkError(f"exit code {code} after {signal.Signals(number).name}: {said[-2000:]}")
        _check_words(said)
        after = scenario.check(folder)
        if before is not None and (after is None or after < before):
            raise LostWorkError(f"came as far as {before} before, {after} now")
        before = after
    code, said = _wait(_start(scenario, folder), folder)
    if code:
        raise LostWorkError(f"going on ended with exit code {code}: {said[-2000:]}")
    _check_words(said)


def _check_words(said: str) -> None:
    if "Traceback" in said or "bug in mlrpl" in said:
        raise LostWorkError(f"a traceback was shown: {said[-2000:]}")


def _undisturbed(scenario: Scenario, folder: Path) -> tuple[float, int]:
    """Run the command whole; how many seconds and how many operations on files it took."""
    folder.mkdir(parents=True)
    started = time.monotonic()
    process = _start(scenario, folder)
    code, said = _wait(process, folder)
    assert code == 0, said
    seconds = time.monotonic() - started
    return seconds, int(_report(folder).read_text())


def _start(scenario: Scenario, folder: Path, at: int = 0, number: int = 0) -> subprocess.Popen[bytes]:
    watched = [str(folder), str(at), str(int(number)), str(_report(folder))]
    command = [sys.executable, "-c", PROGRAM, *watched, *scenario.command(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MLRPL_TRACEBACK": "1"}
    with _log(folder).open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment)


def _wait(process: subprocess.Popen[bytes], folder: Path) -> tuple[int, str]:
    return process.wait(timeout=300), _log(folder).read_text(errors="replace")


def _log(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.log")


def _report(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.count")


def _survivors(sessions: Sequence[int]) -> int:
    """How many processes of these sessions are still there after a while; ends them."""
    deadline = time.monotonic() + ORPHANS_END_WITHIN
    while (left := _members(sessions)) and time.monotonic() < deadline:
        time.sleep(0.2)
    for process in left:
        os.kill(process, signal.SIGKILL)
    return len(left)


def _members(sessions: Sequence[int]) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(session) in sessions and state != "Z":
            found.append(int(entry.name))
    return found


# What is killed


def scenarios(place: Path) -> list[Scenario]:
    """Everything that writes more than one file, on small data made at `place`."""
    data, backbone = small.write_prepared(place / "data", images=150), small.write_backbone(place / "clip.safetensors")
    settings = {**small.OPTIONS, "backbone": backbone}
    return [
        _prepare(place),
        _train("train with a bank", data, {**settings, "epochs": 4, "views": 2}),
        _train("train without a bank", data, {**settings, "epochs": 3, "views": 0, "workers": 1}),
        _sweep(data, {**settings, "epochs": 2}),
    ]


def _prepare(place: Path) -> Scenario:
    """Scenes rendered by several processes, in place of nothing or of another prepared folder."""
    old = small.write_prepared(place / "old")
    known = {_tree(old)}

    def command(folder: Path) -> list[str]:
        rendered = ["--train-images", "56", "--test-images", "16"]
        return ["prepare", "--keep", "0.5", "--out", str(folder / "prepared"), *rendered]

    def begin(folder: Path, chance: random.Random) -> None:
        if chance.random() < 0.5:
            shutil.copytree(old, folder / "prepared")

    def check(folder: Path) -> int | None:
        """1 when something whole is there."""
        if not (folder / "prepared").exists():
            return None
        read_prepared(folder / "prepared")
        if len(known) > 1 and _tree(folder / "prepared") not in known:
            raise LostWorkError("the prepared folder is neither the old nor the new one")
        return 1

    def result(folder: Path) -> str:
        known.add(_tree(folder / "prepared"))
        return _tree(folder / "prepared")

    return Scenario("prepare", command, check, result, begin)


def _train(name: str, data: Path, settings: dict[str, Any]) -> Scenario:
    def command(folder: Path) -> list[str]:
        run = folder / "run"
        if (run / "config.yaml").exists():
            return ["train", "--resume", "--run", str(run)]
        return ["train", "--data", str(data), "--run", str(run), *_set({**settings, "bank": folder / "bank"})]

    def check(folder: Path) -> int | None:
        run = folder / "run"
        read_log(run)
        epochs = [
            load_checkpoint(run, which).info.epoch for which in (BEST, LAST) if checkpoint_path(run, which).exists()
        ]
        return epochs[-1] if checkpoint_path(run, LAST).exists() else None

    def result(folder: Path) -> list[Any]:
        run = folder / "run"
        events = sorted(path.name.rpartition(".epoch")[2] for path in (run / "tensorboard").iterdir())
        return [_bits(run, LAST), _bits(run, BEST), _timeless(read_log(run)), events, _names(folder)]

    return Scenario(name, command, check, result)


def _sweep(data: Path, settings: dict[str, Any]) -> Scenario:
    def command(folder: Path) -> list[str]:
        asked = ["--methods", "linear,sarl", "--keep", "0.7", "--seeds", "0,1", "--no-tune", "--jobs", "2"]
        bank = {**settings, "bank": folder / "bank"}
        return ["sweep", "--data", str(data), "--out", str(folder / "out"), *asked, *_set(bank)]

    def check(folder: Path) -> int:
        rows = read_results(folder / "out" / RESULTS)
        for row in rows:
            read_scores(folder / "out", row["key"])
        return len(rows)

    def result(folder: Path) -> list[Any]:
        out = folder / "out"
        rows = sorted(_timeless(read_results(out / RESULTS)), key=lambda row: row["key"])
        return [rows, [read_scores(out, row["key"]).tobytes() for row in rows], _names(folder)]

    return Scenario("sweep", command, check, result)


def _set(settings: dict[str, Any]) -> list[str]:
    return [f"--set={key}={value}" for key, value in settings.items()]


def _bits(run: Path, which: str) -> dict[str, Any]:
    checkpoint = load_checkpoint(run, which)
    tensors = {name: tensor.view(torch.uint8).numpy().tobytes() if tensor.ndim else tensor.item()
               for name, tensor in checkpoint.tensors.items()}  # fmt: skip
    return {"info": checkpoint.info, **tensors}


def _timeless(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if "second" not in name and name != "config"} for row in rows]


def _names(folder: Path) -> list[str]:
    """What there is, shards aside: which views share one depends on where a run was stopped."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in files if path.parts[0] != "bank" and "events.out" not in path.name)


def _tree(folder: Path) -> str:
    """A digest of the names and bytes of all files below `folder`."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def run(kills: int, seed: int, only: Sequence[str] = ()) -> dict[str, Tally]:
    """Share `kills` among the scenarios and torment each; the names of those tormented → what was seen."""
    with tempfile.TemporaryDirectory(prefix="mlrpl-kills-") as temporary:
        place = Path(temporary)
        chosen = [scenario for scenario in scenarios(place) if not only or scenario.name in only]
        shares = [kills // len(chosen) + (number < kills % len(chosen)) for number in range(len(chosen))]
        return {
            scenario.name: torment(scenario, share, seed, place / f"work-{number}")
            for number, (scenario, share) in enumerate(zip(chosen, shares, strict=True))
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="names of scenarios, separated by commas")
    arguments = parser.parse_args()
    tallies = run(arguments.kills, arguments.seed, [name for name in arguments.only.split(",") if name])
    for name, tally in tallies.items():
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(tally.kills.items()))
        print(f"{name}: {tally.total} kills ({kinds}), {tally.ends} runs gone on with, {len(tally.problems)} problems")
        print(*(f"  {json.dumps(problem)}" for problem in tally.problems), sep="\n", end="\n" if tally.problems else "")
    total, problems = sum(tally.total for tally in tallies.values()), sum(len(t.problems) for t in tallies.values())
    print(f"{total} kills, {problems} problems")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
