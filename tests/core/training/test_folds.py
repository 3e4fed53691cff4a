"""Cross-validation: scores of each fold are those of a run that was trained on the others."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlrpl_cli.core.config import LAST, make_config
from mlrpl_cli.core.evaluation.evaluate import evaluate
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.io.tensorfiles import open_tensors
from mlrpl_cli.core.prepared.folder import NO_FOLD, Prepared, read_prepared, write_manifest
from mlrpl_cli.core.runs import contents
from mlrpl_cli.core.runs.checkpoint import load_checkpoint
from mlrpl_cli.core.training import folds
from mlrpl_cli.core.training.train import train
from tests import reference, small

pytestmark = pytest.mark.usefixtures("one_thread")
FOLDS = 3


def with_splits(prepared: Prepared, splits: list[str], folds: np.ndarray | None = None) -> Prepared:
    """Written over itself, all that is known being what training sees."""
    made = replace(prepared, splits=tuple(splits), folds=folds, full_labels=prepared.observed_labels)
    return write_manifest(prepared.folder, made)


def folded(folder: Path, test: bool = False) -> Prepared:
    """Every third training image is of a fold; with `test` the others test, else there are none."""
    prepared = read_prepared(small.write_prepared(folder))
    training = np.array([split == "train" for split in prepared.splits])
    if not test:
        training[:] = True
    folds = np.where(training, np.arange(len(training)) % FOLDS, NO_FOLD).astype(np.int16)
    return with_splits(prepared, ["train" if own else "test" for own in training], folds)


@pytest.fixture
def flags(tmp_path) -> dict[str, Any]:
    backbone = small.write_backbone(tmp_path / "clip.safetensors")
    run, cache = str(tmp_path / "run"), str(tmp_path / "features")
    return {**small.OPTIONS, "backbone": str(backbone), "run": run, "cache": cache, "epochs": 2}


def stored(run: str, fold: int) -> np.ndarray:
    return open_tensors(Path(run) / "folds" / f"{fold}.safetensors").checked().tensors["probabilities"].numpy()


def test_out_of_fold_scores_are_those_of_runs_on_the_other_folds_and_the_figure_is_over_all(flags, tmp_path):
    """Reference: a run and an evaluation for each fold, whose scores are put together before AP is computed."""
    prepared = folded(tmp_path / "data")
    summary = train(make_config(flags={**flags, "data": str(prepared.folder)}))
    expected = np.empty((36, 3), np.float32)
    for fold in range(FOLDS):
        data = read_prepared(small.write_prepared(tmp_path / f"fold{fold}"))
        splits = ["test" if own == fold else "train" for own in prepared.folds.tolist()]
        with_splits(data, splits)
        run = str(tmp_path / f"run{fold}")
        train(make_config(flags={**flags, "data": str(data.folder), "run": run}))
        found = evaluate(EvaluationOptions(Path(run), device="cpu", workers=0)).probabilities
        np.testing.assert_allclose(stored(flags["run"], fold), found, atol=4e-3)  # the cache holds 16 bits
        expected[prepared.folds == fold] = stored(flags["run"], fold)
    labels = prepared.observed_labels
    known = [labels[:, c] != 0 for c in range(3)]
    aps = [reference.average_precision(expected[own, c], labels[own, c] == 1) for c, own in enumerate(known)]
    assert (summary.folds, summary.out_of_fold_map) == (FOLDS, pytest.approx(np.mean(aps), abs=1e-6))
    told = json.loads((Path(flags["run"]) / "out_of_fold.json").read_text())
    assert told["map"] == summary.out_of_fold_map
    assert [entry["ap"] for entry in told["classes"]] == pytest.approx(aps, abs=1e-6)
    assert (told["folds"], told["images"]) == (FOLDS, 36)


def test_the_final_run_is_trained_on_everything(flags, tmp_path):
    """To the bit the run on the same images without folds."""
    prepared = folded(tmp_path / "data")
    train(make_config(flags={**flags, "data": str(prepared.folder)}))
    with_splits(prepared, ["train"] * 36)
    train(make_config(flags={**flags, "data": str(prepared.folder), "run": str(tmp_path / "plain")}))
    left, right = (load_checkpoint(Path(run), LAST).tensors for run in (flags["run"], tmp_path / "plain"))
    assert left.keys() == right.keys()
    assert all(left[name].equal(right[name]) for name in left)
    assert len(left["trained_images"]) == 36


def test_test_images_are_of_no_fold_and_are_evaluated(flags, tmp_path):
    prepared = folded(tmp_path / "data", test=True)
    summary = train(make_config(flags={**flags, "data": str(prepared.folder)}))
    assert summary.out_of_fold_map is not None
    assert json.loads((Path(flags["run"]) / "out_of_fold.json").read_text())["images"] == 24
    assert evaluate(EvaluationOptions(Path(flags["run"]), device="cpu", workers=0)).images == 12


def test_no_image_is_scored_by_a_recognizer_that_was_trained_on_a_copy_of_it(flags, tmp_path):
    """Reference: the fold of the original left out, its copy under another name in no fold at all."""
    prepared, said = folded(tmp_path / "data"), small.Heard()
    shutil.copy(prepared.image_root / prepared.images[0], prepared.image_root / prepared.images[1])
    train(make_config(flags={**flags, "data": str(prepared.folder)}), said)
    assert [text for text in said.warnings if text.startswith("1 image with copies in other folds")]
    folds = prepared.folds.copy()
    folds[1] = NO_FOLD
    other = with_splits(prepared, ["train"] + ["test"] + ["train"] * 34, folds)
    train(make_config(flags={**flags, "data": str(other.folder), "run": str(tmp_path / "other")}), said)
    assert np.array_equal(stored(flags["run"], 0), stored(str(tmp_path / "other"), 0))


def test_an_interrupted_cross_validation_goes_on_with_the_next_fold(flags, tmp_path):
    data = str(folded(tmp_path / "data").folder)
    with pytest.raises(KeyboardInterrupt):
        train(make_config(flags={**flags, "data": data}), small.StopAt(1, "cross-validation"))
    (first,) = (Path(flags["run"]) / "folds").iterdir()
    written = first.stat().st_mtime_ns
    summary = train(make_config(flags={**flags, "data": data}))
    assert first.stat().st_mtime_ns == written
    whole = train(make_config(flags={**flags, "data": data, "run": str(tmp_path / "whole")}))
    assert replace(summary, run=whole.run) == whole
    for fold in range(FOLDS):
        assert np.array_equal(stored(flags["run"], fold), stored(str(whole.run), fold))


def test_scores_of_a_fold_that_are_damaged_or_of_other_options_are_made_again(flags, tmp_path):
    data = str(folded(tmp_path / "data").folder)
    whole = train(make_config(flags={**flags, "data": data}))
    path = Path(flags["run"]) / "folds" / "1.safetensors"
    before = path.read_bytes()
    path.write_bytes(before[:-1])
    assert train(make_config(flags={**flags, "data": data})) == whole
    assert path.read_bytes() == before
    train(make_config(flags={**flags, "data": data, "epochs": 3}), fresh=True)
    assert path.read_bytes() != before


def test_eval_names_the_figures_of_the_folds_where_there_is_no_test_image(flags, tmp_path):
    train(make_config(flags={**flags, "data": str(folded(tmp_path / "data").folder)}))
    with pytest.raises(RunError, match=r"no figure can be computed on it \(those of its folds are in .*out_of_fold"):
        evaluate(EvaluationOptions(Path(flags["run"]), device="cpu", workers=0))


def test_what_images_hold_is_looked_for_once_and_remembered_in_the_cache_of_the_run(flags, tmp_path, monkeypatch):
    """Not for each fold again, and not in the current folder."""
    asked: list[tuple[str | None, int]] = []
    found = contents.digests_of

    def counting(prepared, rows, cache=None, workers=None):
        asked.append((cache, len(rows)))
        return found(prepared, rows, cache, workers)

    monkeypatch.setattr(contents, "digests_of", counting)
    monkeypatch.setattr(folds, "digests_of", counting)
    train(make_config(flags={**flags, "data": str(folded(tmp_path / "data").folder)}))
    assert asked == [(flags["cache"], 36), (flags["cache"], 0), (flags["cache"], 36)]
