"""A sweep over folds: what is trained, what is joined, and what is kept."""

from __future__ import annotations

import html
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from mlrpl_cli.core.config import LAST, TrainConfig
from mlrpl_cli.core.evaluation.evaluate import evaluate
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.io.errors import ConfigError, DataError
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.io.tensorfiles import SUFFIX
from mlrpl_cli.core.labels.masks import known_mask
from mlrpl_cli.core.prepared.folder import read_prepared, write_manifest
from mlrpl_cli.core.reports.sweep_page import RARE, report_sweep
from mlrpl_cli.core.sweep.data import read_data
from mlrpl_cli.core.sweep.plan import SweepOptions
from mlrpl_cli.core.sweep.results import RESULTS, SCORES, read_results, read_scores
from mlrpl_cli.core.sweep.runner import all_shown, pending, stored, sweep
from mlrpl_cli.core.training.train import train
from tests import reference, small

KEEP, SEED, IMAGES, FOLDS = 0.7, 3, 36, 3
TURNS = np.arange(IMAGES) % FOLDS


@pytest.fixture(scope="module")
def options(tmp_path_factory) -> SweepOptions:
    folder = tmp_path_factory.mktemp("folds")
    data = small.write_prepared(folder / "prepared", IMAGES)
    rows = "".join(f"{row:03d},{fold}\n" for row, fold in enumerate(TURNS.tolist()))
    (folder / "folds.csv").write_text(f"image,fold\n{rows}")
    config = TrainConfig(backbone=str(small.write_backbone(folder / "clip.safetensors")), **small.OPTIONS, epochs=2)
    asked = SweepOptions(data, folder / "out", ("linear", "zero-shot"), (KEEP,), (SEED,), tune=False, config=config)
    return replace(asked, folds=folder / "folds.csv", least_positives=1)


@pytest.fixture(scope="module")
def summary(options):
    return sweep(options)


def test_joined_scores_are_those_of_runs_on_the_other_folds_and_figures_are_of_them(options, summary, tmp_path):
    """Reference: for each fold a run on the others, of one mask over all images, and its evaluation on that fold."""
    prepared = read_prepared(options.data)
    full = prepared.full_labels
    known = known_mask(IMAGES, 3, KEEP, SEED)
    expected = np.empty((IMAGES, 3), np.float32)
    for fold in range(FOLDS):
        folder = small.write_prepared(tmp_path / f"data{fold}", IMAGES)
        held = fold == TURNS
        observed = np.where(held[:, None] | known, full, 0).astype(np.int8)
        splits = tuple("test" if own else "train" for own in held)
        write_manifest(
            folder, replace(prepared, folder=folder, image_root=folder, splits=splits, observed_labels=observed)
        )
        run = str(tmp_path / f"run{fold}")
        train(
            replace(options.config, data=str(folder), method="linear", seed=SEED, run=run, context_lr=options.config.lr)
        )
        found = evaluate(EvaluationOptions(tmp_path / f"run{fold}", checkpoint=LAST, workers=0, device="cpu"))
        expected[held] = found.probabilities
    (row,) = (row for row in summary.rows if row["method"] == "linear")
    scores = read_scores(options.out, row["key"])
    np.testing.assert_allclose(scores, expected, atol=1e-3)  # the cache holds 16 bits
    aps = [reference.average_precision(scores[:, c], full[:, c] == 1) for c in range(3)]
    assert row["average_precision"] == pytest.approx(aps)
    assert row["map"] == pytest.approx(np.mean(aps))
    assert (row["test_images"], row["folds"], row["selected_map"]) == (IMAGES, FOLDS, None)
    assert [setting["fold"] for setting in row["settings"]] == [0, 1, 2]
    assert (row["lr"], row["epochs"]) == (options.config.lr, 2)


