import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mlrpl_cli.core.config import TrainConfig, make_config
from mlrpl_cli.core.evaluation.evaluate import evaluate
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.heads.category_prompts import PromptedText
from mlrpl_cli.core.heads.registry import METHODS
from mlrpl_cli.core.io.errors import ConfigError, MlrplError, RunError
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.prepared.folder import read_prepared, write_manifest
from mlrpl_cli.core.runs.checkpoint import load_checkpoint, save_checkpoint
from mlrpl_cli.core.runs.folder import read_log
from mlrpl_cli.core.runs.options import asked_config, config_problems, resume_config
from mlrpl_cli.core.training.loop import Trainer, schedule
from mlrpl_cli.core.training.train import train
from tests import small, warm

KILLED = """
import os, signal, sys
from contextlib import contextmanager
from mlrpl_cli.core.config import make_config
from mlrpl_cli.core.training.train import train

class Killer:
    def __init__(self, steps):
        self.left = steps
    @contextmanager
    def task(self, description, total, unit="images"):
        self.counting = description == "training"
        yield self
    def advance(self, steps=1, **figures):
        self.left -= self.counting
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    def note(self, message):
        pass

    detail = warn = note

train(make_config(flags=eval(sys.argv[1])), Killer(int(sys.argv[2])))
"""


@pytest.fixture
def flags(tmp_path) -> dict:
    """Three epochs of three steps on 24 training images."""
    return small.write_training(tmp_path, epochs=3)


def tensors(run: str, which: str = "last") -> dict[str, torch.Tensor]:
    return load_checkpoint(Path(run), which).tensors


def assert_same_bits(left: dict, right: dict) -> None:
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


def without_times(run: str) -> list[dict]:
    return [{k: v for k, v in row.items() if "second" not in k} for row in read_log(Path(run))]


@pytest.mark.parametrize("method", [method for method in METHODS if method not in ("zero-shot", "anchored")])
def test_training_lowers_the_loss_and_the_run_rebuilds_its_model(flags, method):
    summary = train(make_config(flags={**flags, "method": method, "lr": 0.02, "epochs": 6}))
    log = read_log(summary.run)
    assert summary.epochs_done == 6
    assert log[-1]["loss"] < log[0]["loss"]
    result = evaluate(EvaluationOptions(run=summary.run, checkpoint="last", split="validation", workers=0))
    assert result.metrics.mean_average_precision == pytest.approx(summary.last_map)


def test_what_is_fitted_alone_is_not_trained_and_is_kept_as_it_was_fitted(flags):
    summary = train(make_config(flags={**flags, "method": "anchored", "epochs": 3}))
    log = read_log(summary.run)
    assert len(log) == 3
    assert log[0]["loss"] == pytest.approx(log[-1]["loss"], rel=0.5)  # the views differ, the classifier does not
    assert (log[0]["map"], summary.learned_parameters) == (log[-1]["map"], 0)


