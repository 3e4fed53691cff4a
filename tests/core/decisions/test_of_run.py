"""The decisions of trained runs: whose cells they come from, what has none, and who reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlrpl_cli.core.config import BEST, LAST, make_config
from mlrpl_cli.core.decisions import after_training
from mlrpl_cli.core.decisions.after_training import train_and_decide
from mlrpl_cli.core.decisions.measured import measure
from mlrpl_cli.core.decisions.of_run import decide
from mlrpl_cli.core.decisions.reliability import reliability
from mlrpl_cli.core.evaluation.evaluate import evaluate
from mlrpl_cli.core.evaluation.metrics import precision_recall
from mlrpl_cli.core.evaluation.options import EvaluationOptions
from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.labels.states import ABSENT, UNKNOWN
from mlrpl_cli.core.prediction.predictor import Predictor
from mlrpl_cli.core.prepared.folder import NO_FOLD, Prepared, read_prepared, write_manifest
from mlrpl_cli.core.runs.decided.decisions import read_decisions
from mlrpl_cli.core.runs.decided.objective import parse_objective
from mlrpl_cli.core.runs.decided.scores import read_held_out
from mlrpl_cli.core.runs.folder import DECISIONS, HELD_OUT
from tests import small

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decided")
    flags = small.write_training(folder, epochs=2)
    small_data(folder / "prepared", lambda prepared: prepared)
    return train_and_decide(make_config(flags=flags)).run


def small_data(folder: Path, change: Callable[[Prepared], Prepared]) -> None:
    """Sixty images, every second one for training, changed."""
    import shutil

    shutil.rmtree(folder)
    prepared = read_prepared(small.write_prepared(folder, images=60))
    splits = ("train", "validation", "train", "test") * 15
    full = prepared.full_labels
    observed = np.where(
        (np.array(splits) == "test")[:, None], full, np.where(np.arange(180).reshape(60, 3) % 3, full, 0)
    )
    changed = replace(prepared, splits=splits, observed_labels=observed.astype(np.int8))
    write_manifest(folder, change(changed))


def trained(place: Path, change: Callable[[Prepared], Prepared], **options: Any) -> tuple[Path, list[str]]:
    """A run of one epoch on changed data, and what was warned of."""
    flags, heard = small.write_training(place, epochs=1), small.Heard()
    small_data(place / "prepared", change)
    config = make_config(flags={**flags, "method": "linear", **options})
    return train_and_decide(config, heard).run, heard.warnings


def folded(prepared: Prepared) -> Prepared:
    training = np.array(prepared.splits) == "train"
    return replace(prepared, folds=np.where(training, np.arange(60) // 2 % 3, NO_FOLD).astype(np.int16))


def without_validation(prepared: Prepared) -> Prepared:
    splits = tuple("test" if split == "validation" else split for split in prepared.splits)
    return replace(
        prepared,
        splits=splits,
        observed_labels=np.where(np.array(splits)[:, None] == "test", prepared.full_labels, prepared.observed_labels),
    )


def positives(prepared: Prepared) -> Prepared:
    only = [np.where(labels == ABSENT, UNKNOWN, labels) for labels in (prepared.full_labels, prepared.observed_labels)]
    return replace(prepared, full_labels=only[0], observed_labels=only[1])


def test_known_validation_cells_decide(run: Path) -> None:
    prepared = read_prepared(run.parent / "prepared")
    rows = prepared.rows("validation")
    for which, held in read_held_out(run).items():
        assert held.source == "validation"
        np.testing.assert_array_equal(held.rows, rows)
        np.testing.assert_array_equal(held.labels, prepared.observed_labels[rows])
        predictor = Predictor.from_run(run, which, "cpu")
        raw = [one.raw for one in predictor.predict_files(prepared.paths(rows))]
        np.testing.assert_allclose(raw, 1 / (1 + np.exp(-held.logits)), atol=2e-3)
    assert read_decisions(run).keys() == {BEST, LAST}


def test_predictions_are_calibrated_and_decided(run: Path) -> None:
    """By the run's own calibration and thresholds, from the probabilities before."""
    prepared = read_prepared(run.parent / "prepared")
    predictor, decision = Predictor.from_run(run, device="cpu"), read_decisions(run)[BEST]
    for one in predictor.predict_files(prepared.paths(prepared.rows("test"))[:4]):
        logits = np.log(one.raw) - np.log1p(-one.raw)
        np.testing.assert_allclose(one.probabilities, decision.calibration.apply(logits[None])[0], atol=1e-5)
        assert one.calibrated
        assert set(one.decisions) <= {"yes", "no", "unsure"}


def test_evaluation_measures_both_and_the_figures_at_the_thresholds(run: Path) -> None:
    found = evaluate(EvaluationOptions(run=run, workers=0, device="cpu"))
    measured, decision = measure(found), read_decisions(run)[BEST]
    labels = found.prepared.full_labels[found.prepared.rows("test")]
    calibrated = decision.calibration.apply(np.log(found.probabilities) - np.log1p(-found.probabilities))
    assert measured.before == reliability(found.probabilities, labels)
    assert measured.after.log_loss == pytest.approx(reliability(calibrated, labels).log_loss, rel=1e-4)
    assert measured.at_thresholds == precision_recall(calibrated >= decision.thresholds, labels)


