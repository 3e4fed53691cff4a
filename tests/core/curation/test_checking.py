"""Known cells are ranked by the probability that their label is right, and nothing hidden has a say in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cleanlab.multilabel_classification.rank import get_label_quality_scores_per_class
from scipy.stats import spearmanr

from mlrpl_cli.core.curation.checking import check, rank
from mlrpl_cli.core.curation.cross_fitting import FILE, CrossFitted
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from mlrpl_cli.core.runs.decided.calibration import sigmoid
from tests.core.curation.test_cross_fitting import OPTIONS

IMAGES, CLASSES = 400, ("cat", "dog", "fish")


def scored(errors: float, keep: float = 1.0) -> tuple[CrossFitted, np.ndarray]:
    """Scores of good classifiers, labels of which a share is wrong, and (N, C) which of them are."""
    random = np.random.default_rng(0)
    logits = random.normal(-1, 4, (IMAGES, len(CLASSES))).astype(np.float32)
    truth = np.where(random.random(logits.shape) < sigmoid(logits), PRESENT, ABSENT)
    wrong = random.random(logits.shape) < errors
    given = np.where(random.random(logits.shape) < keep, np.where(wrong, -truth, truth), UNKNOWN).astype(np.int8)
    rows = np.arange(IMAGES) + 7
    return CrossFitted(CLASSES, rows, given, np.zeros_like(given), logits), wrong & (given != UNKNOWN)


def test_wrong_labels_come_first_and_are_counted():
    cells, wrong = scored(0.05, keep=0.7)
    found = rank(cells)
    are = wrong[found.rows - 7, found.columns]
    assert len(found.right) == (cells.labels != UNKNOWN).sum()
    assert (np.diff(found.right) >= 0).all()
    assert (found.given == cells.labels[found.rows - 7, found.columns]).all()
    assert are[:20].mean() > 10 * are.mean()
    assert found.expected_wrong.sum() == pytest.approx(are.sum(), rel=0.3)
    assert found.known.sum(axis=0).tolist() == [(cells.labels == state).sum() for state in (PRESENT, ABSENT)]


def test_ranks_in_a_class_count_from_one_in_the_order_of_the_ranking():
    found = rank(scored(0.05, keep=0.5)[0])
    for column in range(len(CLASSES)):
        assert found.rank_in_class[found.columns == column].tolist() == list(range(1, found.known[column].sum() + 1))


def test_labels_of_a_class_that_are_given_alike_are_in_the_order_of_cleanlab():
    """Both put those first that the score contradicts most; across classes and kinds cleanlab has no error rates."""
    cells, _ = scored(0.05)
    present = [np.flatnonzero(row == PRESENT).tolist() for row in cells.labels]
    theirs = get_label_quality_scores_per_class(present, sigmoid(cells.logits))
    found = rank(cells)
    score, group = theirs[found.rows - 7, found.columns], 2 * found.columns + (found.given == PRESENT)
    for each in np.unique(group):
        # Not quite 1: images of other parts are calibrated a hair otherwise.
        assert spearmanr(score[group == each], found.right[group == each]).statistic > 0.99


def test_classes_with_cells_of_one_kind_are_told_and_judged_by_the_others():
    cells, _ = scored(0.05)
    labels = cells.labels.copy()
    labels[labels[:, 2] == ABSENT, 2] = UNKNOWN
    labels[:, 1] = UNKNOWN
    found = rank(replace(cells, labels=labels))
    assert found.one_sided == ("fish",)
    assert np.isfinite(found.right[found.columns == 2]).all()


def test_labels_that_nothing_contradicts_are_refused():
    cells, _ = scored(0)
    only = np.where(cells.labels == PRESENT, PRESENT, UNKNOWN).astype(np.int8)
    with pytest.raises(DataError, match="no class has known cells of both kinds, present and absent"):
        rank(replace(cells, labels=only))


def test_hidden_labels_and_those_of_test_images_have_no_say(place):
    prepared, run = place
    out_of_sight = (prepared.observed_labels == UNKNOWN) | (np.array(prepared.splits) == "test")[:, None]
    full = np.where(out_of_sight, -prepared.full_labels, prepared.full_labels)
    observed = np.where(prepared.observed_labels == UNKNOWN, UNKNOWN, full)
    (run / FILE).unlink(missing_ok=True)
    before = check(prepared, OPTIONS, run)
    (run / FILE).unlink()
    after = check(replace(prepared, full_labels=full, observed_labels=observed), OPTIONS, run)
    assert (before.right == after.right).all()
    assert (before.rows == after.rows).all()
    assert not {prepared.splits[row] for row in before.rows} & {"test"}
