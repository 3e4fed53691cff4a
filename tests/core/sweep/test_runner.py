import html
import pickle
import shutil
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from mlrpl_cli.core.backbones.registry import backbone_options, load_backbone
from mlrpl_cli.core.config import BEST, FLOAT16, LAST, UINT8, TrainConfig
from mlrpl_cli.core.evaluation.evaluate import evaluate
from mlrpl_cli.core.evaluation.metrics import average_precisions
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.io import files
from mlrpl_cli.core.io.errors import ConfigError, DataError, RunError
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.prepared.folder import read_prepared, write_manifest
from mlrpl_cli.core.reports.sweep_page import report_sweep
from mlrpl_cli.core.sweep import runner
from mlrpl_cli.core.sweep.data import read_data
from mlrpl_cli.core.sweep.encoding import views_here
from mlrpl_cli.core.sweep.engines import processes
from mlrpl_cli.core.sweep.plan import SweepOptions, tuning_cells
from mlrpl_cli.core.sweep.results import RESULTS, chosen_settings, read_results, read_scores
from mlrpl_cli.core.sweep.runner import pending, stored, sweep
from mlrpl_cli.core.sweep.stored import Shown
from mlrpl_cli.core.sweep.worker import Done
from mlrpl_cli.core.training.train import train
from tests import small
from tests.core.sweep import failing

KEEP, SEED = 0.7, 0
BYTES_IN_8_BITS = 16 * (64 + 8) + 2 * 4 * (64 + 8) + 2 * (8 + 16)
"""Of a view of 4×4 positions, 64 channels and 8 dimensions: numbers, scales, and what stays in 16 bits."""


@pytest.fixture(scope="module")
def options(tmp_path_factory) -> SweepOptions:
    """A sweep over small data; its prepared folder holds the mask of KEEP and SEED."""
    folder = tmp_path_factory.mktemp("sweep")
    small.write_prepared(folder / "prepared", keep=KEEP, seed=SEED)
    config = TrainConfig(
        backbone=str(small.write_backbone(folder / "clip.safetensors")),
        **small.OPTIONS,
        epochs=2,
    )
    return SweepOptions(
        folder / "prepared", folder / "out", ("sarl", "linear"), (KEEP,), (SEED, 1), tune=False, jobs=2, config=config
    )


@pytest.fixture(scope="module")
def summary(options):
    return sweep(options)


def test_a_run_of_a_sweep_is_the_run_that_train_and_eval_make(options, summary, tmp_path):
    """The same labels, seed and options: the same validation and test figures, whichever command computes them.

    Scores differ by the rounding to 16 bits of the cached features that the sweep tests on.
    """
    row = next(row for row in summary.rows if row["method"] == "sarl" and row["seed"] == SEED)
    config = replace(options.config, data=str(options.data), method="sarl", seed=SEED, run=str(tmp_path / "run"))
    trained = train(replace(config, context_lr=config.lr))
    last, selected = (
        evaluate(EvaluationOptions(tmp_path / "run", checkpoint=which, workers=0, device="cpu"))
        for which in (LAST, BEST)
    )
    assert row["mask_sha256"] == read_prepared(options.data).mask_sha256
    assert (row["selected_epoch"], row["validation_map"]) == (trained.best_epoch, pytest.approx(trained.last_map))
    assert row["map"] == pytest.approx(last.metrics.mean_average_precision, abs=1e-6)
    assert row["selected_map"] == pytest.approx(selected.metrics.mean_average_precision, abs=1e-6)
    np.testing.assert_allclose(read_scores(options.out, row["key"]), last.probabilities, atol=1e-3)


def with_copies(options, place, pairs) -> SweepOptions:
    """A copy of the data in which some images, by row, hold what others do; its sweep has one run."""
    folder = shutil.copytree(options.data, place / "prepared")
    prepared = read_prepared(folder)
    prepared = write_manifest(folder, replace(prepared, folder=folder, image_root=folder))
    for row, original in pairs.items():
        shutil.copy(folder / prepared.images[original], folder / prepared.images[row])
    return replace(options, data=folder, out=place / "out", methods=("linear",), seeds=(SEED,), jobs=1)


