"""Kill what writes files at random moments, go on, and compare with a run that nobody disturbed.

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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mlrpl_cli.core.config import BEST, LAST, TrainConfig
from mlrpl_cli.core.export.labels import export_labels
from mlrpl_cli.core.export.options import ExportOptions
from mlrpl_cli.core.io.errors import MlrplError
from mlrpl_cli.core.io.files import REPLACED_PREFIX, TEMPORARY_PREFIX
from mlrpl_cli.core.io.tensorfiles import SUFFIX
from mlrpl_cli.core.prepared.folder import read_prepared
from mlrpl_cli.core.runs.checkpoint import load_checkpoint
from mlrpl_cli.core.runs.folder import DECISIONS, HELD_OUT, checkpoint_path, read_log
from mlrpl_cli.core.sweep.results import RESULTS, read_results, read_scores
from mlrpl_cli.core.training.train import train
from tests import small, warm

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MOST_KILLS_OF_A_COMMAND = 4
ORPHANS_END_WITHIN = 15
"""Seconds; PyTorch's own loaders look every five whether their parent is there."""

# Runs the command line; before the n-th operation on a file below a folder, or with the file open, signals itself and,
# unless it is SIGKILL, all that it started.
PROGRAM = """
import builtins, io, itertools, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background starts without it
below, at, number, report = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
operations = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "shutil.rmtree"}
numbers, plain_open = itertools.count(1), io.open

def moment():
    if next(numbers) == at:  # at once: threads come here, too
        os.kill(os.getpid(), number) if number == signal.SIGKILL else os.killpg(0, number)

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
        stream.write(str(next(numbers) - 1))
"""


class LostWorkError(Exception):
    """Finished work is not there any more, or is not what it was."""


Started = subprocess.Popen[bytes] | warm.Process
Start = Callable[[list[str], Path], Started]
"""Begins PROGRAM with arguments in a session of its own; both its streams go to a file."""


def start_anew(arguments: list[str], log: Path) -> Started:
    """As a user's shell does."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MLRPL_TRACEBACK": "1"}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    with log.open("wb") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True, env=environment)


def start_warm(arguments: list[str], log: Path) -> Started:
    """With everything imported, so that only what the command does takes time."""
    return warm.start(arguments, code=PROGRAM, stdout=log, stderr=log, MLRPL_TRACEBACK="1")


State = dict[str, Any]
"""What is finished, by name: a digest of it, which must not change, or a number, which must not fall."""


@dataclass(frozen=True)
class Scenario:
    """A command that is killed, and what has to hold."""

    name: str
    command: Callable[[Path], list[str]]
    """The arguments to start or to go on with, given the folder that the command writes below."""
    finished: Callable[[Path], State]
    """What of the work is finished. Raises LostWorkError or MlrplError when something there is not whole."""
    result: Callable[[Path], Any]
    """After the end: what must equal that of the undisturbed run."""
    begin: Callable[[Path, random.Random], None] = lambda folder, chance: None
    """Puts into the folder what stands there before."""


@dataclass(frozen=True)
class Strike:
    """When a run is killed, and by what."""

    number: signal.Signals
    share: float
    """Of the operations on files, or of the seconds, that the undisturbed run took."""
    by_time: bool = False


@dataclass
class Tally:
    """What was seen of one scenario."""

    kills: Counter[str] = field(default_factory=Counter)
    ends: int = 0
    problems: list[str] = field(default_factory=list)
    finished: list[State] = field(default_factory=list)
    """What was found after each kill."""

    @property
    def total(self) -> int:
        return sum(self.kills.values())


def random_strikes(scenario: Scenario, seed: int) -> Iterator[list[Strike]]:
    """Some for one run, some for the next, without end."""
    chance = random.Random(f"{scenario.name} {seed}")
    while True:
        yield [
            Strike(chance.choice(SIGNALS), chance.random(), by_time=chance.random() < 0.5)
            for _ in range(chance.randint(1, MOST_KILLS_OF_A_COMMAND))
        ]


def torment(
    scenario: Scenario, strikes: Iterator[list[Strike]], kills: int, place: Path, start: Start = start_anew
) -> Tally:
    """Kill the scenario's command `kills` times, over as many runs as that takes."""
    chance, tally = random.Random(scenario.name), Tally()
    seconds, operations = _undisturbed(scenario, place / "whole", start, chance)
    expected = scenario.result(place / "whole")
    while tally.total < kills and (struck := next(strikes, None)):
        folder = place / f"{tally.ends:03d}"
        folder.mkdir()
        scenario.begin(folder, chance)
        sessions: list[int] = []
        try:
            for strike in struck[: kills - tally.total]:
                _kill(scenario, folder, strike, tally, seconds, operations, sessions, start)
            _go_on(scenario, folder, start)
            if scenario.result(folder) != expected:
                raise LostWorkError("another result than the undisturbed run's")
            if left := [
                path for path in folder.rglob("*") if path.name.startswith((TEMPORARY_PREFIX, REPLACED_PREFIX))
            ]:
                raise LostWorkError(f"{left[0]} was left behind")
        except (LostWorkError, MlrplError) as error:
            tally.problems.append(f"{scenario.name}, {folder.name}: {error}")
        if count := _survivors(sessions):
            tally.problems.append(f"{scenario.name}, {folder.name}: {count} processes outlived a kill")
        tally.ends += 1
        shutil.rmtree(folder)
    return tally


