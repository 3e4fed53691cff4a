"""Disks that are full, read-only, gone or wrong by a bit: one clear line, and what was there before stays."""

from __future__ import annotations

import csv
import json
import os
import random
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mlrpl_cli.app import main
from mlrpl_cli.core.config import BEST, FLOAT16, LAST, make_config
from mlrpl_cli.core.features.cache import CACHE, FeatureCache
from mlrpl_cli.core.io.errors import DataError, RunError
from mlrpl_cli.core.io.files import TEMPORARY_PREFIX
from mlrpl_cli.core.io.tensorfiles import SUFFIX, open_tensors
from mlrpl_cli.core.runs.checkpoint import load_checkpoint, save_checkpoint
from mlrpl_cli.core.runs.folder import DECISIONS, HELD_OUT, checkpoint_path
from mlrpl_cli.core.runs.options import resume_config
from mlrpl_cli.core.sweep.results import RESULTS, SCORES, read_results
from mlrpl_cli.core.training.train import train
from tests import small, warm

SMALL = (
    "--data=data", "--backbone=clip.safetensors",
    f"--image-size={small.SIZE}", "--batch-size=8", "--epochs=2", "--workers=0", "--device=cpu",
    "--set=attention_width=8",
)  # fmt: skip
SMALL_SWEEP = (
    "--data=data", "--set=backbone=clip.safetensors",
    f"--set=image_size={small.SIZE}", "--set=batch_size=8", "--set=epochs=2", "--set=workers=0", "--device=cpu",
    "--set=attention_width=8", "--methods=linear", "--keep=0.7", "--seeds=0", "--no-tune",
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with prepared data and a backbone."""
    monkeypatch.chdir(tmp_path)
    small.write_prepared(tmp_path / "data")
    small.write_backbone(tmp_path / "clip.safetensors")
    return tmp_path


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data, a backbone, a table and a trained run, which know each other by relative paths."""
    folder = tmp_path_factory.mktemp("original")
    small.write_prepared(folder / "data")
    small.write_backbone(folder / "clip.safetensors")
    with (folder / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["image", "a"], *([f"images/{n:03d}.png", n % 2] for n in range(36))])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with pytest.raises(SystemExit) as ended:
            main(["train", *SMALL, "--run=trained"])
        assert not ended.value.code
    for which in (BEST, LAST):
        path = checkpoint_path(folder / "trained", which)
        checkpoint = load_checkpoint(folder / "trained", which)
        save_checkpoint(replace(checkpoint, info=replace(checkpoint.info, data="data")), path)
    for name in (DECISIONS, HELD_OUT):  # they are of the checkpoints as they were
        (folder / "trained" / name).unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with pytest.raises(SystemExit) as ended:
            main(["check", "data", "--run=trained", "--workers=0"])  # the run keeps the scores that it is made of
        assert not ended.value.code
    return folder


def commands(to: str) -> dict[str, list[str]]:
    """Every command that writes, into the folder `to`."""
    table = ["--dataset=table", "--root=labels.csv", "--images=data"]
    return {
        "prepare": ["prepare", *table, f"--out={to}/prepared"],
        "prepare scenes": ["prepare", "--train-images=4", "--test-images=2", f"--out={to}/scenes"],
        "train": ["train", *SMALL, f"--run={to}/run", f"--set=cache={to}/b"],
        "train without a cache": ["train", *SMALL, f"--run={to}/run", "--set=views=0"],
        "eval": ["eval", "--run=trained", "--workers=0", f"--csv={to}/figures.csv"],
        "export-labels": ["export-labels", "--data=data", "--format=coco", f"--out={to}/labels"],
        "export-labels of a run": ["export-labels", "--run=trained", "--format=long", f"--out={to}/labels.csv"],
        "export": ["export", "trained", "--format=torch", f"--out={to}/model.pt2"],
        "complete": ["complete", "data", "--run=trained", "--workers=0", "--precision=0.5", f"--out={to}/labels.csv"],
        "check": ["check", "data", "--run=trained", "--workers=0", f"--csv={to}/ranked.csv"],
        "visualize": ["visualize", "--run=trained", "--workers=0", f"--out={to}/figures"],
        "report": ["report", "trained", "--workers=0", f"--out={to}/report.html"],
        "sweep": ["sweep", *SMALL_SWEEP, f"--out={to}/sweep", f"--set=cache={to}/b"],
    }  # fmt: skip


NAMES = list(commands(""))


