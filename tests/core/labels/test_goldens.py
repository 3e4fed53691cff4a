"""What must be the same to the byte on every machine, as checksums and numbers written down once.

Masks, validation images of published sets and bootstrap draws come from numpy's RandomState, whose streams numpy has
frozen; the test and validation images of a table from SHA-256; scenes from Python's Mersenne Twister and RandomState.
The order of an epoch, the choice of a stored view and the first weights come from PyTorch's CPU generator, and a random
crop from numpy's default_rng: neither library promises these streams for ever, and a failure here says that a new
version has changed one.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from mlrpl_cli.core.evaluation.comparison import resample_weights
from mlrpl_cli.core.images import loading
from mlrpl_cli.core.images.loading import ImageViews, shuffled
from mlrpl_cli.core.io.devices import derive_seed
from mlrpl_cli.core.labels.formats.registry import DATASETS
from mlrpl_cli.core.labels.masks import known_mask, mask_sha256
from mlrpl_cli.core.labels.records import TEST, TRAIN, VALIDATION, Format, Reading, Records
from mlrpl_cli.core.prepared.build import PrepareOptions, prepare
from mlrpl_cli.core.prepared.folder import IMAGES, read_prepared

MASKS = {
    (82783, 80, 0.1, 0): "3ea88acaa7d827d038a49d0e178bb7b1e97f1c5b4db29c6b247151b9bdeb1a8e",
    (82783, 80, 0.9, 0): "a070293d0a47176bb5a0ed6e1984952bad40db4d5806651508c411bd8b3c0bce",
    (5011, 20, 0.3, 1): "f370602720a623c7570df626660b7d2a6d36144669bcb05d13cfa90150ff02ca",
    (5011, 20, 0.5, 2**32 - 1): "9e6ded76d4156fe135bbe69dbfe02e6acc39c9137e49b356d93031cdcb350fa8",
    (3, 10000, 0.25, 7): "e230a29a28555b68e63772cce6345e489e3a9cea225b1f443bfcae424580835d",
    (7, 3, 1 / 3, 12345): "26b88ac3f731b386a49b92207f4e0246348f0d9c914161a21130418dda0a09ef",
}
SEEDS = {
    (0,): 3456079177858693020,
    (0, "order", 1): 4489457307835839548,
    (2**32 - 1, "view", 3, "é"): 5379831499270101727,
    (5, "initialisation"): 2180010368285014334,
}
VALIDATION_ROWS = {0: [28, 29, 39, 42], 1: [17, 21, 30, 37], 2**32 - 1: [8, 21, 23, 25]}
TABLE_TEST_ROWS = {0: [2, 11, 15], 7: [11]}
TABLE_VALIDATION_ROWS = {0: [1, 14], 7: [2, 5, 19]}
FOLDER = {
    "images.csv": "82403a94b180ce438ab177014ac0461e9a4592811816bb136e7fa5ea4e37309d",
    "full labels": "1ddf873315d07848d694aa4c72673a8c8f81e0e2af20f0c6e7524a128706e57f",
    "observed labels": "6eb43ec74e6177fe89992edd83d8f4f678e1705be03624c2bee90fcb9418da2c",
    "mask": "10a7d3f0da202b6b56d472132f91b85bee0ac33ab989c169a4d06fc8c156830d",
    "all of it": "265774fd22e1fb33ad22373832a119228bff1ff0b358e165bfa1ba4bda6ed90e",
}
CROPS = [
    ((53, 33, 255, 217), True),
    ((6, 0, 268, 246), False),
    ((34, 5, 278, 194), False),
    ((29, 18, 264, 236), True),
    ((26, 32, 321, 290), True),
]
DRAWS = "332bf7af60610b2a639587496feac5e550ef5be442309a210cd32c85e1a27b73"


class Toy(Format):
    """Made-up records."""

    records: ClassVar[Records]

    def read(self, reading: Reading) -> Records:
        return self.records


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@pytest.mark.parametrize(("asked", "checksum"), MASKS.items())
def test_masks_are_the_same_everywhere(asked, checksum):
    """COCO 2014 at both ends, VOC 2007 with other seeds, many classes, and a proportion that no float holds."""
    rows, classes, keep, seed = asked
    assert mask_sha256(known_mask(rows, classes, keep, seed)) == checksum


def test_a_streams_seed_is_a_digest_of_its_name():
    assert {stream: derive_seed(*stream) for stream in SEEDS} == SEEDS


@pytest.mark.parametrize(("seed", "rows"), VALIDATION_ROWS.items())
def test_validation_images_are_the_same_everywhere(tmp_path, monkeypatch, seed, rows):
    """A tenth of 40 training images behind 3 test images, by row."""
    splits = (TEST,) * 3 + (TRAIN,) * 40
    records = Records(("cat",), tmp_path, tuple(f"{row}.jpg" for row in range(43)), np.ones((43, 1), np.int8), splits)
    monkeypatch.setattr(Toy, "records", records, raising=False)
    monkeypatch.setitem(DATASETS, "toy", f"{__name__}:Toy")
    prepared = prepare(PrepareOptions("toy", seed=seed, out=tmp_path / "prepared", check_images=False))
    assert prepared.rows(VALIDATION).tolist() == rows


@pytest.mark.parametrize("seed", TABLE_TEST_ROWS)
def test_a_tables_test_and_validation_images_are_the_same_everywhere(tmp_path, seed):
    """Of 25 rows, by the hash of their names."""
    lines = [f"{row}.jpg,1" for row in range(25)]
    (tmp_path / "table.csv").write_text("\n".join(["image,cat", *lines]) + "\n")
    for row in range(25):
        (tmp_path / f"{row}.jpg").write_bytes(b"image")
    reading = {"root": tmp_path / "table.csv", "split_seed": seed}
    options = PrepareOptions("table", seed=seed, out=tmp_path / "prepared", reading=reading, check_images=False)
    prepared = prepare(options)
    assert prepared.rows(TEST).tolist() == TABLE_TEST_ROWS[seed]
    assert prepared.rows(VALIDATION).tolist() == TABLE_VALIDATION_ROWS[seed]


def test_prepared_scenes_are_the_same_everywhere(tmp_path):
    """The table of images as bytes; labels as bytes of their arrays, since the header of a .npy file is numpy's."""
    reading = {"train_images": 8, "test_images": 3, "scenes_seed": 5}
    folder = prepare(PrepareOptions("scenes", seed=2, out=tmp_path / "prepared", reading=reading)).folder
    prepared = read_prepared(folder)
    assert {
        "images.csv": hashlib.sha256((folder / IMAGES).read_bytes()).hexdigest(),
        "full labels": sha256(prepared.full_labels),
        "observed labels": sha256(prepared.observed_labels),
        "mask": prepared.mask_sha256,
        "all of it": prepared.sha256,
    } == FOLDER