def test_copies_are_left_out_of_a_sweep_as_train_and_eval_leave_them_out(options, tmp_path, sweep_here):
    """Of the test images 24 is a copy of a training image and 26 of a validation image; 27 of those is one, too."""
    asked, progress = with_copies(options, tmp_path, {24: 0, 26: 25, 27: 1}), small.Heard()
    (row,) = sweep(asked, progress).rows
    told = "2 of 6 test images are copies of training or validation images: left out of every figure"
    assert [text for text in progress.warnings if "copies" in text] == [
        told,
        "1 of 6 validation images are copies of training images: left out of every figure",
    ]
    config = replace(asked.config, data=str(asked.data), method="linear", seed=SEED, run=str(tmp_path / "run"))
    trained = train(replace(config, context_lr=config.lr))
    last = evaluate(EvaluationOptions(tmp_path / "run", checkpoint=LAST, workers=0, device="cpu"))
    assert (last.images, row["test_images"], row["test_copies"]) == (4, 4, 2)
    assert row["mask_sha256"] == read_prepared(asked.data).mask_sha256
    assert (row["selected_epoch"], row["validation_map"]) == (trained.best_epoch, pytest.approx(trained.last_map))
    assert row["map"] == pytest.approx(last.metrics.mean_average_precision, abs=1e-6)
    np.testing.assert_allclose(read_scores(asked.out, row["key"]), last.probabilities, atol=1e-3)
    page = report_sweep(asked, Shown([row], ["a note"]), Silent()).read_text(encoding="utf-8")
    assert told in html.unescape(page)
    assert "a note" in page
    assert "Test mAP (%) on 4 images" in page


def test_a_sweep_of_copies_alone_is_refused(options, tmp_path):
    asked = with_copies(options, tmp_path, dict.fromkeys(range(24, 36, 2), 0))
    with pytest.raises(DataError, match="has no test image that is no copy of those it learns from, so no method"):
        sweep(asked)


def test_rows_of_other_pictures_are_other_rows(options, summary, tmp_path, sweep_here):
    """The same names, splits, labels and sizes in bytes; only the content of one image is another one."""
    asked = with_copies(options, tmp_path, {})
    (row,) = sweep(asked).rows
    assert pending(asked).runs_done == 1
    image = asked.data / read_prepared(asked.data).images[0]
    content = bytearray(image.read_bytes())
    content[-1] ^= 1  # of a checksum behind the pixels
    image.write_bytes(content)
    assert pending(asked).runs_done == 0
    with pytest.raises(RunError, match="nothing to report: rows kept and not shown, since they are of other data"):
        stored(asked)
    assert read_data(asked.data).sha256 != row["data_sha256"] == read_data(options.data).sha256


def test_every_run_has_a_row_that_its_kept_scores_explain(options, summary):
    prepared = read_prepared(options.data)
    labels = prepared.full_labels[prepared.rows(TEST)]
    assert [(row["seed"], row["method"]) for row in summary.rows] == [
        (0, "sarl"), (0, "linear"), (1, "sarl"), (1, "linear")
    ]  # fmt: skip
    for row in summary.rows:
        expected = average_precisions(read_scores(options.out, row["key"]), labels)
        assert row["average_precision"] == pytest.approx(expected.tolist())
        assert row["map"] == pytest.approx(expected.mean())
        assert {"config", "versions", "mask_sha256", "fingerprint", "train_seconds", "test_seconds"} <= row.keys()


def test_a_sweep_that_is_done_runs_nothing_again(options, summary):
    before = (options.out / RESULTS).read_bytes()
    assert sweep(options).rows == summary.rows
    assert (options.out / RESULTS).read_bytes() == before
    assert pending(options).runs_done == pending(options).runs == 4


def test_the_line_that_a_killed_process_left_unfinished_is_run_again(options, summary, sweep_here):
    """Everything but the time it took comes out the same."""
    results = options.out / RESULTS
    whole = results.read_bytes()
    results.write_bytes(whole[:-40])
    assert pending(options).runs_done == 3
    timeless = [{k: v for k, v in row.items() if "seconds" not in k} for row in sweep(options).rows]
    assert timeless == [{k: v for k, v in row.items() if "seconds" not in k} for row in summary.rows]
    assert len(read_results(results)) == 4