def _kill(
    scenario: Scenario,
    folder: Path,
    strike: Strike,
    tally: Tally,
    seconds: float,
    operations: int,
    sessions: list[int],
    start: Start,
) -> None:
    """Start or go on, kill, and compare what is finished with what was before. Nothing when it ends before."""
    before = scenario.finished(folder)
    at = 0 if strike.by_time else 1 + int(strike.share * operations)
    process = _start(scenario, folder, start, at, strike.number)
    sessions.append(process.pid)
    if strike.by_time:
        time.sleep(strike.share * seconds)
        (os.kill if strike.number == signal.SIGKILL else os.killpg)(process.pid, strike.number)
    code, said = _wait(process, folder)
    if code == 0:
        return
    tally.kills[strike.number.name] += 1
    if code not in (-strike.number, 130):
        raise LostWorkError(f"exit code {code} after {strike.number.name}: {said[-2000:]}")
    _check_words(said)
    after = scenario.finished(folder)
    tally.finished.append(after)
    for name, value in before.items():
        now = after.get(name)
        if now is None or (now < value if isinstance(value, int) else now != value):
            raise LostWorkError(f"{name} was {value} before a {strike.number.name}, and is {now} now")


def _go_on(scenario: Scenario, folder: Path, start: Start) -> None:
    code, said = _wait(_start(scenario, folder, start), folder)
    if code:
        raise LostWorkError(f"going on ended with exit code {code}: {said[-2000:]}")
    _check_words(said)


def _check_words(said: str) -> None:
    if "Traceback" in said or "Exception ignored" in said or "bug in mlrpl" in said:
        raise LostWorkError(f"a traceback was shown: {said[-2000:]}")


def _undisturbed(scenario: Scenario, folder: Path, start: Start, chance: random.Random) -> tuple[float, int]:
    """Run the command whole; how many seconds and how many operations on files it took."""
    folder.mkdir(parents=True)
    scenario.begin(folder, chance)
    started = time.monotonic()
    process = _start(scenario, folder, start)
    code, said = _wait(process, folder)
    assert code == 0, said
    seconds = time.monotonic() - started
    return seconds, int(_report(folder).read_text())


def _start(scenario: Scenario, folder: Path, start: Start, at: int = 0, number: int = 0) -> Started:
    watched = [str(folder), str(at), str(int(number)), str(_report(folder))]
    _log(folder).unlink(missing_ok=True)
    return start([*watched, *scenario.command(folder)], _log(folder))


def _wait(process: Started, folder: Path) -> tuple[int, str]:
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