def test_zero_shot_learns_scale_and_bias_alone(flags):
    """α and one β a class: four numbers, which change no class's ranking."""
    assert train(make_config(flags={**flags, "method": "zero-shot"})).learned_parameters == 1 + len(small.CLASSES)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(flags, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(make_config(flags={**flags, "seed": seed, "run": str(tmp_path / name)}))
    assert_same_bits(tensors(tmp_path / "a"), tensors(tmp_path / "b"))
    context = "contexts.prompts.context"
    assert not torch.equal(tensors(tmp_path / "a")[context], tensors(tmp_path / "c")[context])


@pytest.mark.parametrize(
    ("views", "step", "method"), [(0, 2, "sarl"), (2, 5, "sarl"), (2, 5, "sarl-anchored"), (2, 5, "dualcoop")]
)
def test_resuming_after_kill_9_ends_in_the_same_bits(flags, tmp_path, views, step, method):
    flags = {**flags, "views": views, "method": method}
    whole = {**flags, "run": str(tmp_path / "whole")}
    train(make_config(flags=whole))
    assert warm.run([repr(flags), step], code=KILLED).code == -signal.SIGKILL
    train(resume_config(Path(flags["run"]), None, {}), resume=True)
    assert_same_bits(tensors(flags["run"]), tensors(whole["run"]))
    assert_same_bits(tensors(flags["run"], "best"), tensors(whole["run"], "best"))
    assert without_times(flags["run"]) == without_times(whole["run"])


def test_ctrl_c_keeps_the_last_finished_epoch_and_resuming_goes_on(flags, tmp_path):
    summary = train(make_config(flags=flags), small.StopAt(5))
    assert (summary.interrupted, summary.epochs_done) == (True, 1)
    assert load_checkpoint(summary.run, "last").info.epoch == 1
    train(resume_config(summary.run, None, {}), resume=True)
    train(make_config(flags={**flags, "run": str(tmp_path / "whole")}))
    assert_same_bits(tensors(flags["run"]), tensors(tmp_path / "whole"))


def test_resuming_a_finished_run_trains_nothing_and_says_so(flags):
    run, said, progress = train(make_config(flags=flags)).run, [], Silent()
    before = tensors(run)
    progress.note = said.append  # type: ignore[method-assign]
    summary = train(resume_config(run, None, {}), progress, resume=True)
    assert said[-1] == f"{run} was already finished, at epoch 3 of 3: nothing was trained"
    assert (summary.interrupted, summary.epochs_done) == (False, 3)
    assert_same_bits(tensors(run), before)


def by_torchrun(arguments):
    launch = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0"]
    launch += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    command = [sys.executable, *launch, "-m", "--", "mlrpl_cli", *arguments]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True)


def by_variables(arguments):
    """As schedulers of clusters start processes, each told its rank and where the first one is."""
    with socket.create_server(("localhost", 0)) as server:
        port = str(server.getsockname()[1])
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    ranks = [warm.start(arguments, RANK=rank, LOCAL_RANK=rank, **place) for rank in ("0", "1")]
    assert [rank.wait() for rank in ranks] == [0, 0]


@pytest.mark.parametrize(
    ("start", "loss"),
    [(by_variables, "asl"), (by_variables, "an"), pytest.param(by_torchrun, "asl", marks=pytest.mark.slow)],
)
def test_two_processes_train_to_the_same_metrics_as_one(flags, tmp_path, start, loss):
    """Two gloo processes at the same global batch, to 1e-5: in float32, since bf16 rounds to 1e-2.

    Of 7 images each process has four, one of them repeated, which must not count: its labels are not unknown ones.
    """
    flags = {**flags, "batch_size": 7, "loss": loss}
    runs = tmp_path / "one", tmp_path / "two"
    train(make_config(flags={**flags, "run": str(runs[0])}))
    start(["train", "--run", str(runs[1]), *(f"--set={key}={value}" for key, value in flags.items())])
    one, two = (read_log(run) for run in runs)
    for left, right in zip(one, two, strict=True):
        assert right["loss"] == pytest.approx(left["loss"], abs=1e-5)
        assert right["map"] == pytest.approx(left["map"], abs=1e-5)
    left, right = (tensors(run) for run in runs)
    for name, tensor in left.items():
        if not name.startswith("optimizer"):
            # What is fitted divides by the spread of nearly constant features, which carries their rounding along.
            least = 2e-3 if "members.1." in name else 1e-4
            torch.testing.assert_close(right[name], tensor, rtol=1e-3, atol=least)


def test_hidden_labels_and_test_labels_change_no_weight(flags, tmp_path):
    train(make_config(flags=flags))
    prepared = read_prepared(Path(flags["data"]))
    learning = np.array([split != "test" for split in prepared.splits])
    labels = prepared.full_labels.copy()
    hidden = (prepared.observed_labels == 0) | ~learning[:, None]
    labels[hidden] = -labels[hidden]
    prepared.full_labels[:] = labels
    prepared.observed_labels[~learning] = labels[~learning]
    write_manifest(prepared.folder, prepared)
    train(make_config(flags={**flags, "run": str(tmp_path / "other")}))
    assert_same_bits(tensors(flags["run"]), tensors(tmp_path / "other"))


