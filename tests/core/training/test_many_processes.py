"""Training and evaluation by several gloo processes, against one process: equal up to the rounding of sums."""

import json
import os
import shutil
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from mlrpl_cli.core.config import make_config
from mlrpl_cli.core.evaluation.evaluate import evaluate
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.io.tensorfiles import open_tensors
from mlrpl_cli.core.runs.checkpoint import load_checkpoint
from mlrpl_cli.core.runs.folder import read_log
from mlrpl_cli.core.training.train import train
from tests import small, warm

# What mlrpl's command line does, by a process that ends itself, or raises an error, at a step of the training.
ENDING = """
import os, signal
from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.training.loop import Trainer
step, left = Trainer._step, [4]
def ending(self, *batch):
    left[0] -= 1
    if left[0] == 0 and os.environ["RANK"] == os.environ["ENDING"]:
        if os.environ["HOW"] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RunError("a reason of its own")
    return step(self, *batch)
Trainer._step = ending
from mlrpl_cli.__main__ import main
main()
"""


def launch(ranks: Sequence[Sequence[str]], code: str = warm.COMMAND_LINE, errors: Path | None = None, **environment):
    """Start a process for each list of arguments, told its rank as a cluster's scheduler does; their exit codes."""
    with socket.create_server(("localhost", 0)) as server:
        port = str(server.getsockname()[1])
    place = {"WORLD_SIZE": str(len(ranks)), "MASTER_ADDR": "localhost", "MASTER_PORT": port, **environment}
    started = [
        warm.start(
            arguments, code=code, stderr=errors / str(rank) if errors else os.devnull,
            stdout=errors / f"out{rank}" if errors else os.devnull,
            RANK=str(rank), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(len(ranks)), **place,
        )
        for rank, arguments in enumerate(ranks)
    ]  # fmt: skip
    return [process.wait(100) for process in started]


def command(flags: dict, run: Path, **other: object) -> list[str]:
    return ["train", f"--run={run}", *(f"--set={key}={value}" for key, value in {**flags, **other}.items())]


@pytest.fixture
def flags(tmp_path) -> dict:
    """Three epochs of four steps on 24 training images: batches of 7, the last one of 3."""
    flags = {**small.write_training(tmp_path, epochs=3), "batch_size": 7, "method": "sarl"}
    return {name: value for name, value in flags.items() if name != "run"}


def tensors(run: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(run, "last").tensors


def assert_close(left: Path, right: Path) -> None:
    """The same log and what is learned, up to the rounding of sums, which AdamW enlarges."""
    for one, other in zip(read_log(left), read_log(right), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], abs=1e-5)
        assert other["map"] == pytest.approx(one["map"], abs=1e-5)
    ours, theirs = tensors(left), tensors(right)
    for name in ours:
        if not name.startswith("optimizer"):
            torch.testing.assert_close(theirs[name], ours[name], rtol=1e-3, atol=1e-4)


def views_in(cache: Path) -> set[str]:
    """The keys of all views that lie in a feature cache."""
    return {key for path in cache.rglob("*.safetensors") for key in json.loads(open_tensors(path).metadata["keys"])}


STOPPING = """
import os
from mlrpl_cli.core.training.loop import Trainer
train_epoch = Trainer._train_epoch
def stopping(self, epoch, task):
    if epoch > int(os.environ["STOP"]):
        self.accelerator.wait_for_everyone()
        os._exit(9)
    return train_epoch(self, epoch, task)
Trainer._train_epoch = stopping
from mlrpl_cli.__main__ import main
main()
"""


@pytest.fixture
def whole(flags, tmp_path) -> Path:
    """The run of one process."""
    train(make_config(flags={**flags, "run": str(tmp_path / "whole")}))
    return tmp_path / "whole"


def test_four_processes_train_as_one_does(flags, whole, tmp_path):
    assert launch([command(flags, tmp_path / "run", cache=tmp_path / "cache")] * 4) == [0] * 4
    assert_close(whole, tmp_path / "run")
    assert views_in(tmp_path / "cache") == views_in(tmp_path / "features")


@pytest.mark.parametrize(("before", "after"), [(2, 1), (2, 4), (4, 2)])
def test_a_run_goes_on_with_another_number_of_processes(flags, whole, tmp_path, before, after):
    run = tmp_path / "run"
    assert launch([command(flags, run)] * before, code=STOPPING, STOP="1") == [9] * before
    assert [row["epoch"] for row in read_log(run)] == [1]
    again = ["train", "--resume", f"--run={run}"]
    assert launch([again] * after) == [0] * after
    assert_close(whole, run)