def test_the_processes_share_the_threads_that_pytorch_has(options, tmp_path, monkeypatch):
    """OMP_NUM_THREADS, which sets them, is not overruled by the number of cores."""

    @contextmanager
    def pool(processes, initializer, arguments):
        given.append(arguments[1])
        raise RunError("seen")
        yield

    given: list[int] = []
    monkeypatch.setattr(processes, "process_pool", pool)
    for have, jobs in ((7, 3), (1, 2)):
        monkeypatch.setattr(processes.torch, "get_num_threads", lambda have=have: have)
        with pytest.raises(RunError, match="seen"):
            sweep(replace(options, out=tmp_path, jobs=jobs))
    assert given == [2, 1]


def test_runs_that_fail_are_told_and_the_others_go_on(options, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "run_cell", failing.run_cell)
    methods = ("sd", "linear", "zero-shot", "baseline")
    done = sweep(replace(options, out=tmp_path, methods=methods, seeds=(SEED,), jobs=1))
    assert [row["method"] for row in done.rows] == ["zero-shot", "baseline"]
    assert len(done.failures) == 2
    assert done.failures[0].startswith("sd at 70%, seed 0: its process")
    assert done.failures[1] == "linear at 70%, seed 0: ValueError: a bug"


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (failing.start_worker, "a process of the sweep cannot start: AttributeError: "),
        (failing.start_killed_worker, "a process of the sweep was killed while it loaded"),
    ],
)
def test_processes_that_cannot_start_end_the_sweep_with_the_reason(options, tmp_path, monkeypatch, start, told):
    monkeypatch.setattr(processes, "start_worker", start)
    with pytest.raises(RunError, match=f"^{told}"):
        sweep(replace(options, out=tmp_path, seeds=(SEED,), jobs=1))
    assert read_results(tmp_path / RESULTS) == []


def test_a_run_whose_scores_cannot_be_written_has_failed(options, tmp_path, monkeypatch, sweep_here):
    def full(out, key, scores):
        raise DataError("no room")

    monkeypatch.setattr(runner, "write_scores", full)
    done = sweep(replace(options, out=tmp_path, seeds=(SEED,), jobs=1))
    assert done.failures == ["sarl at 70%, seed 0: no room", "linear at 70%, seed 0: no room"]
    assert read_results(tmp_path / RESULTS) == []


def test_a_row_of_other_code_is_not_kept(options, tmp_path, monkeypatch):
    """As of a machine of a cluster whose mlrpl was changed: its key is another one."""

    def rows_of_others(shared, left):
        while left:
            yield left.popleft(), Done({"key": "other"}, np.zeros((1, 3), np.float32))

    monkeypatch.setattr(runner, "rows_by_processes", rows_of_others)
    done = sweep(replace(options, out=tmp_path, seeds=(SEED,), jobs=1))
    told = "the machine that ran it has other code of mlrpl than this one; install the same there"
    assert done.failures == [f"{name} at 70%, seed 0: {told}" for name in ("sarl", "linear")]
    assert read_results(tmp_path / RESULTS) == []
    assert not list((tmp_path / "scores").iterdir())


def test_another_machine_encodes_what_its_cache_lacks(options, tmp_path):
    """As a process of a cluster does where it does not see the command's cache."""
    config = replace(options.config, cache=str(tmp_path / "cache"))
    with runner._opened(replace(options, out=tmp_path / "out", config=config), Silent()) as work:
        shared = pickle.loads(pickle.dumps(work.shared))
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(RunError, match="lost"):
        shared.learning.found()
    for views in views_here(shared, load_backbone(backbone_options(config))):
        views.found()
    shared.learning.found()
    shared.scored.found()
    assert not list((tmp_path / "cache").rglob("*.lock"))