def test_every_wrong_option_is_told_at_once():
    wrong = {"method": "sarll", "epochs": 0, "device": "tpu", "backbone": "RN5O", "glove": "no.txt"}
    with pytest.raises(ConfigError) as error:
        make_config(flags=wrong, problems=config_problems)
    message = str(error.value)
    assert "method: expected one of zero-shot, baseline, sd, cspo, " in message
    assert "got 'sarll'; did you mean 'sarl'?" in message
    assert "epochs: expected a whole number from 1 to 100000, got 0" in message
    assert "device: expected one of auto, cpu, cuda, got 'tpu'" in message
    assert "glove: expected a file of word vectors, got 'no.txt', which is none" in message
    assert "backbone 'RN5O' is neither a file nor a known name; did you mean 'RN50'?" in message


def test_a_finished_run_that_is_asked_for_again_is_returned_as_it_is(flags):
    first = train(make_config(flags=flags))
    before = {path: path.stat().st_mtime_ns for path in Path(flags["run"]).glob("*.safetensors")}
    again = train(make_config(flags={**flags, "workers": 1, "cache_gib": 1.0}))
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_an_interrupted_run_that_is_asked_for_again_ends_in_the_same_bits(flags, tmp_path):
    assert train(make_config(flags=flags), small.StopAt(5)).interrupted
    assert not train(make_config(flags=flags)).interrupted
    train(make_config(flags={**flags, "run": str(tmp_path / "whole")}))
    assert_same_bits(tensors(flags["run"]), tensors(tmp_path / "whole"))


def test_another_run_is_not_written_over_and_what_differs_is_named(flags):
    train(make_config(flags=flags))
    before = tensors(flags["run"])
    told = r"holds another run: epochs was 3, not 4; seed was 0, not 1; --fresh starts it over, and --run names another"
    with pytest.raises(RunError, match=told):
        train(make_config(flags={**flags, "epochs": 4, "seed": 1}))
    (glove := Path(flags["run"]).parent / "glove.txt").write_text("red 1\n")
    with pytest.raises(RunError, match=r"another run: glove was not given, now it is '.*glove.txt'; --fresh"):
        train(make_config(flags={**flags, "glove": str(glove)}))
    prepared = read_prepared(Path(flags["data"]))
    for labels in (prepared.full_labels, prepared.observed_labels):
        labels[:] = -labels
    write_manifest(prepared.folder, prepared)
    with pytest.raises(RunError, match=r"holds another run: images or labels of .*prepared have changed; --fresh"):
        train(make_config(flags=flags))
    assert_same_bits(tensors(flags["run"]), before)


def overwritten(flags, row: int, by: int) -> None:
    """One image file gets the content of another."""
    prepared = read_prepared(Path(flags["data"]))
    new, old = prepared.paths(np.array([by, row]))
    old.write_bytes(new.read_bytes())


def test_images_that_were_overwritten_make_another_run(flags, tmp_path, monkeypatch):
    """Image 0 trains and 25 selects; 24, 26 and 28 are test images."""
    monkeypatch.chdir(tmp_path)
    first = train(make_config(flags={**flags, "run": None})).run
    overwritten(flags, 0, by=24)
    overwritten(flags, 2, by=26)
    overwritten(flags, 25, by=28)
    told = (
        "2 of 24 training images have other content than the run was trained on; "
        "1 of 6 validation images have other content than the run was selected by"
    )
    with pytest.raises(RunError, match=f"^{re.escape(str(first))} holds another run: {told}; --fresh starts it over"):
        train(make_config(flags={**flags, "run": str(first)}))
    assert train(make_config(flags={**flags, "run": None})).run == first.with_name(f"{first.name}-2")
    assert train(make_config(flags={**flags, "run": str(first)}), fresh=True).run == first


def test_images_that_were_overwritten_are_not_gone_on_with(flags):
    train(make_config(flags=flags), small.StopAt(5))
    overwritten(flags, 0, by=24)
    told = "1 of 24 training images have other content than the run was trained on; put back"
    with pytest.raises(RunError, match=f"^cannot resume .*/run: {told}"):
        train(resume_config(Path(flags["run"]), None, {}), resume=True)