def test_a_fold_has_a_row_and_scores_of_its_own_and_no_figure(options, summary):
    rows = [row for row in read_results(options.out / RESULTS) if row["kind"] == "fold"]
    assert len(rows) == 2 * FOLDS
    assert not any(name in row for row in rows for name in ("map", "average_precision"))
    assert all(read_scores(options.out, row["key"]).shape == (IMAGES // FOLDS, 3) for row in rows)
    assert len({row["mask_sha256"] for row in rows}) == 1
    assert (pending(options).runs, pending(options).runs_done) == (2 * FOLDS, 2 * FOLDS)


@pytest.mark.parametrize("lost", ["the last row", "a fold", "scores of a fold", "joined scores"])
def test_what_is_lost_is_made_again_and_nothing_else(options, summary, tmp_path, sweep_here, lost):
    out = shutil.copytree(options.out, tmp_path / "out")
    asked, file = replace(options, out=out), out / RESULTS
    rows = read_results(file)
    (joined,) = (row for row in rows if row["kind"] == "run" and row["method"] == "linear")
    fold = next(row for row in rows if row["kind"] == "fold" and row["method"] == "linear")
    gone = {"the last row": [], "a fold": [fold, joined], "scores of a fold": [], "joined scores": []}[lost]
    kept = rows[:-1] if lost == "the last row" else [row for row in rows if row not in gone]
    file.write_text("".join(json.dumps(row) + "\n" for row in kept))
    if lost.endswith("scores") or lost.startswith("scores"):
        (out / SCORES / f"{(joined if lost == 'joined scores' else fold)['key']}{SUFFIX}").unlink()
    again = sweep(asked)
    timeless = [
        [{k: v for k, v in row.items() if "seconds" not in k and k != "config"} for row in each.rows]
        for each in (again, summary)
    ]
    assert timeless[0] == timeless[1]
    made = {row["key"] for row in read_results(file)}
    assert made == {row["key"] for row in rows} - ({fold["key"]} if lost == "scores of a fold" else set())


def test_no_copy_of_an_image_trains_what_scores_it(options, tmp_path, sweep_here):
    """Reference: a fold file without the copy, for the fold of the original."""
    folder = shutil.copytree(options.data, tmp_path / "prepared")
    prepared = read_prepared(folder)
    write_manifest(folder, replace(prepared, folder=folder, image_root=folder))
    shutil.copy(folder / prepared.images[0], folder / prepared.images[1])
    asked = replace(options, data=folder, out=tmp_path / "out", methods=("linear",))
    said: list[str] = []
    progress = Silent()
    progress.warn = said.append
    assert sweep(asked, progress).rows
    assert "1 image with copies in other folds: no copy of an image trains what scores it" in said
    data = read_data(folder, asked.config, asked.folds)
    assert 1 not in data.sides(0).training
    assert 0 not in data.sides(1).training
    assert {0, 1} <= set(data.sides(2).training.tolist())


def test_rare_classes_are_in_no_figure_but_their_own(options, summary, tmp_path, sweep_here):
    """Two counts apart: the class with the fewest positives alone is below the larger one of both."""
    positives = (read_prepared(options.data).full_labels == 1).sum(axis=0)
    column, name = int(positives.argmin()), small.CLASSES[int(positives.argmin())]
    out = shutil.copytree(options.out, tmp_path / "out")
    asked = replace(options, out=out, least_positives=int(np.sort(positives)[0]) + 1)
    assert (positives < asked.least).sum() == 1
    found = sweep(asked)
    others = [row["kind"] for row in read_results(out / RESULTS)]
    assert (others.count("fold"), others.count("run")) == (2 * FOLDS, 4), "nothing was trained again"
    for row, before in zip(found.rows, summary.rows, strict=True):
        aps = before["average_precision"]
        assert row["average_precision"] == aps
        assert row["map"] == pytest.approx(np.mean(np.delete(aps, column)))
        assert row["rare"] == {name: {"positives": int(positives[column]), "average_precision": aps[column]}}
    page = report_sweep(asked, all_shown(found), Silent())
    text = html.unescape(page.read_text(encoding="utf-8"))
    assert f"Out-of-fold mAP (%) on {IMAGES} images of table over 2 of 3 classes" in text
    share = 100 * found.rows[0]["average_precision"][column]
    assert f"| {name} | {positives[column]} | " in text.split("## Rare classes")[1]
    assert f"{share:.1f} |" in text.split("## Rare classes")[1]
    assert "(least_positives was 1, not" in text
    written = (page.parent / RARE).read_text().splitlines()
    assert written[0] == "class,positives,method,keep,average_precision"
    assert f"{name},{positives[column]},linear,0.7,{share / 100:.6f}" in written
    report_sweep(options, stored(options), Silent())
    assert not (options.out / "report" / RARE).exists()


def test_where_every_class_is_rare_nothing_is_run(options, tmp_path):
    with pytest.raises(DataError, match=r"has no class with 37 present cells among the images that are scored; lower"):
        sweep(replace(options, out=tmp_path / "out", least_positives=37))
    assert replace(options, least_positives=None).least == 10
    assert replace(options, least_positives=None, folds=None).least == 1


def test_each_fold_is_tuned_on_the_next_one_and_the_page_says_every_setting(options, tmp_path, monkeypatch, sweep_here):
    """Reference: of two learning rates, the one with the higher mean over the tuning rows of that fold."""
    for name, values in (("GRID_LR", (1e-9, 0.05)), ("GRID_EPOCHS", (2,)), ("GRID_LOSS", ("bce",))):
        monkeypatch.setattr(f"mlrpl_cli.core.sweep.plan.{name}", values)
    defaults = TrainConfig()
    config = replace(options.config, lr=defaults.lr, epochs=defaults.epochs)
    asked = replace(options, out=tmp_path / "out", methods=("linear",), tune=True, config=config)
    (row,) = sweep(asked).rows
    tuned = [each for each in read_results(asked.out / RESULTS) if each["kind"] == "tuning"]
    assert len(tuned) == 2 * 2 * FOLDS
    for setting in row["settings"]:
        own = [each for each in tuned if each["fold"] == setting["fold"]]
        sums = {lr: sum(each["validation_map"] or 0 for each in own if each["lr"] == lr) for lr in (1e-9, 0.05)}
        assert sums[setting["lr"]] == max(sums.values())
    assert row["tuned"] is True
    assert pending(asked).left == 0
    page = report_sweep(asked, stored(asked), Silent()).read_text(encoding="utf-8")
    settings = page.split("## Settings")[1].split("\n## ")[0]
    rates = {setting["lr"] for setting in row["settings"]}
    wanted = ["all"] if len(rates) == 1 else ["0", "1", "2"]
    assert all(f"| `linear` | {fold} | " in settings for fold in wanted)


def test_two_folds_leave_nothing_to_tune_on(options, tmp_path):
    rows = "".join(f"{row:03d},{row % 2}\n" for row in range(IMAGES))
    (tmp_path / "two.csv").write_text(f"image,fold\n{rows}")
    config = replace(options.config, epochs=TrainConfig().epochs)
    asked = replace(options, out=tmp_path / "out", folds=tmp_path / "two.csv", config=config)
    with pytest.raises(ConfigError, match=r"^tuning over folds needs at least 3: .*; add --no-tune, or use more folds"):
        sweep(replace(asked, tune=True))
    assert pending(asked).runs == 4


def test_rows_of_a_test_split_and_of_folds_are_of_other_data(options, summary, tmp_path, sweep_here):
    out = shutil.copytree(options.out, tmp_path / "out")
    split = replace(options, out=out, folds=None, methods=("zero-shot",))
    (row,) = sweep(split).rows
    assert row["data_sha256"] != summary.rows[0]["data_sha256"]
    assert [each["key"] for each in stored(split).rows] == [row["key"]]
    assert {each["key"] for each in stored(replace(split, folds=options.folds)).rows} == {
        each["key"] for each in summary.rows
    }