@pytest.fixture
def ready(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a copy of the original."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: what a full disk does, file by file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small file system in memory, where this user may mount one."""
    folder.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command here")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False, capture_output=True)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.decode()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def assert_one_line(outcome, *parts: str) -> None:
    """Exit code 1 and one line that begins as errors do, whatever progress there was before."""
    lines = [line for line in outcome.err.splitlines() if line.startswith("mlrpl:")]
    assert outcome.code == 1
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("mlrpl: error: ")
    assert "Traceback" not in outcome.err
    assert [part for part in parts if part not in lines[0]] == []


def bytes_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def left_over(folder: Path) -> list[Path]:
    return list(folder.rglob(f"{TEMPORARY_PREFIX}*"))


@pytest.mark.parametrize(
    ("name", "size"),
    [*((name, size) for name in NAMES for size in (0, 100)), ("train", 3000), ("train without a cache", 3000)],
)
def test_a_file_that_cannot_grow_is_told_in_one_line_and_leaves_nothing_half_written(
    name, size, ready, mlrpl, sweep_here
):
    command = commands("out")[name]
    with largest_file(size):
        outcome = mlrpl(*command)
    assert_one_line(outcome, "File too large", "out")
    assert left_over(ready) == []
    begun = name.startswith("train") and (ready / "out/run/config.yaml").exists()
    assert mlrpl(*(["train", "--resume", "--run=out/run"] if begun else command)).code == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_is_told_in_one_line_and_leaves_nothing_half_written(name, ready, mlrpl):
    with mounted(ready / "out", "size=16k") as full:
        (full / "before.txt").write_bytes(bytes(16 * 1024))
        assert_one_line(mlrpl(*commands("out")[name]), "out")
        assert left_over(full) == []
        assert (full / "before.txt").read_bytes() == bytes(16 * 1024)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device here that is always full")
@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_an_output_that_takes_nothing_is_told_in_one_line(form, ready):
    """What is redirected to a file on a full disk."""
    done = warm.run(["predict", "data/images", "--run=trained", f"--format={form}"], stdout="/dev/full")
    assert done.code == 1
    assert [line for line in done.err.splitlines() if "No space left on device" in line] == [done.err.splitlines()[-1]]
    assert "Traceback" not in done.err
    assert "Exception ignored" not in done.err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "train without a cache", "sweep", "prepare scenes", "visualize"])
@pytest.mark.parametrize("pages", [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64])
def test_a_disk_that_fills_up_on_the_way_loses_nothing_and_the_command_goes_on_with_more_room(
    name, pages, ready, mlrpl
):
    with mounted(ready / "out", f"size={4 * pages}k") as disk:
        outcome = mlrpl(*commands("out")[name])
        if outcome.code:
            assert_one_line(outcome, "out")
            assert "No space left on device" in outcome.err or "and its disk has" in outcome.err
            assert left_over(disk) == []
        finished = {name: content for name, content in bytes_of(disk / "b").items() if name.endswith(SUFFIX)}
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        begun = name.startswith("train") and (disk / "run/config.yaml").exists()
        again = ["train", "--resume", "--run=out/run"] if begun else commands("out")[name]
        assert mlrpl(*again).code == 0
        assert finished.items() <= bytes_of(disk / "b").items()


@pytest.mark.parametrize("name", NAMES)
def test_a_read_only_output_is_told_before_any_work(name, ready, mlrpl):
    with mounted(ready / "out", "ro"):
        assert_one_line(mlrpl(*commands("out")[name]), "cannot write", "out", "Read-only file system")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write where it is not allowed to")
@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_may_not_be_written_to_is_told_before_any_work(name, ready, mlrpl):
    (ready / "out").mkdir(mode=0o555)
    assert_one_line(mlrpl(*commands("out")[name]), "cannot write", "out", "Permission denied")


class Vanishing(small.StopAt):
    """A Progress during which an image goes away."""

    def __init__(self, image: Path, task: str, step: int) -> None:
        super().__init__(step, task)
        self.image = image

    def reached(self) -> None:
        self.image.rename(self.image.with_name("elsewhere.png"))


WHEN = [
    (0, "training", 3),  # in the second of three epochs
    (2, "encoding", 0),  # before the files are hashed
    (2, "encoding training", 0),  # before they are decoded
]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("views", "task", "step"), WHEN)
def test_an_image_that_vanishes_while_it_is_needed_is_named_and_the_run_goes_on_when_it_is_back(
    views, task, step, workers, place, one_thread
):
    flags = {"data": "data", "backbone": "clip.safetensors", **small.OPTIONS, "epochs": 3, "views": views}
    config = make_config(flags={**flags, "run": "run", "cache": "cache", "workers": workers})
    image = place / "data/images/003.png"
    with pytest.raises(DataError, match=r"^cannot read .*003\.png: (there is no|No) such file") as caught:
        train(config, Vanishing(image, task, step))
    assert "\n" not in str(caught.value)
    assert (place / "run").exists() == checkpoint_path(place / "run", LAST).exists() == (task == "training")
    image.with_name("elsewhere.png").rename(image)
    begun = task == "training"
    train(resume_config(place / "run", None, {}) if begun else config, resume=begun)
    train(replace(config, run="whole", cache="other-cache"))
    left, right = (load_checkpoint(place / run, LAST) for run in ("run", "whole"))
    assert left.info.epoch == right.info.epoch == 3
    assert all(left.tensors[name].equal(right.tensors[name]) for name in right.tensors)