@pytest.mark.parametrize("views", [0, 1])
def test_copies_of_training_images_select_no_epoch(flags, tmp_path, views):
    """Reference: the same validation images without them, here as test images."""
    flags, said, progress = {**flags, "views": views}, [], Silent()
    progress.warn = said.append  # type: ignore[method-assign]
    overwritten(flags, 25, by=0)
    summary = train(make_config(flags=flags), progress)
    assert [text for text in said if "copies" in text] == [
        "1 of 6 validation images are copies of training images: they do not help to choose the best epoch"
    ]
    prepared = read_prepared(Path(flags["data"]))
    splits = ["test" if row == 25 else split for row, split in enumerate(prepared.splits)]
    prepared.observed_labels[25] = prepared.full_labels[25]
    write_manifest(prepared.folder, replace(prepared, splits=tuple(splits)))
    other = train(make_config(flags={**flags, "run": str(tmp_path / "other")}))
    assert replace(other, run=summary.run) == summary
    assert_same_bits(tensors(flags["run"]), tensors(tmp_path / "other"))
    assert len(tensors(flags["run"])["selected_images"]) == 5


def test_where_all_that_select_are_copies_the_last_epoch_is_kept(flags):
    said, progress = [], Silent()
    progress.warn = said.append  # type: ignore[method-assign]
    for row in range(25, 36, 2):
        overwritten(flags, row, by=row - 24)
    summary = train(make_config(flags=flags), progress)
    assert (summary.selected, summary.best_map, summary.best_epoch) == (False, None, 3)
    assert said[-1].endswith("there is no other to choose the best epoch by, so the last one is kept")


def test_a_run_starts_over_when_it_is_asked_to(flags, tmp_path):
    """What else lies in the folder stays."""
    train(make_config(flags={**flags, "epochs": 1}))
    (Path(flags["run"]) / "notes.txt").write_text("mine")
    train(make_config(flags={**flags, "seed": 1}), fresh=True)
    train(make_config(flags={**flags, "seed": 1, "run": str(tmp_path / "whole")}))
    assert_same_bits(tensors(flags["run"]), tensors(tmp_path / "whole"))
    assert [row["epoch"] for row in read_log(Path(flags["run"]))] == [1, 2, 3]
    assert (Path(flags["run"]) / "notes.txt").read_text() == "mine"


def test_what_a_killed_fresh_start_left_of_the_old_run_goes_with_the_next_start(flags, monkeypatch):
    """The last checkpoint goes first; the best one of the old run must not pass for one of the new run."""
    train(make_config(flags=flags))
    (Path(flags["run"]) / "last.safetensors").unlink()
    assert train(make_config(flags={**flags, "seed": 1}), small.StopAt(1)).epochs_done == 0
    assert not (Path(flags["run"]) / "best.safetensors").exists()