def test_machines_with_caches_of_their_own_encode_their_parts_and_train_on_all_images(flags, tmp_path):
    """Two machines of one process each, and of two: the parts are the same, and so is what is learned.

    Every view of 24 training images and 6 that validate lies in one of the caches; beside its part a machine has the
    first image of both splits, which fills up batches.
    """
    caches, runs = [tmp_path / "left", tmp_path / "right"], [tmp_path / "two", tmp_path / "four"]
    for run, each in zip(runs, (1, 2), strict=True):
        ranks = [command(flags, run, cache=cache) for cache in caches for _ in range(each)]
        assert launch(ranks) == [0] * len(ranks)
    assert_close(*runs)
    assert read_log(runs[0])[-1]["loss"] < read_log(runs[0])[0]["loss"]
    train(make_config(flags={**flags, "run": str(tmp_path / "one")}))
    left, right = map(views_in, caches)
    assert left | right == views_in(tmp_path / "features")
    assert len(left & right) <= 2 + 1
    assert abs(len(left) - len(right)) <= 2 + 1


def test_a_batch_has_an_image_for_each_machine_but_for_the_last_one(flags, tmp_path):
    """24 images in batches of 23 leave one image for two machines."""
    caches, flags = [tmp_path / "left", tmp_path / "right"], {**flags, "epochs": 1}
    (errors := tmp_path / "errors").mkdir()
    ranks = [command({**flags, "batch_size": 1}, tmp_path / "run", cache=cache) for cache in caches]
    assert launch(ranks, errors=errors) == [1, 1]
    said = "".join((errors / rank).read_text() for rank in "01")
    assert "batch_size: expected at least 2 (machines with caches apart), got 1; " in said
    assert launch([command({**flags, "batch_size": 23}, tmp_path / "run", cache=cache) for cache in caches]) == [0, 0]
    assert np.isfinite(read_log(tmp_path / "run")[-1]["loss"])


def test_machines_apart_learn_no_less_than_one(flags, tmp_path):
    """Their images come in another order; each is in every epoch once, so that the first loss, a mean, is near."""
    caches = [tmp_path / "left", tmp_path / "right"]
    flags = {**flags, "epochs": 2, "lr": 0, "context_lr": 0, "views": 1, "batch_size": 8, "loss": "bce"}
    train(make_config(flags={**flags, "run": str(tmp_path / "one")}))
    assert launch([command(flags, tmp_path / "run", cache=cache) for cache in caches]) == [0, 0]
    one, other = read_log(tmp_path / "one"), read_log(tmp_path / "run")
    assert other[-1]["map"] == pytest.approx(one[-1]["map"], abs=1e-6)
    assert other[-1]["loss"] == pytest.approx(one[-1]["loss"], rel=0.1)


@pytest.mark.parametrize("cache", ["left", "right"])
def test_an_image_that_is_another_on_one_machine_is_told(flags, tmp_path, cache):
    """The second machine has a copy of the data, each image one byte longer, and another cache or the same one."""
    copied = shutil.copytree(flags["data"], tmp_path / "copied")
    for image in (copied / "images").iterdir():
        image.write_bytes(image.read_bytes() + b"\0")
    ranks = [command(flags, tmp_path / "run", cache=tmp_path / "left")]
    ranks += [command({**flags, "data": str(copied)}, tmp_path / "run", cache=tmp_path / cache)]
    (errors := tmp_path / "errors").mkdir()
    assert launch(ranks, errors=errors) == [1, 1]
    assert "hold other bytes here than on the first machine" in (errors / "1").read_text()


@pytest.mark.parametrize("asked", ["train", "eval"])
def test_ranks_that_are_given_other_data_all_end_and_say_what_differs(flags, tmp_path, asked):
    other = str(small.write_prepared(tmp_path / "other", keep=0.5))
    if asked == "train":
        ranks = [command({**flags, "data": data}, tmp_path / "run") for data in (flags["data"], other)]
    else:
        train(make_config(flags={**flags, "run": str(tmp_path / "run")}))
        arguments = ["eval", f"--run={tmp_path / 'run'}", "--workers=0", "--device=cpu"]
        ranks = [[*arguments, f"--data={data}"] for data in (flags["data"], other)]
    (errors := tmp_path / "errors").mkdir()
    assert launch(ranks, errors=errors) == [1, 1]
    said = "".join((errors / rank).read_text() for rank in "01")
    assert "rank 1 reads other data than rank 0: data SHA-256 expected " in said
    assert "; give every rank the same data with --data" in said