def test_tuning_comes_first_and_its_choice_is_what_runs(options, tmp_path, sweep_here):
    """The row's settings are those whose tuning rows have the highest mean validation mAP, with one step an epoch."""
    config = replace(options.config, epochs=TrainConfig().epochs, batch_size=24)
    tuned = replace(options, out=tmp_path, methods=("linear",), seeds=(SEED,), tune=True, config=config)
    row = sweep(tuned).rows[0]
    maps: dict[tuple[float, int, str], list[float]] = {}
    for other in read_results(tmp_path / RESULTS):
        if other["kind"] == "tuning":
            assert "map" not in other
            setting = other["lr"], other["epochs"], other["loss"]
            maps.setdefault(setting, []).append(other["validation_map"])
    assert len(maps) == 20
    assert {len(found) for found in maps.values()} == {2}
    assert np.mean(maps[row["lr"], row["epochs"], row["loss"]]) == max(np.mean(found) for found in maps.values())
    assert row["tuned"] is True
    file = tmp_path / RESULTS
    file.write_text(file.read_text().replace('"tuned": true', '"tuned": false'))  # as a call without tuning leaves it
    assert sweep(tuned).rows == [row]
    assert read_results(file)[-1] == row


def test_a_setting_that_failed_at_one_proportion_is_not_chosen(options):
    """The first setting is ahead where it ran, the second ran everywhere."""
    config = replace(options.config, epochs=TrainConfig().epochs)
    plan = runner._resolve(replace(options, methods=("linear",), tune=True, config=config), Silent())[0]
    cells = tuning_cells(plan.options)
    maps = {cells[0]: 0.9, **{cell: 0.5 for cell in cells if cell.setting == cells[1].setting}}
    rows = [{"key": plan.key(cell), "validation_map": value} for cell, value in maps.items()]
    assert chosen_settings(plan, rows) == {("linear", None): cells[1].setting}


def test_every_wrong_option_is_told_at_once(options):
    wrong = replace(options, methods=("sarl", "sral"), keeps=(0.5, 1.5), seeds=(-1,), jobs=0)
    with pytest.raises(ConfigError) as raised:
        sweep(wrong)
    for part in ("not 1.5", "did you mean 'sarl'", "jobs: expected a whole number of at least 1, got 0", "-1"):
        assert part in str(raised.value)


def test_an_option_that_the_sweep_would_overrule_is_refused(options):
    config = replace(options.config, context_lr=0.1, loss="bce", selection="test", seed=7, method="sd", run="run")
    with pytest.raises(ConfigError) as raised:
        sweep(replace(options, tune=True, config=config))
    for name in ("epochs", "loss", "context_lr", "selection", "seed", "method", "run"):
        assert f"{name}: " in str(raised.value)
    with pytest.raises(ConfigError, match=r"^context_lr: in a sweep contexts learn at lr; leave it out$"):
        sweep(replace(options, config=replace(options.config, context_lr=0.1)))


def test_a_damaged_results_file_is_an_error_that_says_so(options, tmp_path):
    (tmp_path / RESULTS).write_text("{]\n")
    with pytest.raises(RunError, match="is damaged: expected a JSON object a line"):
        sweep(replace(options, out=tmp_path))


def test_scenes_whose_manifest_says_no_seed_are_an_error_that_says_so(options, tmp_path):
    shutil.copytree(options.data, tmp_path / "prepared")
    prepared = replace(read_prepared(tmp_path / "prepared"), dataset="scenes")  # its options are small.py's, no seed
    write_manifest(prepared.folder, prepared)
    with pytest.raises(DataError, match="does not say which seed drew its scenes"):
        sweep(replace(options, data=prepared.folder, out=tmp_path / "out"))


def hide_absent(options, splits, place) -> SweepOptions:
    """A copy of the data in which nothing is known to be absent in some splits."""
    folder = shutil.copytree(options.data, place / "prepared")
    prepared = read_prepared(folder)
    for labels in (prepared.full_labels, prepared.observed_labels):
        labels[np.isin(prepared.splits, splits)[:, None] & (labels == -1)] = 0
    write_manifest(folder, replace(prepared, image_root=folder))
    return replace(options, data=folder, out=place / "out")


@pytest.mark.parametrize(
    ("split", "tune", "advice"),
    [("test", False, "prepare it with some"), ("validation", True, "add --no-tune, or prepare it with some")],
)
def test_data_on_which_no_class_has_an_ap_are_refused_before_anything_is_trained(
    options, tmp_path, split, tune, advice
):
    asked = replace(hide_absent(options, [split], tmp_path), tune=tune)
    asked = replace(asked, config=replace(asked.config, epochs=TrainConfig.epochs))
    told = rf"no class with both a present and an absent cell among its {split} images, .* there; {advice}$"
    with pytest.raises(DataError, match=told):
        sweep(asked)
    assert not asked.out.exists()


