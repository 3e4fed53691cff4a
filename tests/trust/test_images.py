"""`mlrpl predict` on a folder of everything: it ends, predicts what is an image, names the rest, within its memory."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlrpl_cli.core.config import make_config
from mlrpl_cli.core.images.decode import HEADER_BYTES, PEAK_BYTES
from mlrpl_cli.core.io.errors import csv_text, printable
from mlrpl_cli.core.training.train import train
from tests import small, warm
from tests.trust import corpus

MINUTES = 60
MEGABYTES = 1 << 20
SMALL_PEAK = 300 * MEGABYTES
"""What a few images of a few million pixels may take: a refused one takes nothing."""
# What the C library prints of damaged strips cannot be turned off from Python; it says no name.
LIBTIFF = re.compile(r"(TIFF|LZW|ZIP|Fax|Pixar)\w*: ")
# A process of its own, small when it starts the command: a child's peak counts from its parent's size.
MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
unit = 1 if sys.platform == "darwin" else 1024
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit))
sys.exit(code)
"""


@dataclass(frozen=True)
class Seen:
    """What a user sees of one `predict`, and the most memory it held, in bytes."""

    code: int
    out: str
    err: str
    peak: int


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    flags = {
        "data": str(small.write_prepared(folder / "prepared", images=12)),
        "backbone": str(small.write_backbone(folder / "clip.safetensors")),
        "run": str(folder / "run"),
        **small.OPTIONS,
        "epochs": 1,
    }
    return train(make_config(flags=flags)).run


@pytest.fixture(scope="module")
def baseline(run: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """The most memory that the command holds for one small image."""
    folder = tmp_path_factory.mktemp("baseline")
    (folder / "plain.png").write_bytes(corpus.encoded(corpus.COLOUR, "PNG"))
    return _predict(run, folder).peak


def _predict(run: Path, folder: Path, *options: str, minutes: int = 3) -> Seen:
    command = [sys.executable, "-m", "mlrpl_cli", "predict", str(folder), "--run", str(run), "--device", "cpu"]
    peak = run.parent / "peak"
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, peak, *command, "--format", "jsonl", *options],
        capture_output=True,
        timeout=minutes * MINUTES,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    return Seen(done.returncode, done.stdout.decode(), done.stderr.decode(), int(peak.read_text()))


def _readable(expected: corpus.Expected) -> set[Path]:
    return {path for path, reason in expected.items() if reason is None}


def _check_named(err: str, expected: corpus.Expected) -> None:
    """Every file that is no image has exactly one line, which says why; others are of progress or libtiff's own."""
    lines = [line for line in err.split("\n")[:-1] if not LIBTIFF.match(line) and not line.startswith("predicting: ")]
    wrong = []
    for path, reason in expected.items():
        start = f"mlrpl: error: cannot read {printable(path)}: "
        named = [line for line in lines if line.startswith(start)]
        if len(named) != (reason is not None) or not all(reason in line[len(start) :] for line in named):
            wrong.append((path.name, reason, named))
    assert wrong == []
    assert len(lines) == len(expected) - len(_readable(expected))
    assert "Traceback" not in err


def test_predict_on_everything_ends_predicts_the_images_and_names_the_rest(
    run: Path, baseline: int, tmp_path: Path
) -> None:
    expected = corpus.write_corpus(tmp_path / "corpus")
    seen = _predict(run, tmp_path / "corpus")
    _check_named(seen.err, expected)
    records = [json.loads(line) for line in seen.out.splitlines()]
    assert len(records) == len(expected)
    assert {Path(record["image"]) for record in records} == set(expected)
    predicted = [record for record in records if "classes" in record]
    assert {Path(record["image"]) for record in predicted} == _readable(expected)
    assert all(expected[Path(record["image"])] in record["error"] for record in records if "error" in record)
    assert seen.code == 1
    print(f"{len(expected)} files, {len(predicted)} images, {(seen.peak - baseline) / 1e6:.0f} MB")
    assert seen.peak < baseline + SMALL_PEAK


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 8])
def test_predict_on_bombs_stays_within_the_stated_memory(
    run: Path, baseline: int, tmp_path: Path, workers: int
) -> None:
    expected = corpus.write_bombs(tmp_path / "bombs")
    seen = _predict(run, tmp_path / "bombs", "--workers", str(workers), minutes=15)
    _check_named(seen.err, expected)
    records = [json.loads(line) for line in seen.out.splitlines()]
    assert {Path(record["image"]) for record in records if "classes" in record} == _readable(expected)
    promised = PEAK_BYTES + workers * HEADER_BYTES
    images = len(_readable(expected))
    print(f"{len(expected)} bombs, {images} images, {(seen.peak - baseline) / 1e6:.0f} of {promised / 1e6:.0f} MB")
    assert seen.peak < baseline + promised


@pytest.mark.parametrize("output", ["table", "json", "jsonl", "csv"])
def test_every_format_tells_every_name_without_a_character_that_steers(run: Path, tmp_path: Path, output: str) -> None:
    """JSON gives back the very bytes of a name, through the \\udcXX by which Python stands for a byte of no text."""
    expected = corpus.write_small_corpus(tmp_path / "corpus")
    arguments = ["predict", tmp_path / "corpus", "--run", run, "--format", output, "--top-k", 1]
    seen = warm.run(arguments)
    _check_named(seen.err, expected)
    assert all(character.isprintable() or character == "\n" for character in seen.out + seen.err)
    names = {os.fsencode(path) for path in expected}
    if output == "json":
        assert {os.fsencode(record["image"]) for record in json.loads(seen.out)} == names
    elif output == "jsonl":
        assert {os.fsencode(json.loads(line)["image"]) for line in seen.out.splitlines()} == names
    elif output == "csv":
        rows = list(csv.reader(seen.out.splitlines()))[1:]
        assert {row[0] for row in rows} == {csv_text(path) for path in expected}
        assert {row[0] for row in rows if not row[4]} == {csv_text(path) for path in _readable(expected)}
        assert all(len(row) == 8 and (row[4] or float(row[2]) >= 0) for row in rows)


def test_csv_shows_no_formula_for_names_given_from_the_folder_itself(run: Path, tmp_path: Path) -> None:
    for name in ("=1+1.png", "@SUM(1).png", "-1.png", " +1.png"):
        (tmp_path / name).write_bytes(corpus.encoded(corpus.COLOUR, "PNG"))
    names = "=1+1.png\n@SUM(1).png\n-1.png\n +1.png\n"
    arguments = ["predict", "-", "--run", run, "--format", "csv", "--top-k", 1]
    done = warm.run(arguments, said=names, folder=tmp_path)
    assert done.code == 0, done.err
    shown = [row[0] for row in csv.reader(done.out.splitlines())][1:]
    assert shown == ["'=1+1.png", "'@SUM(1).png", "'-1.png", "' +1.png"]


def test_names_on_standard_input_may_be_of_bytes_that_are_no_text(run: Path, tmp_path: Path) -> None:
    name = b"latin-1 \xe9.png"
    (tmp_path / os.fsdecode(name)).write_bytes(corpus.encoded(corpus.COLOUR, "PNG"))
    command = [sys.executable, "-m", "mlrpl_cli", "predict", "-", "--run", str(run), "--format", "jsonl"]
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command, cwd=tmp_path, input=name, capture_output=True, check=True, env=environment)
    assert os.fsencode(json.loads(done.stdout)["image"]) == name