def test_the_order_of_an_epoch_is_the_same_everywhere():
    def order(images: int, seed: int, epoch: int) -> list[int]:
        return [position for position, _ in shuffled(images, 0, seed, epoch)]

    assert order(10, 0, 1) == [0, 2, 6, 8, 7, 3, 9, 1, 5, 4]
    assert order(10, 0, 2) == [5, 4, 6, 2, 0, 7, 3, 8, 1, 9]
    assert order(10, 7, 1) == [9, 0, 6, 5, 2, 4, 8, 7, 3, 1]
    expected = "751b90feb7915499a8580a89f27d7e9c4ebbdcae7b1c0be1f329f179a763659d"
    assert sha256(np.array(order(5011, 0, 1), dtype="<i8")) == expected


def test_the_choice_of_a_stored_view_is_the_same_everywhere():
    views = [view for _, view in sorted(shuffled(12, 3, 0, 1))]
    assert views == [0, 0, 2, 2, 0, 2, 2, 2, 2, 0, 2, 1]


class Sheet:
    """Stands in for an image of 400×300 pixels and writes down which part of it is asked for."""

    width, height = 400, 300

    def __init__(self) -> None:
        self.boxes: list[tuple[int, int, int, int]] = []

    def resize(self, size: tuple[int, int], resample: object, box: tuple[int, int, int, int]) -> np.ndarray:
        self.boxes.append(box)
        return np.broadcast_to(np.arange(size[0], dtype=np.uint8)[:, None], (*size, 3))


def test_random_crops_and_flips_are_the_same_everywhere(monkeypatch):
    """Of view 1 and 2 of two images by position, and of a named one, as the feature cache names them."""
    sheet = Sheet()
    monkeypatch.setattr(loading, "open_image", lambda path, target, allow_truncated: sheet)
    drawn = [ImageViews([Path("a"), Path("b")], 8, seed=3)[n, view] for view in (1, 2) for n in (0, 1)]
    drawn.append(ImageViews([Path("a")], 8, names=["0f" * 32 + "-1"])[0, 1])
    flipped = [bool(pixels[0, 0, 0] > 0) for pixels, _ in drawn]
    assert list(zip(sheet.boxes, flipped, strict=True)) == CROPS


def test_bootstrap_draws_are_the_same_everywhere():
    assert sha256(resample_weights(1000, 50).astype("<f4")) == DRAWS