def without(options, split, place) -> SweepOptions:
    """A copy of the data in which the images of a split train."""
    folder = shutil.copytree(options.data, place / "prepared")
    prepared = read_prepared(folder)
    splits = tuple("train" if own == split else own for own in prepared.splits)
    write_manifest(folder, replace(prepared, image_root=folder, splits=splits))
    return replace(options, data=folder, out=place / "out", methods=("linear",), seeds=(0,))


def test_data_without_test_or_validation_images_are_refused_where_these_are_needed(options, tmp_path):
    with pytest.raises(
        DataError, match=r"has no test image, so no method can be measured there; prepare it with some$"
    ):
        sweep(without(options, "test", tmp_path / "test"))
    asked = replace(without(options, "validation", tmp_path / "other"), tune=True)
    asked = replace(asked, config=replace(asked.config, epochs=TrainConfig.epochs))
    with pytest.raises(DataError, match=r"has no validation image, .*; add --no-tune, or prepare it with some$"):
        sweep(asked)


def test_a_sweep_that_does_not_tune_needs_no_validation_image(options, tmp_path, sweep_here):
    (row,) = sweep(without(options, "validation", tmp_path)).rows
    assert (row["validation_map"], row["selected_epoch"], row["epochs"]) == (None, 2, 2)
    assert row["selected_map"] == row["map"]


def test_a_sweep_of_positives_alone_takes_the_loss_for_them_and_says_so(options, tmp_path, sweep_here):
    said, progress = [], Silent()
    progress.warn = said.append
    asked = hide_absent(options, ["train", "validation"], tmp_path)
    (row,) = sweep(replace(asked, methods=("linear",), seeds=(0,)), progress).rows
    assert (row["loss"], row["config"]["loss"], row["validation_map"]) == ("an", "an", None)
    assert 0 <= row["map"] <= 1
    assert any(note.startswith("no class has a known absent cell: the loss is 'an'") for note in said)


def test_a_class_with_one_known_state_has_no_ap_in_a_row(options, tmp_path, sweep_here):
    folder = shutil.copytree(options.data, tmp_path / "prepared")
    prepared = read_prepared(folder)
    test = prepared.rows(TEST)
    for labels in (prepared.full_labels, prepared.observed_labels):
        labels[test, 0], labels[test[0], 1:], labels[test[1], 1:] = 1, 1, -1
    write_manifest(folder, replace(prepared, image_root=folder))
    asked = replace(options, data=folder, out=tmp_path / "out", methods=("linear",), seeds=(0,))
    (row,) = sweep(asked).rows
    assert row["average_precision"][0] is None
    assert row["map"] == pytest.approx(np.mean(row["average_precision"][1:]))


def test_all_runs_of_a_sweep_read_what_there_was_room_for_when_it_began(options, tmp_path, monkeypatch, sweep_here):
    """Of two views of 30 images and one of 6 test images there is room for one of each, in 8 bits."""
    config = replace(options.config, image_size=128, cache=str(tmp_path / "cache"))
    asked = replace(options, out=tmp_path / "out", methods=("linear",), jobs=1, config=config)
    room, heard = (30 + 6) * BYTES_IN_8_BITS, small.Heard()
    with monkeypatch.context() as full:
        full.setattr(files, "free_bytes", lambda folder: room)
        rows = sweep(replace(asked, seeds=(SEED,)), heard).rows
    assert [text for text in heard.warnings if "keeping 1 view of each training image in uint8" in text]
    assert pending(asked).runs_done == 1
    later = sweep(asked).rows
    assert len(later) == 2
    assert later[0] == rows[0]
    assert {(row["config"]["views"], row["config"]["cache_dtype"]) for row in later} == {(1, UINT8)}
    more = replace(asked, out=tmp_path / "more", seeds=(SEED,))
    assert sweep(more).rows[0]["config"]["cache_dtype"] == FLOAT16


def test_a_sweep_without_room_for_a_view_of_each_image_is_refused(options, tmp_path):
    asked = replace(options, out=tmp_path / "out", config=replace(options.config, cache_gib=1e-7))
    told = r"more than cache_gib 1e-07, and so does one view of each image; a sweep trains from the feature cache"
    with pytest.raises(ConfigError, match=told):
        sweep(asked)
