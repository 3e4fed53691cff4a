"""Which image is of which fold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.prepared.folder import Prepared, read_prepared
from mlrpl_cli.core.sweep.data import read_data
from mlrpl_cli.core.sweep.folds.assignment import OF_PREPARED, folds_of, read_folds
from tests import small


@pytest.fixture
def prepared(tmp_path) -> Prepared:
    """Its images are images/000.png to images/005.png."""
    return read_prepared(small.write_prepared(tmp_path / "data", images=6))


def table(folder: Path, text: str) -> Path:
    path = folder / "folds.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("header", ["image,fold", "id,fold", "Fold;ID"])
def test_an_image_is_named_by_its_name_the_end_of_its_path_or_its_stem(prepared, tmp_path, header):
    """Images that the file does not name, or gives no fold, are of none."""
    named = [("images/000.png", "1"), ("001.png", "0"), ("002", ""), ("003", "1.0"), ("images/005", "0")]
    separator = ";" if ";" in header else ","
    turn = -1 if header.startswith("Fold") else 1
    rows = "".join(f"{separator.join(pair[::turn])}\n" for pair in named)
    assert folds_of(prepared, table(tmp_path, f"{header}\n{rows}")).tolist() == [1, 0, -1, 1, -1, 0]


def test_the_whole_name_comes_before_the_end_of_a_longer_one(prepared, tmp_path):
    nested = replace(prepared, images=("a.png", "b/a.png", *prepared.images[2:]))
    path = table(tmp_path, "image,fold\na.png,0\nb/a.png,1\n")
    assert folds_of(nested, path).tolist()[:2] == [0, 1]
    with pytest.raises(DataError, match=r"1 name fits several images \(a: a.png, b/a.png\)"):
        folds_of(nested, table(tmp_path, "image,fold\na,0\n003,1\n"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("image,fold\n000,0\n001,1\n000,1\n", r"1 image is named twice \(000\); correct the file of --folds"),
        ("image,fold\n000,0\n001,one\n", r"1 fold is other than a whole number from 0 to 99 \(row 3: 'one'\)"),
        (
            "image,fold\n000,0\n001,-1\n002,a\n",
            r"2 folds are other than a whole number from 0 to 99 \(row 3: '-1', row 4: 'a'",
        ),
        ("image,fold\n000,\n001,1\n000,0\n", r"1 image is named twice \(000\)"),
        ("image,fold\n000,3\n001,3\n", "has 1 fold, expected at least 2; correct the file of --folds"),
        ("image,fold\n", "names no image; expected a header with image"),
        ("picture,fold\n000,0\n001,1\n", "has the columns picture, fold; expected a header with image"),
        ("image,fold\n000,0,1\n", "1 row does not have the header's 2 cells"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, text, told):
    with pytest.raises(DataError, match=told):
        read_folds(table(tmp_path, text))


def test_an_image_that_is_not_there_or_named_in_two_ways_is_told(prepared, tmp_path):
    with pytest.raises(DataError, match=r"1 image is not in the data \(006\); 1 image is named twice"):
        folds_of(prepared, table(tmp_path, "image,fold\n000,0\n006,1\n000.png,1\n"))


def test_folds_of_prepare_are_taken_and_missed(prepared, tmp_path):
    own = read_prepared(small.write_folds(tmp_path / "folded", images=6, folds=2))
    assert folds_of(own, OF_PREPARED).tolist() == [0, 1, 0, 1, 0, 1]
    with pytest.raises(DataError, match="has no folds; prepare it with --folds K, or name a file with --folds"):
        folds_of(prepared, OF_PREPARED)


def test_images_of_every_split_take_part_and_the_others_are_counted(prepared, tmp_path):
    assert set(prepared.splits) == {"train", "validation", "test"}
    data = read_data(prepared.folder, None, table(tmp_path, "image,fold\n005,0\n000,4\n004,4\n002,0\n"))
    assert data.prepared.images == tuple(f"images/00{row}.png" for row in (0, 2, 4, 5))
    assert data.fold_numbers == (0, 4)
    assert data.scored.tolist() == data.learning.tolist() == [0, 1, 2, 3]
    assert data.notes == ("2 of 6 images are of no fold: left out of everything",)
    np.testing.assert_array_equal(data.prepared.full_labels, prepared.full_labels[[0, 2, 4, 5]])
    other = read_data(prepared.folder, None, table(tmp_path, "image,fold\n005,4\n000,0\n004,4\n002,0\n"))
    assert other.sha256 != data.sha256