def scenarios(place: Path, images: int = 150) -> list[Scenario]:
    """Everything that writes a folder or files that took long, on small data of so many images made at `place`."""
    data, backbone = small.write_prepared(place / "data", images), small.write_backbone(place / "clip.safetensors")
    settings = {**small.OPTIONS, "backbone": backbone}
    return [
        _prepare(place),
        _export(data, place),
        *_curation(place),
        _page(place),
        _model(place),
        _train("train with a cache", data, {**settings, "epochs": 4, "views": 2}),
        _train("train without a cache", data, {**settings, "epochs": 3, "views": 0, "workers": 2}),
        _train("cross-validation", small.write_folds(place / "folded", images // 2), {**settings, "epochs": 2}),
        _sweep("sweep", data, {**settings, "epochs": 2}),
        _sweep("sweep over folds", data, {**settings, "epochs": 2}, _turns(place, images)),
    ]


def _prepare(place: Path) -> Scenario:
    """Scenes rendered by several processes, in place of nothing or of another prepared folder."""
    old = small.write_prepared(place / "old")
    known = [_tree(old)]

    def command(folder: Path) -> list[str]:
        rendered = ["--train-images", "56", "--test-images", "16"]
        return ["prepare", "--keep", "0.5", "--replace", "--out", str(folder / "prepared"), *rendered]

    def begin(folder: Path, chance: random.Random) -> None:
        if chance.random() < 0.5:
            shutil.copytree(old, folder / "prepared")

    def finished(folder: Path) -> State:
        """0 for the old folder, 1 for the new one."""
        if not (folder / "prepared").exists():
            return {}
        read_prepared(folder / "prepared")
        tree = _tree(folder / "prepared")
        if tree not in known:
            raise LostWorkError("the prepared folder is neither the old nor the new one")
        return {"prepared": known.index(tree)}

    def result(folder: Path) -> str:
        tree = _tree(folder / "prepared")
        if tree not in known:
            known.append(tree)
        return tree

    return Scenario("prepare", command, finished, result, begin)


def _export(data: Path, place: Path) -> Scenario:
    """A label file a split, in place of nothing or of those of another prepared folder."""
    old = place / "old-labels"
    options = ExportOptions(format="coco", data=small.write_prepared(place / "other", 12), out=old)
    known = [_tree(export_labels(options).path)]

    def command(folder: Path) -> list[str]:
        out = str(folder / "labels")
        return ["export-labels", "--data", str(data), "--format", "coco", "--out", out, "--overwrite"]

    def begin(folder: Path, chance: random.Random) -> None:
        if chance.random() < 0.5:
            shutil.copytree(old, folder / "labels")

    def finished(folder: Path) -> State:
        """0 for the old files, 1 for the new ones."""
        if not (folder / "labels").exists():
            return {}
        if (tree := _tree(folder / "labels")) not in known:
            raise LostWorkError("the labels are neither the old nor the new ones")
        return {"labels": known.index(tree)}

    def result(folder: Path) -> str:
        if (tree := _tree(folder / "labels")) not in known:
            known.append(tree)
        return tree

    return Scenario("export-labels", command, finished, result, begin)


CURATION = {
    "complete": ["--precision", "0.6", "--confidence", "0.7", "--out", "labels.csv"],
    "suggest": ["--budget", "5", "--out", "asked.csv"],
    "check": ["--drop", "--out", "better.csv", "--csv", "ranked.csv"],
}
"""What each is asked for, its files by their names in a folder."""


def _curation(place: Path) -> list[Scenario]:
    """What makes other labels, each file in place of nothing or of one of before; the run keeps scores of the cells."""
    made = small.write_training(place / "curated", epochs=1) | {
        "method": "linear",
        "cache": str(place / "curated-cache"),
    }
    run = train(TrainConfig(**made)).run
    return [_curate(name, Path(made["data"]), run) for name in CURATION]


def _curate(name: str, data: Path, run: Path) -> Scenario:
    whole = dict[str, str]()  # the digest of each file of the undisturbed command

    def command(folder: Path) -> list[str]:
        asked = [str(folder / word) if word.endswith(".csv") else word for word in CURATION[name]]
        return [
            name,
            str(data),
            "--run",
            str(folder / "run"),
            "--device",
            "cpu",
            "--workers",
            "0",
            "--overwrite",
            *asked,
        ]

    def begin(folder: Path, chance: random.Random) -> None:
        shutil.copytree(run, folder / "run")
        if chance.random() < 0.5:
            for word in CURATION[name]:
                if word.endswith(".csv"):
                    (folder / word).write_text("before")

    def files(folder: Path) -> dict[str, str]:
        found = [*folder.glob("*.csv"), *folder.glob("run/cross_fitted*")]
        return {str(path.relative_to(folder)): _digest(path.read_bytes()) for path in found}

    def finished(folder: Path) -> State:
        """0 for a file of before, 1 for the new one."""
        known = {file: [_digest(b"before"), digest] for file, digest in whole.items()}
        found = files(folder)
        if odd := [file for file, digest in found.items() if digest not in known[file]]:
            raise LostWorkError(f"{odd[0]} is neither the old nor the new one")
        return {file: known[file].index(digest) for file, digest in found.items()}

    def result(folder: Path) -> dict[str, str]:
        whole.update(whole or files(folder))
        return files(folder)

    return Scenario(name, command, finished, result, begin)


def _page(place: Path) -> Scenario:
    """The page of a small run."""
    run = train(TrainConfig(**small.write_training(place / "reported", epochs=1) | {"method": "linear"})).run
    return _one_file("report", [str(run), "--device", "cpu", "--workers", "0"], "page.html")


def _model(place: Path) -> Scenario:
    """The model file of a small run."""
    run = train(TrainConfig(**small.write_training(place / "exported", epochs=1) | {"method": "linear"})).run
    return _one_file("export", [str(run)], "model.onnx")


def _one_file(command_name: str, asked: list[str], name: str) -> Scenario:
    """What a command writes with --out, in place of nothing or of a file of somebody else."""
    whole = list[str]()

    def command(folder: Path) -> list[str]:
        return [command_name, *asked, "--out", str(folder / name), "--overwrite"]

    def begin(folder: Path, chance: random.Random) -> None:
        if chance.random() < 0.5:
            (folder / name).write_text("before")

    def finished(folder: Path) -> State:
        """0 for the file of before, 1 for the new one."""
        if not (folder / name).exists():
            return {}
        known = [_digest(b"before"), *whole]
        if (found := _digest((folder / name).read_bytes())) not in known:
            raise LostWorkError(f"{name} is neither the old file nor the new one")
        return {name: known.index(found)}

    def result(folder: Path) -> str:
        digest = _digest((folder / name).read_bytes())
        whole[:] = whole or [digest]
        return digest

    return Scenario(command_name, command, finished, result, begin)


def _train(name: str, data: Path, settings: dict[str, Any]) -> Scenario:
    def command(folder: Path) -> list[str]:
        run = folder / "run"
        if (run / "config.yaml").exists() and name != "cross-validation":  # that goes on by the command itself
            return ["train", "--resume", "--run", str(run)]
        return ["train", "--data", str(data), "--run", str(run), *_set({**settings, "cache": folder / "cache"})]

    def finished(folder: Path) -> State:
        run = folder / "run"
        found: State = {
            which: load_checkpoint(run, which).info.epoch
            for which in (BEST, LAST)
            if checkpoint_path(run, which).exists()
        }
        # An epoch whose checkpoint is not there yet is trained again, and told again.
        rows = [row for row in _timeless(read_log(run)) if row["epoch"] <= found.get(LAST, 0)]
        return found | {f"epoch {row['epoch']}": str(row) for row in rows} | _shards(folder, "cache", "run/folds")

    def result(folder: Path) -> list[Any]:
        run = folder / "run"
        events = sorted(path.name.rpartition(".epoch")[2] for path in (run / "tensorboard").iterdir())
        folds = [path.read_bytes() for path in sorted(run.glob("folds/*")) + sorted(run.glob("out_of_fold.json"))]
        decided = [(run / name).read_bytes() for name in (HELD_OUT, DECISIONS)]
        return [_bits(run, LAST), _bits(run, BEST), _timeless(read_log(run)), events, folds, decided, _names(folder)]

    return Scenario(name, command, finished, result)


def _turns(place: Path, images: int) -> list[str]:
    """What asks for two folds."""
    rows = "".join(f"{row:03d},{row % 2}\n" for row in range(images))
    (place / "folds.csv").write_text(f"image,fold\n{rows}")
    return ["--folds", str(place / "folds.csv")]


def _sweep(name: str, data: Path, settings: dict[str, Any], more: Sequence[str] = ()) -> Scenario:
    def command(folder: Path) -> list[str]:
        asked = ["--methods", "linear,sarl", "--keep", "0.7", "--seeds", "0,1", "--no-tune", "--jobs", "2", *more]
        cache = {**settings, "cache": folder / "cache"}
        return ["sweep", "--data", str(data), "--out", str(folder / "out"), *asked, *_set(cache)]

    def finished(folder: Path) -> State:
        out = folder / "out"
        rows = read_results(out / RESULTS)
        if len({row["key"] for row in rows}) < len(rows):
            raise LostWorkError("a row is there twice")
        found: State = {f"row {row['key']}": str(row) for row in rows}
        scores = {f"scores {row['key']}": _digest(read_scores(out, row["key"]).tobytes()) for row in rows}
        return found | scores | _shards(folder)

    def result(folder: Path) -> list[Any]:
        out = folder / "out"
        rows = sorted(_timeless(read_results(out / RESULTS)), key=lambda row: row["key"])
        return [rows, [read_scores(out, row["key"]).tobytes() for row in rows], _names(folder)]

    return Scenario(name, command, finished, result)


def _shards(folder: Path, *places: str) -> State:
    """Every shard of the cache, and every file like one in other places."""
    found = (path for place in places or ("cache",) for path in (folder / place).rglob(f"*{SUFFIX}"))
    paths = (path for path in found if TEMPORARY_PREFIX not in str(path))
    return {str(path.relative_to(folder)): _digest(path.read_bytes()) for path in paths}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


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
    return sorted(str(path) for path in files if path.parts[0] != "cache" and "events.out" not in path.name)


def _tree(folder: Path) -> str:
    """A digest of the names and bytes of all files below `folder`."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)} {_digest(path.read_bytes())}\n".encode())
    return digest.hexdigest()


def run(kills: int, seed: int, only: Sequence[str] = ()) -> dict[str, Tally]:
    """Share `kills` among the scenarios and torment each; the names of those tormented → what was seen."""
    with tempfile.TemporaryDirectory(prefix="mlrpl-kills-") as temporary:
        place = Path(temporary)
        chosen = [scenario for scenario in scenarios(place) if not only or scenario.name in only]
        shares = [kills // len(chosen) + (number < kills % len(chosen)) for number in range(len(chosen))]
        tallies = {}
        for number, (scenario, share) in enumerate(zip(chosen, shares, strict=True)):
            tally = torment(scenario, random_strikes(scenario, seed), share, place / f"work-{number}")
            tallies[scenario.name] = tally
            _tell(scenario.name, tally)
        return tallies


def _tell(name: str, tally: Tally) -> None:
    """Print what was seen, at once: a long run that is stopped has said what it came to until then."""
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(tally.kills.items()))
    ends = f"{tally.ends} runs gone on with, {len(tally.problems)} problems"
    print(f"{name}: {tally.total} kills ({kinds}), {ends}", *map(json.dumps, tally.problems), sep="\n  ", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="names of scenarios, separated by commas")
    arguments = parser.parse_args()
    tallies = run(arguments.kills, arguments.seed, [name for name in arguments.only.split(",") if name])
    total, problems = sum(tally.total for tally in tallies.values()), sum(len(t.problems) for t in tallies.values())
    print(f"{total} kills, {problems} problems")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