def test_images_that_are_gone_are_told_before_any_work(ready, mlrpl):
    shutil.rmtree(ready / "data/images")
    train = ("train", *SMALL)
    assert_one_line(mlrpl(*train, "--run=again"), "24 images are missing (images/000.png, ")
    assert_one_line(mlrpl("eval", "--run=trained", "--workers=0"), "6 images are missing")
    shutil.rmtree(ready / "data")
    for command in (train, ("eval", "--run=trained"), ("visualize", "--run=trained")):
        assert_one_line(mlrpl(*command), "data is not a prepared folder")
    assert mlrpl("predict", "clip.safetensors", "--run=trained").code == 4


def test_a_root_that_is_gone_is_told_in_one_line(place, mlrpl):
    for dataset in ("voc", "coco", "table"):
        assert_one_line(mlrpl("prepare", f"--dataset={dataset}", "--root=gone"), "gone")


@pytest.mark.parametrize("damage", ["a flipped bit", "missing bytes", "nothing left", "added bytes"])
def test_a_damaged_shard_is_named_and_rebuilt(damage, ready, mlrpl):
    shard = sorted((ready / CACHE).rglob("*.safetensors"))[0]
    before = shard.read_bytes()
    flipped = bytearray(before)
    flipped[-100] ^= 4
    wrong = {"missing bytes": before[:-1], "nothing left": b"", "added bytes": before + b"0"}
    shard.write_bytes(wrong.get(damage, bytes(flipped)))
    outcome = mlrpl("train", *SMALL, "--run=again")
    assert outcome.code == 0
    assert f"1 damaged ({shard.name}): encoding their images again" in outcome.err
    assert shard.read_bytes() == before
    left, right = (load_checkpoint(ready / run, LAST).tensors for run in ("trained", "again"))
    assert all(left[name].equal(right[name]) for name in left)


def test_a_checkpoint_with_any_bit_flipped_or_any_byte_missing_is_refused(ready):
    """Or, where the bit means nothing, it is the checkpoint that it was."""
    path, chance = checkpoint_path(ready / "trained", LAST), random.Random(0)
    before, whole = path.read_bytes(), load_checkpoint(ready / "trained", LAST)
    for _ in range(300):
        content = bytearray(before)
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content if chance.random() < 0.8 else before[: chance.randrange(len(before))])
        try:
            read = load_checkpoint(ready / "trained", LAST)
        except RunError:
            continue
        assert read.info == whole.info
        assert all(read.tensors[name].equal(whole.tensors[name]) for name in whole.tensors)


def test_a_shard_with_any_bit_flipped_or_any_byte_missing_counts_as_not_there(ready):
    shard, chance = sorted((ready / CACHE).rglob("*.safetensors"))[0], random.Random(0)
    before, keys = shard.read_bytes(), json.loads(open_tensors(shard).metadata["keys"])
    assert keys
    for number in range(300):
        content = bytearray(before)
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        shard.write_bytes(content if chance.random() < 0.8 else before[: chance.randrange(len(before))])
        os.utime(shard, ns=(0, number))  # a process looks again at a file of another time
        cache = FeatureCache(shard.parent, FLOAT16)
        assert cache.missing(keys) == keys
        assert cache.damaged == [shard]


def test_a_sweep_repeats_the_run_whose_scores_are_damaged(ready, mlrpl, sweep_here):
    command = commands("out")["sweep"]
    assert mlrpl(*command).code == 0
    (row,) = read_results(ready / "out/sweep" / RESULTS)
    scores = ready / "out/sweep" / SCORES / f"{row['key']}.safetensors"
    before = scores.read_bytes()
    scores.write_bytes(before[:-1])
    outcome = mlrpl(*command)
    assert (outcome.code, scores.read_bytes()) == (0, before)
    assert f"no scores are left of 1 run ({row['key']})" in outcome.err
    (again,) = read_results(ready / "out/sweep" / RESULTS)
    assert again["map"] == row["map"]
