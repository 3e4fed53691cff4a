"""Every cell's score comes from a classifier that did not know it."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.curation import cross_fitting
from mlrpl_cli.core.curation.cross_fitting import FILE, PARTS, CrossFitted, cross_fit, fit_parts, kept, parts_of
from mlrpl_cli.core.io.errors import DataError, RunError
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.labels.states import UNKNOWN
from mlrpl_cli.core.runs.selection import RunOptions
from tests import small

OPTIONS = RunOptions(device="cpu", workers=0)


@pytest.fixture(scope="module")
def found(place) -> CrossFitted:
    prepared, run = place
    (run / FILE).unlink(missing_ok=True)
    return cross_fit(prepared, OPTIONS, run)


def test_every_cell_of_the_images_that_are_no_test_images_has_a_score(place, found):
    prepared, _ = place
    assert found.rows.tolist() == [row for row, split in enumerate(prepared.splits) if split != TEST]
    assert found.labels.tolist() == prepared.observed_labels[found.rows].tolist()
    assert np.isfinite(found.logits).all()
    assert found.logits.shape == found.labels.shape == found.parts.shape
    assert (found.known == (found.labels != UNKNOWN)).all()


def test_a_label_has_no_say_in_the_scores_of_its_own_part_and_has_one_in_others(monkeypatch):
    """Labels of one part turned over: the scores of that part stay to the bit."""
    random = torch.Generator().manual_seed(0)
    scores, contents = torch.randn(40, 3, 2, generator=random), torch.randn(40, 8, generator=random)
    labels = np.where(scores[..., 0].numpy() > 0, 1, -1).astype(np.int8)
    parts = parts_of(np.arange(40), 3)
    turned = np.where(parts == 2, -labels, labels).astype(np.int8)
    config, texts = TrainConfig(loss="bce"), torch.zeros(3, 4)
    before, after = (fit_parts((scores, contents), texts, each, parts, config, Silent()) for each in (labels, turned))
    assert (before[parts == 2] == after[parts == 2]).all()
    assert (before[parts != 2] != after[parts != 2]).all()


def test_copies_of_an_image_are_held_out_together():
    parts = parts_of(np.array([0, 1, 0, 2, 1]), 200)
    assert (parts[[0, 1]] == parts[[2, 4]]).all()
    assert (parts[0] != parts[1]).any()
    assert np.unique(parts).tolist() == list(range(PARTS))


def test_hidden_labels_have_no_say(place, found, tmp_path):
    prepared, run = place
    turned = np.where(prepared.observed_labels == UNKNOWN, -prepared.full_labels, prepared.full_labels)
    (run / FILE).unlink()
    again = cross_fit(replace(prepared, full_labels=turned), OPTIONS, run)
    assert (again.logits == found.logits).all()


def test_scores_are_kept_and_made_again_only_of_other_labels(place, found, monkeypatch):
    prepared, run = place
    cross_fit(prepared, OPTIONS, run)
    monkeypatch.setattr(cross_fitting, "fit_parts", None)  # computing again would raise
    assert (cross_fit(prepared, OPTIONS, run).logits == found.logits).all()
    (run / FILE).write_bytes((run / FILE).read_bytes()[:-1])
    with pytest.raises(TypeError):
        cross_fit(prepared, OPTIONS, run)


def test_scores_are_made_again_of_an_image_that_changed_whatever_its_digest(place, found, monkeypatch):
    """One whose new digest is still between the same two others."""
    prepared, run = place
    cross_fit(prepared, OPTIONS, run)
    real = cross_fitting.digests_of

    def changed(*given):
        first, *others = real(*given)
        return [first[:-1] + ("0" if first[-1] != "0" else "1"), *others]

    monkeypatch.setattr(cross_fitting, "digests_of", changed)
    monkeypatch.setattr(cross_fitting, "fit_parts", None)
    with pytest.raises(TypeError):
        cross_fit(prepared, OPTIONS, run)


def test_a_run_folder_that_cannot_be_written_is_told_and_no_error(place, found, tmp_path):
    prepared, run = place
    other = tmp_path / "run"
    shutil.copytree(run, other)
    (other / FILE).unlink()
    (other / FILE).mkdir()
    progress = small.Heard()
    assert (cross_fit(prepared, OPTIONS, other, progress).logits == found.logits).all()
    assert [told[:48] for told in progress.warnings] == ["the scores are not kept for later commands: cann"]


def test_what_cannot_be_fitted_to_is_told(place):
    prepared, run = place
    nothing = replace(prepared, observed_labels=np.zeros_like(prepared.observed_labels))
    with pytest.raises(DataError, match="has no known cell to learn from; label some"):
        cross_fit(nothing, OPTIONS, run)
    with pytest.raises(RunError, match="the run knows 3 classes and"):
        cross_fit(replace(prepared, classes=("a", "b", "c")), OPTIONS, run)


def test_scores_that_were_kept_are_those_that_are_found_and_no_others(place, found, tmp_path):
    """Of the same data they are the same bits; of other labels, or where nothing was kept, there are none."""
    prepared, run = place
    again = kept(prepared, OPTIONS, run)
    assert again is not None
    np.testing.assert_array_equal(again.logits, cross_fit(prepared, OPTIONS, run).logits)
    np.testing.assert_array_equal(again.labels, found.labels)
    other = prepared.observed_labels.copy()
    other[0, 0] = UNKNOWN if other[0, 0] != UNKNOWN else 1
    assert kept(replace(prepared, observed_labels=other), OPTIONS, run) is None
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / FILE).unlink()
    assert kept(prepared, OPTIONS, tmp_path / "run") is None