def test_options_are_those_of_the_first_rank(flags, whole, tmp_path):
    ranks = [command(flags, tmp_path / "run"), command(flags, tmp_path / "other", seed=3, epochs=1, lr=0)]
    assert launch(ranks) == [0, 0]
    assert_close(whole, tmp_path / "run")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("ending", "how", "said"),
    [
        ("1", "an error", "rank 1: mlrpl: error: a reason of its own"),
        ("0", "an error", "mlrpl: error: a reason of its own"),
        ("1", "killed", "mlrpl: error: another process of this training ended, and so does this one: "),
    ],
)
def test_when_a_process_ends_all_do_and_say_so_without_waiting(flags, tmp_path, ending, how, said):
    (errors := tmp_path / "errors").mkdir()
    command_line = command(flags, tmp_path / "run")
    codes = launch([command_line] * 2, ENDING, errors, ENDING=ending, HOW=how)
    assert codes[1 - int(ending)] == 1
    assert codes[int(ending)] == (-signal.SIGKILL if how == "killed" else 1)
    told = [line for rank in "01" for line in (errors / rank).read_text().splitlines() if "mlrpl: " in line]
    assert told[0].startswith(said)
    # Where rank 0 has gone, nobody may be left who knows what was said, and the other one says that it has gone.
    assert len(told) <= (2 if ending == "0" else 1), told
    lost = [line for line in told if "another process of this training ended" in line]
    assert all(line in lost for line in told[1:])
    assert all("; PyTorch says: " in line for line in lost)
    assert "Traceback" not in "".join((errors / rank).read_text() for rank in "01")


@pytest.mark.parametrize("processes", [2, 4])
def test_evaluation_is_divided_and_its_figures_are_those_of_one_process(flags, whole, tmp_path, processes):
    """Of 6 test images in batches of 2 some processes have one batch, some two, and of four one has none."""
    (said := tmp_path / "said").mkdir()
    arguments = ["eval", f"--run={whole}", "--batch-size=2", "--workers=0", "--device=cpu", "--json"]
    assert launch([[*arguments, f"--csv={tmp_path / 'figures.csv'}"]] * processes, errors=said) == [0] * processes
    printed = [(said / f"out{rank}").read_text() for rank in range(processes)]
    assert printed[1:] == [""] * (processes - 1)
    one = evaluate(EvaluationOptions(whole, batch_size=2, workers=0, device="cpu"))
    told = json.loads(printed[0])
    assert told["result"]["map"] == one.metrics.mean_average_precision
    assert (tmp_path / "figures.csv").is_file()


def test_scores_of_several_processes_have_the_bits_of_one(flags, whole, tmp_path):
    code = (
        "import sys; import numpy as np; from pathlib import Path\n"
        "from mlrpl_cli.core.evaluation.evaluate import evaluate\n"
        "from mlrpl_cli.core.evaluation.options import EvaluationOptions\n"
        "import os\n"
        "found = evaluate(EvaluationOptions(Path(sys.argv[1]), batch_size=4, workers=0, device='cpu'))\n"
        "np.save(f'{sys.argv[2]}/{os.environ[\"RANK\"]}.npy', found.probabilities)\n"
    )
    assert launch([[str(whole), str(tmp_path)]] * 2, code=code) == [0, 0]
    one = evaluate(EvaluationOptions(whole, batch_size=4, workers=0, device="cpu")).probabilities
    for rank in range(2):
        np.testing.assert_array_equal(np.load(tmp_path / f"{rank}.npy"), one)


def test_a_requirement_that_is_not_met_is_told_once(whole, tmp_path):
    (errors := tmp_path / "errors").mkdir()
    arguments = ["eval", f"--run={whole}", "--workers=0", "--device=cpu", "--require=map>=1.0"]
    codes = launch([arguments] * 2, errors=errors)
    assert codes == [3, 3]
    lines = [line for rank in "01" for line in (errors / rank).read_text().splitlines() if "map" in line]
    assert len(lines) == 1


def test_the_first_process_alone_speaks(flags, tmp_path):
    """Neither lines of its own nor what libraries warn of come from another one."""
    assert launch([command(flags, tmp_path / "run")] * 2, errors=tmp_path) == [0, 0]
    assert (tmp_path / "0").read_text()
    assert (tmp_path / "1").read_text() == (tmp_path / "out1").read_text() == ""
    assert "Warning" not in (tmp_path / "0").read_text()