def test_another_objective_changes_thresholds_alone_and_is_kept(run: Path) -> None:
    before = read_decisions(run)[BEST]
    after = decide(run, parse_objective("cost=3:1")).of[BEST]
    np.testing.assert_array_equal(after.thresholds, 0.25)
    np.testing.assert_array_equal(after.calibration.coefficients, before.calibration.coefficients)
    assert str(decide(run).of[BEST].objective) == "cost=3:1"
    assert str(decide(run, parse_objective("f1")).of[BEST].objective) == "f1"


def test_out_of_fold_scores_decide_where_there_are_more_of_them(tmp_path: Path) -> None:
    run, _ = trained(tmp_path, folded)
    held = read_held_out(run)[LAST]
    prepared = read_prepared(tmp_path / "prepared")
    assert held.source == "out-of-fold"
    np.testing.assert_array_equal(held.rows, np.flatnonzero(prepared.folds >= 0))
    np.testing.assert_array_equal(held.labels, prepared.observed_labels[held.rows])


@pytest.mark.parametrize(("change", "options"), [(without_validation, {}), (lambda p: p, {"selection": "test"})])
def test_without_a_held_out_image_it_says_so_once_and_probabilities_stay(tmp_path: Path, change, options) -> None:
    run, warnings = trained(tmp_path, change, **options)
    told = [text for text in warnings if "calibrate" in text]
    assert told == [
        "no held-out image to calibrate by: probabilities stay as the method gives them; `mlrpl prepare` with "
        "--validation-fraction 0.1, or with --folds 5, holds images out"
    ]
    assert not (run / HELD_OUT).exists()
    assert not (run / DECISIONS).exists()
    (one,) = Predictor.from_run(run, device="cpu").predict_files([tmp_path / "prepared/images/000.png"])
    assert (one.calibrated, one.decisions) == (False, None)
    np.testing.assert_array_equal(one.probabilities, one.raw)
    with pytest.raises(RunError, match="has no scores of held-out images to choose by; `mlrpl train --resume --run"):
        decide(run)


def test_positive_only_labels_calibrate_nothing_and_decide_nothing(tmp_path: Path) -> None:
    run, warnings = trained(tmp_path, positives)
    assert any(text.startswith("no class has present and absent cells among the held-out images") for text in warnings)
    (one,) = Predictor.from_run(run, device="cpu").predict_files([tmp_path / "prepared/images/000.png"])
    assert (one.calibrated, one.decisions) == (False, None)
    np.testing.assert_allclose(one.probabilities, one.raw, atol=1e-6)


def test_classes_whose_known_cells_are_not_like_the_others_stay_as_they_are(tmp_path: Path) -> None:
    """In one class only present cells are known: no part in the rule, no threshold, and it is said which."""

    def change(prepared):
        observed = prepared.observed_labels.copy()
        learning = np.array(prepared.splits) != "test"
        observed[learning & (prepared.full_labels[:, 1] != 1), 1] = 0
        return replace(prepared, observed_labels=observed.astype(np.int8))

    run, warnings = trained(tmp_path, change)
    decided = decide(run).of[BEST]
    assert decided.calibration.unlike == (1,)
    assert np.isnan(decided.thresholds[1])
    assert any(
        "1 class has known cells that do not stand for their unknown ones (green thing)" in one for one in warnings
    )
    predictor = Predictor.from_run(run, device="cpu")
    assert predictor.uncalibrated == ("green thing",)
    (one,) = predictor.predict_files([tmp_path / "prepared/images/000.png"])
    assert one.probabilities[1] == pytest.approx(one.raw[1], abs=1e-6)
    assert one.decisions[1] == "unsure"


def test_an_objective_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    run, _ = trained(tmp_path, lambda prepared: prepared)
    decide(run, parse_objective("recall=0.9"))
    (run / DECISIONS).write_text((run / DECISIONS).read_text().replace("recall=0.9", "recall=9"))
    heard = small.Heard()
    assert str(decide(run, progress=heard).of[BEST].objective) == "f1"
    (told,) = heard.warnings
    assert told.startswith(f"{run / DECISIONS} is damaged: --objective: expected f1")
    assert told.endswith("it is made again, for f1: --objective says another")


def test_figures_of_the_images_that_chose_are_told(tmp_path: Path) -> None:
    run, _ = trained(tmp_path, lambda prepared: prepared)
    for split, count in (("validation", 1), ("test", 0)):
        heard = small.Heard()
        measure(evaluate(EvaluationOptions(run, device="cpu", workers=0, split=split)), heard)
        assert sum("which flatters them here" in one for one in heard.warnings) == count


def test_a_run_of_before_gets_decisions_when_it_is_resumed(tmp_path: Path) -> None:
    run, _ = trained(tmp_path, lambda prepared: prepared)
    content = (run / DECISIONS).read_bytes()
    (run / DECISIONS).unlink()
    (run / HELD_OUT).unlink()
    train_and_decide(make_config(run / "config.yaml", {"run": str(run)}), resume=True)
    assert (run / DECISIONS).read_bytes() == content
    assert json.loads(content)["best"]["source"] == "validation"


def test_a_finished_run_that_is_asked_for_again_keeps_its_decisions(tmp_path: Path, monkeypatch) -> None:
    run, _ = trained(tmp_path, lambda prepared: prepared)
    decide(run, parse_objective("recall=0.9"))
    monkeypatch.setattr(after_training, "decide", None)  # choosing again would raise
    kept = (run / DECISIONS).read_bytes()
    train_and_decide(make_config(run / "config.yaml", {"run": str(run)}), resume=True)
    assert (run / DECISIONS).read_bytes() == kept
