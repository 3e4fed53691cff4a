"""Completed labels: what was given stays, what is filled is told cell by cell, and nothing hidden is seen."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.curation.check_options import CheckOptions
from mlrpl_cli.core.curation.completing.complete import (
    FILLED_VALIDATION,
    SUPPOSED,
    Completed,
    as_dict,
    complete,
    precisions_of,
)
from mlrpl_cli.core.curation.completing.options import CompleteOptions
from mlrpl_cli.core.curation.correcting import check_labels
from mlrpl_cli.core.io.errors import MlrplError
from mlrpl_cli.core.labels.records import TEST, TRAIN, PrepareOptions
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN
from mlrpl_cli.core.labels.writers.registry import FORMATS, SUFFIXES
from mlrpl_cli.core.prepared.build import prepare
from mlrpl_cli.core.prepared.folder import Prepared, read_prepared, write_manifest
from mlrpl_cli.core.training.train import train
from tests import small

pytestmark = pytest.mark.usefixtures("one_thread")
LOW = {"precision": 0.6, "confidence": 0.7}
"""What a few dozen known cells can promise."""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> tuple[Prepared, Path]:
    """With images for a promise."""
    made = small.write_training(tmp_path_factory.mktemp("place"), epochs=1, images=120)
    return read_prepared(Path(made["data"])), train(TrainConfig(**made, method="linear")).run


def _complete(place: tuple[Prepared, Path], out: Path, overwrite: bool = False, **options: Any) -> Completed:
    prepared, run = place
    asked = {"data": prepared.folder, "run": run, "device": "cpu", "workers": 0, "out": out, **LOW, **options}
    return complete(CompleteOptions(**asked), overwrite=overwrite)


@pytest.fixture(scope="module")
def found(place, tmp_path_factory) -> Completed:
    return _complete(place, tmp_path_factory.mktemp("out") / "labels.csv")


def _cells(path: Path, prepared: Prepared) -> np.ndarray:
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["image"] for row in rows] == list(prepared.images)
    words = {"1": PRESENT, "0": ABSENT, "?": UNKNOWN}
    return np.array([[words[row[name]] for name in prepared.classes] for row in rows])


def test_given_labels_and_test_images_stay_and_some_unknown_cells_are_filled(place, found):
    prepared, _ = place
    labels, before = _cells(found.labels.path, prepared), prepared.observed_labels
    assert (labels[before != UNKNOWN] == before[before != UNKNOWN]).all()
    is_test = np.array(prepared.splits) == TEST
    assert (labels[is_test] == before[is_test]).all()
    added = (labels != before).sum()
    assert 0 < added == found.filled("yes") + found.filled("no") <= found.unknown
    is_train = np.array(prepared.splits) == TRAIN
    assert found.unknown == (before[is_train] == UNKNOWN).sum()
    assert (labels[~is_train] == before[~is_train]).all()
    assert found.labels.notes[0] == SUPPOSED


def test_validation_images_are_filled_when_asked(place, tmp_path):
    prepared, _ = place
    found = _complete(place, tmp_path / "labels.csv", fill_validation=True)
    labels, before = _cells(found.labels.path, prepared), prepared.observed_labels
    assert found.unknown == (before == UNKNOWN).sum()
    assert (labels != before)[prepared.rows("validation")].any()
    assert (labels[prepared.rows("test")] == before[prepared.rows("test")]).all()
    assert found.labels.notes[1] == FILLED_VALIDATION


def test_every_known_and_filled_cell_is_told_with_what_is_promised_of_it(place, found):
    prepared, _ = place
    labels, before = _cells(found.labels.path, prepared), prepared.observed_labels
    with found.provenance.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    learning = [row for row, split in enumerate(prepared.splits) if split != TEST]
    expected = {(prepared.images[row], prepared.classes[c]) for row in learning for c in np.flatnonzero(labels[row])}
    assert {(row["image"], row["class"]) for row in rows} == expected
    assert len(rows) == len(expected)
    by_name = {each.name: each for each in found.classes}
    for row in rows:
        place_of = prepared.images.index(row["image"]), prepared.classes.index(row["class"])
        state = {"present": PRESENT, "absent": ABSENT}[row["label"]]
        assert state == labels[place_of]
        assert row["origin"] == ("completed" if before[place_of] == UNKNOWN else "given")
        if row["origin"] == "given":
            assert row["bound"] == row["group"] == ""
            continue
        side = by_name[row["class"]].yes if state == PRESENT else by_name[row["class"]].no
        assert row["group"] == side.group
        assert float(row["bound"]) == pytest.approx(side.bound, abs=1e-6)
        assert side.bound >= LOW["precision"]
        assert state * (float(row["p"]) - side.threshold) >= -1e-6


def test_hidden_and_test_labels_have_no_say(place, found, tmp_path):
    prepared, run = place
    known = prepared.observed_labels != UNKNOWN
    is_test = np.array(prepared.splits) == TEST
    full = np.where(known & ~is_test[:, None], prepared.full_labels, -prepared.full_labels)
    observed = np.where(known, full, UNKNOWN).astype(np.int8)
    other = tmp_path / "other"
    other.mkdir()
    write_manifest(other, replace(prepared, folder=other, full_labels=full.astype(np.int8), observed_labels=observed))
    turned = read_prepared(other)
    again = _complete((turned, run), tmp_path / "labels.csv")
    assert again.provenance.read_bytes() == found.provenance.read_bytes()
    assert as_dict(again)["classes"] == as_dict(found)["classes"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_of_labels_is_written(place, found, tmp_path, name):
    result = _complete(place, tmp_path / f"labels{SUFFIXES[name]}", format=name)
    assert result.provenance == tmp_path / "labels.provenance.csv"
    assert result.provenance.read_bytes() == found.provenance.read_bytes()
    assert result.labels.states == found.labels.states


def test_what_is_there_is_replaced_only_when_asked(place, tmp_path):
    out, table = tmp_path / "labels.csv", tmp_path / "labels.provenance.csv"
    for path in (out, table):
        path.write_text("mine")
        with pytest.raises(MlrplError, match=f"{path} is there already; --overwrite replaces it"):
            _complete(place, out)
        path.unlink()
    table.write_text("old")
    assert _complete(place, out, overwrite=True).provenance.read_text().startswith("image,class,label,origin,p,bound")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"format": "tabel"}, "no format to write is called 'tabel'; did you mean 'table'?"),
        ({"out": Path("x.txt")}, "--out x.txt: table is a file that ends in .csv; name one"),
        ({"precision": 0.4}, "precision: expected a number from 0.5 to below 1, got 0.4"),
        ({"no_precision": 1}, "no_precision: expected a number from 0.5 to below 1, got 1"),
        ({"run": Path("nowhere")}, "nowhere has no best.safetensors: expected a run folder"),
    ],
)
def test_wrong_options_are_told_in_one_line(place, tmp_path, options, sentence):
    with pytest.raises(MlrplError) as caught:
        _complete(place, **{"out": tmp_path / "labels.csv", **options})
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_labels_without_an_unknown_cell_are_refused(place, tmp_path):
    prepared, run = place
    whole = tmp_path / "whole"
    whole.mkdir()
    write_manifest(whole, replace(prepared, folder=whole, observed_labels=prepared.full_labels))
    with pytest.raises(MlrplError, match="has no unknown cell to fill; --fill-validation fills validation images, too"):
        _complete((read_prepared(whole), run), tmp_path / "labels.csv")


def test_filled_cells_do_not_vouch_for_others(place, found, tmp_path):
    """Labels that were filled, prepared again: complete refuses them, and check tells of them."""
    _, run = place
    again = prepare(PrepareOptions("table", keep=1.0, out=tmp_path / "again", reading=_reading(place, found)))
    with pytest.raises(MlrplError, match=r"were filled .*, and filled cells cannot vouch for others; complete the"):
        _complete((again, run), tmp_path / "labels.csv")
    heard = small.Heard()
    check_labels(CheckOptions(data=again.folder, run=run, device="cpu", workers=0), heard)
    assert any("were filled" in told and "count as given ones" in told for told in heard.warnings)


def _reading(place, found) -> dict[str, str]:
    return {"root": str(found.labels.path), "images": str(place[0].image_root)}


def test_without_another_precision_absent_cells_keep_that_of_present_ones():
    assert precisions_of(CompleteOptions(precision=0.9)) == {PRESENT: 0.9, ABSENT: 0.9}
    assert precisions_of(CompleteOptions(no_precision=0.99)) == {PRESENT: 0.95, ABSENT: 0.99}
