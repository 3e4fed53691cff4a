"""What learns when a fold is held out."""

from __future__ import annotations

import numpy as np
import pytest

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.labels.records import TEST, TRAIN, VALIDATION
from mlrpl_cli.core.prepared.folder import read_prepared
from mlrpl_cli.core.prepared.held_out import copies_apart, held_out, part_of
from tests import small

FOLDS = np.array([0, 1, 2, 0, 1, 2])


def sides(contents: list[int], fold: int, validating: int | None = None) -> tuple[list[int], list[int], list[int]]:
    held = held_out(FOLDS, np.array(contents), fold, validating)
    return held.training.tolist(), held.validation.tolist(), held.test.tolist()


def test_what_is_neither_held_out_nor_validates_trains():
    assert sides([0, 1, 2, 3, 4, 5], 1) == ([0, 2, 3, 5], [], [1, 4])
    assert sides([0, 1, 2, 3, 4, 5], 2, 0) == ([1, 4], [0, 3], [2, 5])


def test_a_copy_of_a_test_image_is_on_no_side_and_one_of_a_validation_image_does_not_train():
    assert sides([0, 1, 0, 3, 4, 5], 0) == ([1, 4, 5], [], [0, 3])
    assert sides([0, 0, 2, 3, 4, 5], 0, 1) == ([2, 5], [4], [0, 3])
    assert sides([0, 1, 1, 3, 4, 5], 0, 1) == ([5], [1, 4], [0, 3])
    assert copies_apart(FOLDS, np.array([0, 0, 2, 0, 4, 2])) == 1


def test_a_fold_that_leaves_nothing_is_refused():
    with pytest.raises(DataError, match=r"^fold 0 leaves no image to train on but copies; add other images$"):
        sides([0, 0, 0, 3, 3, 3], 0)
    with pytest.raises(DataError, match="fold 0 leaves no image to validate on but copies"):
        sides([0, 0, 2, 3, 3, 5], 0, 1)


def test_a_part_holds_the_images_of_its_sides_in_their_order(tmp_path):
    prepared = read_prepared(small.write_prepared(tmp_path / "data"))
    part = part_of(prepared, {TEST: np.array([1]), TRAIN: np.array([0, 5]), VALIDATION: np.array([3])})
    assert part.images == tuple(prepared.images[row] for row in (0, 1, 3, 5))
    assert part.splits == (TRAIN, TEST, VALIDATION, TRAIN)
    for name in ("full_labels", "observed_labels"):
        np.testing.assert_array_equal(getattr(part, name), getattr(prepared, name)[[0, 1, 3, 5]])