def test_without_a_run_folder_the_same_run_is_found_again(flags, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    del flags["run"]
    asked = [{**flags, "epochs": 1}, flags, {**flags, "epochs": 1}, flags]
    runs = [train(make_config(flags=flags)).run.name for flags in asked]
    assert runs == [name := "prepared-sarl-anchored-seed0", f"{name}-2", name, f"{name}-2"]
    assert train(make_config(flags=flags), fresh=True).run.name == f"{name}-3"


def test_a_run_of_other_weights_in_the_same_file_is_another_run(flags, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    del flags["run"]
    flags["epochs"] = 1
    file, name = Path(flags["backbone"]), "prepared-sarl-anchored-seed0"
    assert train(make_config(flags=flags)).run.name == name
    first = file.read_bytes()
    small.write_backbone(file, seed=1)
    with pytest.raises(RunError) as caught:
        train(make_config(flags={**flags, "run": f"runs/{name}"}))
    told = f"runs/{name} holds another run: the weights in {file} have changed"
    assert str(caught.value) == f"{told}; --fresh starts it over, and --run names another folder"
    runs = [train(make_config(flags=flags)).run.name for _ in range(2)]
    assert runs == [f"{name}-2", f"{name}-2"]
    file.write_bytes(first)
    assert train(make_config(flags=flags)).run.name == name
    with pytest.raises(RunError) as caught:  # the same weights, read otherwise: the file has not changed
        train(make_config(flags={**flags, "run": f"runs/{name}", "backbone_config": "openai-gelu"}))
    told = f"runs/{name} holds another run: backbone_config was not given, now it is 'openai-gelu'"
    assert str(caught.value) == f"{told}; --fresh starts it over, and --run names another folder"


def test_a_run_that_ended_before_its_first_checkpoint_is_resumed(flags, tmp_path):
    """Encoding the images comes first and takes long."""

    class StopWhileEncoding(Silent):
        def task(self, description, total, unit="images"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(make_config(flags=flags), StopWhileEncoding())
    train(resume_config(Path(flags["run"]), None, {}), resume=True)
    train(make_config(flags={**flags, "run": str(tmp_path / "whole")}))
    assert_same_bits(tensors(flags["run"]), tensors(tmp_path / "whole"))


def test_resuming_on_other_labels_is_refused(flags):
    """The mask is the same one: what it lets through is not."""
    train(make_config(flags=flags), small.StopAt(5))
    prepared = read_prepared(Path(flags["data"]))
    for labels in (prepared.full_labels, prepared.observed_labels):
        labels[:] = -labels
    write_manifest(prepared.folder, prepared)
    with pytest.raises(RunError, match=r"cannot resume .* its data had SHA-256"):
        train(resume_config(Path(flags["run"]), None, {}), resume=True)


def test_validation_computes_the_text_features_once_an_epoch(flags, monkeypatch):
    """Three epochs of three steps and one validation, the start, and what three epochs' checkpoints hold."""
    calls = []
    encode = PromptedText.forward
    monkeypatch.setattr(PromptedText, "forward", lambda self: calls.append(1) or encode(self))
    config = make_config(flags={**flags, "batch_size": 2, "epochs": 1})
    train(config)
    steps, validations, start, checkpoints = 12, 1, 1, 3
    assert len(calls) == steps + validations + start + checkpoints


def test_a_run_is_evaluated_in_the_precision_it_was_trained_in_unless_another_is_asked_for(flags):
    train(make_config(flags={**flags, "precision": "bf16"}))
    scores = {
        precision: evaluate(
            EvaluationOptions(Path(flags["run"]), workers=0, device="cpu", precision=precision)
        ).probabilities
        for precision in ("auto", "bf16", "float32")
    }
    np.testing.assert_array_equal(scores["auto"], scores["bf16"])
    assert not np.array_equal(scores["auto"], scores["float32"])
    np.testing.assert_allclose(scores["bf16"], scores["float32"], atol=0.02)


def test_a_run_of_8_bit_features_is_close_to_one_of_16(flags, tmp_path):
    runs = {
        dtype: train(make_config(flags={**flags, "run": str(tmp_path / dtype), "cache_dtype": dtype})).run
        for dtype in ("float16", "uint8")
    }
    fine, coarse = ([row["loss"] for row in read_log(run)] for run in runs.values())
    assert fine != coarse
    assert coarse == pytest.approx(fine, rel=0.02)


def test_resuming_takes_auto_as_what_was_resolved_and_keeps_the_views(flags):
    train(make_config(flags={**flags, "precision": "float32"}), small.StopAt(5))
    assert resume_config(Path(flags["run"]), None, {"precision": "auto"}).precision == "float32"
    with pytest.raises(ConfigError, match="--resume keeps cache_gib 64"):
        resume_config(Path(flags["run"]), None, {"cache_gib": 0})


def test_resuming_with_another_option_is_refused(flags):
    train(make_config(flags=flags))
    with pytest.raises(ConfigError, match=r"--resume keeps epochs 3, got 5; start a new run for that"):
        resume_config(Path(flags["run"]), None, {"epochs": 5})


def test_an_image_size_off_the_stride_is_told_before_weights_load():
    with pytest.raises(ConfigError, match="multiple of this backbone's stride 14, got 100; take 98 or 112"):
        train(TrainConfig(backbone="ViT-L/14", image_size=100))


def test_a_run_is_resumed_from_another_folder(flags, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = {**flags, "data": "prepared", "backbone": "clip.safetensors"}
    train(make_config(flags=relative), small.StopAt(5))
    assert resume_config(Path("run"), None, {"backbone": "clip.safetensors", "epochs": None}).epochs == 3
    monkeypatch.chdir("/")
    assert train(resume_config(Path(flags["run"]), None, {}), resume=True).epochs_done == 3


def test_scores_that_are_no_numbers_are_told(flags):
    run = train(make_config(flags=flags)).run
    checkpoint = load_checkpoint(run)
    checkpoint.tensors["recognizer.members.0.bias"][0] = torch.nan
    save_checkpoint(checkpoint, run / "best.safetensors")
    with pytest.raises(RunError, match="6 of 6 images got NaN or infinite scores"):
        evaluate(EvaluationOptions(run=run, workers=0))


def test_resuming_with_another_mask_is_refused(flags, tmp_path):
    train(make_config(flags=flags), small.StopAt(5))
    other = small.write_prepared(tmp_path / "other", seed=1)
    stored = resume_config(Path(flags["run"]), None, {})
    with pytest.raises(RunError, match="its mask had SHA-256"):
        train(make_config(flags={**vars(stored), "data": str(other)}), resume=True)


def test_the_log_is_json_lines_with_a_row_an_epoch(flags):
    run = train(make_config(flags={**flags, "batch_size": 100})).run
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert {"loss", "map", "lr", "seconds", "images_per_second"} <= rows[0].keys()
    assert rows[0]["images_per_second"] * rows[0]["seconds"] == pytest.approx(24)
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))


def test_every_image_is_trained_on_in_every_epoch(flags, monkeypatch):
    """24 images in batches of 7: three whole ones and three images."""
    seen: list[int] = []
    step = Trainer._step
    monkeypatch.setattr(Trainer, "_step", lambda self, of, rows: seen.extend(rows.tolist()) or step(self, of, rows))
    train(make_config(flags={**flags, "batch_size": 7, "epochs": 2}))
    assert sorted(seen[:24]) == sorted(seen[24:]) == list(range(24))


def test_the_schedule_rises_linearly_and_falls_as_a_cosine():
    factors = [schedule(step, 100, 0.1) for step in range(100)]
    np.testing.assert_allclose(factors[:10], np.arange(1, 11) / 11)
    assert factors[10] == 1
    assert factors[55] == pytest.approx(0.5)
    assert factors[99] == pytest.approx(0, abs=1e-3)


def test_resuming_on_data_that_were_moved_goes_on(flags, tmp_path):
    train(make_config(flags={**flags, "epochs": 1}))
    moved = tmp_path / "moved"
    shutil.copytree(flags["data"], moved)
    config = asked_config(None, {"run": flags["run"], "data": str(moved)}, resume=True)
    assert config.data == str(moved)
    assert train(config, resume=True).epochs_done == 1


@pytest.mark.parametrize("run", ["5", "[a]", "yes"])
def test_a_run_to_resume_that_no_folder_is_called_is_one_line(run):
    with pytest.raises(MlrplError):
        asked_config(None, {}, [f"run={run}"], resume=True)


def without_validation(folder: Path) -> None:
    """All images that would validate, and those that would test, train."""
    prepared = read_prepared(folder)
    write_manifest(folder, replace(prepared, splits=("train",) * len(prepared.images)))


@pytest.mark.parametrize("options", [{}, {"views": 0}, {"cache_gib": 0}])
def test_without_validation_images_the_last_epoch_is_the_best(flags, options):
    """Also where the run is interrupted and resumed, and nothing is told of figures that there are not."""
    without_validation(Path(flags["data"]))
    said = []

    class Notes(small.StopAt):
        def note(self, message):
            said.append(message)

        warn = note

    config = make_config(flags={**flags, **options})
    stopped = train(config, Notes(step=7))
    assert (stopped.epochs_done, stopped.best_epoch, stopped.best_map) == (1, 1, None)
    summary = train(resume_config(Path(flags["run"]), None, {}), resume=True)
    assert (summary.epochs_done, summary.best_epoch, summary.best_map, summary.last_map) == (3, 3, None, None)
    best, last = (load_checkpoint(Path(flags["run"]), which) for which in ("best", "last"))
    assert best.info.epoch == last.info.epoch == 3
    for name, tensor in best.tensors.items():
        torch.testing.assert_close(last.tensors[name], tensor, rtol=0, atol=0)
    assert "there is no validation image to choose the best epoch by, so the last one is kept" in said
    assert "there is no test image, so mlrpl eval will have no figure of this run" in said
    assert any(message.startswith("epoch 1/3: loss ") and message.endswith("validation no image") for message in said)
    with pytest.raises(RunError, match="has no image in the split 'test', so no figure can be computed on it"):
        evaluate(EvaluationOptions(Path(flags["run"]), device="cpu"))
