"""What is written of labels that look wrong, and which options are refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlrpl_cli.core.curation.check_options import CheckOptions
from mlrpl_cli.core.curation.correcting import COLUMNS, Check, check_labels
from mlrpl_cli.core.io.errors import MlrplError
from mlrpl_cli.core.labels.records import PrepareOptions
from mlrpl_cli.core.labels.states import UNKNOWN
from mlrpl_cli.core.prepared.build import prepare


@pytest.fixture
def checked(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepared, run = place

    def call(overwrite: bool = False, **options: Any) -> Check:
        asked = CheckOptions(run=run, data=prepared.folder, device="cpu", workers=0, **options)
        return check_labels(asked, overwrite=overwrite)

    return call


@pytest.mark.parametrize("how", ["drop", "flip"])
def test_the_first_cells_are_corrected_and_no_other(checked, place, how, tmp_path):
    prepared, _ = place
    found = checked(**{how: True}, top=5, out=Path("labels.csv"))
    cells = found.checked.rows[:5], found.checked.columns[:5]
    read = {"root": "labels.csv", "images": str(prepared.image_root)}
    again = prepare(PrepareOptions("table", keep=1.0, out=tmp_path / "again", reading=read))
    expected = prepared.observed_labels.copy()
    expected[cells] = UNKNOWN if how == "drop" else -expected[cells]
    order = [again.images.index(name) for name in prepared.images]
    assert again.full_labels[order].tolist() == expected.tolist()
    assert [again.splits[row] for row in order] == list(prepared.splits)
    assert found.looks_wrong == 5
    assert found.exported is not None
    assert any("5 cells that look wrong" in note for note in found.exported.notes)


def test_cells_below_a_probability_are_corrected(checked):
    found = checked(drop=True, below=0.9)
    assert found.looks_wrong == (found.checked.right < 0.9).sum()
    assert found.exported is not None
    assert found.exported.path == Path("exports/data-dropped-table.csv")
    with pytest.raises(MlrplError, match="--overwrite replaces it"):
        checked(drop=True)
    assert checked(drop=True, overwrite=True).looks_wrong == (found.checked.right < 0.5).sum()


def test_the_ranking_replaces_nothing_that_is_not_its_own(checked, place):
    prepared, run = place
    manifest = (prepared.folder / "manifest.json").read_bytes()
    with pytest.raises(MlrplError, match="is in the prepared folder"):
        checked(csv=prepared.folder / "ranked.csv")
    with pytest.raises(MlrplError, match=r"best.safetensors: the ranking is a file that ends in .csv; name one"):
        checked(csv=run / "best.safetensors")
    with pytest.raises(MlrplError, match=r"--csv and --out are both labels.csv; name two files"):
        checked(csv=Path("labels.csv"), drop=True, out=Path("labels.csv"))
    Path("ranked.csv").write_text("mine")
    with pytest.raises(MlrplError, match=r"ranked.csv is there already; --overwrite replaces it"):
        checked(csv=Path("ranked.csv"))
    assert Path("ranked.csv").read_text() == "mine"
    assert (prepared.folder / "manifest.json").read_bytes() == manifest


def test_the_table_has_every_known_cell_in_its_order(checked, place):
    prepared, _ = place
    found = checked(csv=Path("ranked.csv"))
    with Path("ranked.csv").open(newline="") as stream:
        header, *rows = csv.reader(stream)
    assert tuple(header) == COLUMNS
    assert [int(row[0]) for row in rows] == list(range(1, len(found.checked.right) + 1))
    first = dict(zip(header, rows[0], strict=True))
    row, column = int(found.checked.rows[0]), int(found.checked.columns[0])
    assert (first["image"], first["class"]) == (prepared.images[row], prepared.classes[column])
    assert first["given"] == {1: "present", -1: "absent"}[int(prepared.observed_labels[row, column])]
    assert float(first["right"]) == pytest.approx(found.checked.right[0], abs=1e-6)
    assert np.all(np.diff([float(row[-1]) for row in rows]) >= 0)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"drop": True, "flip": True}, "--drop and --flip were both given; leave one of them out"),
        ({"drop": True, "below": 0.3, "top": 2}, "--below and --top were both given; leave one of them out"),
        ({"top": 3}, "--top is for corrected labels; add --drop or --flip"),
        ({"out": Path("x.csv"), "format": "table"}, "--format, --out is for corrected labels"),
        ({"flip": True, "format": "tabel"}, "no format to write is called 'tabel'; did you mean 'table'"),
        ({"flip": True, "out": Path("x.json")}, "--out x.json: table is a file that ends in .csv"),
    ],
)
def test_options_that_contradict_or_are_not_used_are_refused(checked, options, told):
    with pytest.raises(MlrplError) as caught:
        checked(**options)
    assert told in str(caught.value)
    assert not list(Path().iterdir())
