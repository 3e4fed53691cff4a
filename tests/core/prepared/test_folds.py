"""Folds for cross-validation: by the hash, by group, by class; kept when a table grows."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlrpl_cli.core.io.errors import ConfigError, DataError
from mlrpl_cli.core.prepared.build import make, update
from mlrpl_cli.core.prepared.folder import NO_FOLD, read_prepared
from tests import reference
from tests.core.prepared.test_growth import _images_are_whole, plain, write  # noqa: F401


def folded(out: Path, path: Path, folds: int = 3, seed: int = 0, **reading: Any):
    given = {"dataset": "table", "out": out, "folds": folds, "seed": seed, "reading": {"root": path, **reading}}
    return make(given).prepared


def fold_of(key: str, folds: int, seed: int = 0) -> int:
    """Reference: floor(K u), from the equation of labels/splits.py."""
    return int(folds * reference.hash_place("fold", seed, key))


def test_each_image_is_of_the_fold_that_its_name_says_and_none_is_set_aside(tmp_path: Path) -> None:
    prepared = folded(tmp_path / "out", write(tmp_path / "in", plain(60)), folds=4, seed=3)
    assert set(prepared.splits) == {"train"}
    assert prepared.folds.tolist() == [fold_of(name, 4, 3) for name in prepared.images]
    again = read_prepared(tmp_path / "out")
    assert again.folds.tolist() == prepared.folds.tolist()
    assert again.sha256 == prepared.sha256


def test_a_test_split_of_the_table_or_one_that_is_asked_for_is_of_no_fold(tmp_path: Path) -> None:
    rows = {name: (*cells, "test" if int(name[:-4]) % 4 == 0 else "train") for name, cells in plain(40).items()}
    named = folded(tmp_path / "named", write(tmp_path / "in", rows, "dog,cat,split"))
    drawn = folded(tmp_path / "drawn", write(tmp_path / "other", plain(60)), test_fraction=0.3)
    for prepared in (named, drawn):
        assert 0 < prepared.splits.count("test") < len(prepared.splits)
        assert [fold == NO_FOLD for fold in prepared.folds] == [split == "test" for split in prepared.splits]
        assert read_prepared(prepared.folder).folds.tolist() == prepared.folds.tolist()


@pytest.mark.parametrize("seed", range(6))
def test_growth_and_updates_move_no_image_to_another_fold(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    rows = {name: (*cells, f"p{draw.randrange(12)}") for name, cells in plain(60).items()}
    found = []
    for kept in (draw.sample(sorted(rows), 45), draw.sample(sorted(rows), 45)):
        path = write(tmp_path / "in", {name: rows[name] for name in kept}, "dog,cat,patient")
        out = tmp_path / f"{len(found)}"
        prepared = folded(out, path, group_column="patient")
        found.append(dict(zip(prepared.images, prepared.folds.tolist(), strict=True)))
        assert found[-1] == {name: fold_of(rows[name][2], 3) for name in kept}
    updated = update(tmp_path / "0").prepared
    assert dict(zip(updated.images, updated.folds.tolist(), strict=True)) == found[1]


def test_stratified_folds_share_each_class_and_are_kept_by_an_update(tmp_path: Path) -> None:
    """A class that 12 of 60 images show is in each of 4 folds about 3 times; the hash alone gives no such promise."""
    rows = {f"{n}.jpg": (str(int(n % 5 == 0)), str(n % 2)) for n in range(60)}
    path = write(tmp_path / "in", rows)
    prepared = folded(tmp_path / "out", path, folds=4, stratify=True)
    present = prepared.full_labels == 1
    shares = np.array([[present[prepared.folds == fold, c].sum() for c in range(2)] for fold in range(4)])
    assert (abs(shares - present.sum(axis=0) / 4) <= 1).all()
    write(tmp_path / "in", rows | {"new.jpg": ("1", "1")})
    updated = update(tmp_path / "out").prepared
    before = dict(zip(prepared.images, prepared.folds.tolist(), strict=True))
    after = dict(zip(updated.images, updated.folds.tolist(), strict=True))
    assert after == before | {"new.jpg": fold_of("new.jpg", 4)}


def test_a_validation_fraction_beside_folds_is_refused_rather_than_dropped(tmp_path: Path) -> None:
    given = {"dataset": "table", "folds": 3, "reading": {"root": write(tmp_path / "in", plain(30))}}
    for fraction in (0.1, 0.3):
        with pytest.raises(ConfigError, match="leave out --validation-fraction or --folds"):
            make({**given, "out": tmp_path / "out", "validation_fraction": fraction})
    assert set(make({**given, "out": tmp_path / "out", "validation_fraction": 0}).prepared.splits) == {"train"}


def test_folds_that_cannot_be_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "in", plain(6))
    for folds in (1, 0, 101):
        with pytest.raises(ConfigError, match=f"expected from 2 to 100 folds, got {folds}"):
            folded(tmp_path / "out", path, folds=folds)
    with pytest.raises(DataError, match=r"of 40 folds; take fewer --folds, another --seed, or --strat"):
        folded(tmp_path / "out", path, folds=40)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", [("train,1.jpg,", "train,1.jpg"), ("train,1.jpg,0", "train,1.jpg,x")])
def test_a_damaged_fold_is_told(tmp_path: Path, damage: tuple[str, str]) -> None:
    folder = folded(tmp_path / "out", write(tmp_path / "in", plain(30))).folder
    text = (folder / "images.csv").read_text()
    rows = [line for line in text.splitlines() if line.startswith("train,1.jpg,")]
    (folder / "images.csv").write_text(text.replace(rows[0], damage[1]))
    manifest = (folder / "manifest.json").read_text()
    from mlrpl_cli.core.io.files import sha256_of_file, sha256_of_text

    (folder / "manifest.json").write_text(manifest.replace(sha256_of_text(text), sha256_of_file(folder / "images.csv")))
    with pytest.raises(DataError, match="is damaged"):
        read_prepared(folder)
