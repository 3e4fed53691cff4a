"""What is kept where not everything fits: 8 bits first, then fewer views, then none. References are counted by hand."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mlrpl_cli.core.backbones.frozen import make_encoder
from mlrpl_cli.core.config import FLOAT16, UINT8, TrainConfig
from mlrpl_cli.core.features.batches import CachedViews
from mlrpl_cli.core.features.filler import CacheFiller
from mlrpl_cli.core.features.fitting import Fitted, fitted
from mlrpl_cli.core.features.of_run import features_of_run
from mlrpl_cli.core.images.loading import ImageViews
from mlrpl_cli.core.io import files
from mlrpl_cli.core.io.devices import make_accelerator
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.prepared.folder import read_prepared
from tests import small

SIZES = {
    FLOAT16: 2 * (16 * (64 + 8) + 8 + 16),
    UINT8: 16 * (64 + 8) + 2 * 4 * (64 + 8) + 2 * (8 + 16),
}
"""Bytes of a view of the small backbone at 128 px: 4×4 positions, 64 channels, 8 dimensions of the joint space."""
TRAINING, PLAIN = 24, 6


def gib(views: int, dtype: str) -> float:
    """What so many views of each training image and the plain ones need."""
    return (TRAINING * views + PLAIN) * SIZES[dtype] / 2**30


@pytest.fixture
def paths(tmp_path) -> tuple[list[Path], list[Path]]:
    prepared = read_prepared(small.write_prepared(tmp_path / "prepared"))
    return prepared.paths(prepared.rows("train")), prepared.paths(prepared.rows("validation"))


@pytest.fixture
def filler(tmp_path) -> CacheFiller:
    """It asks for three views."""
    config = TrainConfig(cache=str(tmp_path / "cache"), views=3, batch_size=4, workers=0)
    encoder = make_encoder(small.backbone(), 128, torch.device("cpu"))
    return CacheFiller(encoder, config, make_accelerator("cpu"), Silent())


def taken(found: Fitted) -> tuple[int, str | None]:
    return found.config.views, found.config.cache_dtype


@pytest.mark.parametrize("dtype", [FLOAT16, UINT8])
def test_a_view_takes_what_its_numbers_take(filler, dtype):
    assert filler.bytes_per_view(dtype) == SIZES[dtype]


def test_8_bits_that_spare_nothing_are_not_taken(filler, paths):
    """2×2 positions: a lowest value and a step for each channel take more than 8 bits of four numbers spare."""
    encoder = make_encoder(small.backbone(), small.SIZE, torch.device("cpu"))
    tight = replace(filler, encoder=encoder)
    room = (TRAINING * 2 + PLAIN) * tight.bytes_per_view(FLOAT16) / 2**30
    assert taken(fitted(replace(tight, config=replace(tight.config, cache_gib=room)), *paths)) == (2, FLOAT16)


@pytest.mark.parametrize(
    ("room", "asked", "expected"),
    [
        (gib(3, FLOAT16), None, (3, FLOAT16)),
        (gib(3, FLOAT16) - 1e-9, None, (3, UINT8)),
        (gib(3, UINT8), None, (3, UINT8)),
        (gib(3, UINT8) - 1e-9, None, (2, FLOAT16)),
        (gib(2, FLOAT16) - 1e-9, None, (2, UINT8)),
        (gib(2, UINT8) - 1e-9, None, (1, FLOAT16)),
        (gib(1, FLOAT16) - 1e-9, None, (1, UINT8)),
        (gib(1, UINT8) - 1e-9, None, (0, FLOAT16)),
        (gib(3, FLOAT16) - 1e-9, FLOAT16, (2, FLOAT16)),
        (gib(1, FLOAT16) - 1e-9, FLOAT16, (0, FLOAT16)),
        (gib(3, UINT8), UINT8, (3, UINT8)),
        (gib(2, UINT8), UINT8, (2, UINT8)),
    ],
)
def test_8_bits_are_taken_first_unless_a_format_is_asked_for_and_then_fewer_views(filler, paths, room, asked, expected):
    tight = replace(filler, config=replace(filler.config, cache_gib=room, cache_dtype=asked))
    found = fitted(tight, *paths)
    assert taken(found) == expected
    assert (found.problem is None) is (expected == (3, asked or FLOAT16))


def test_a_disk_with_less_room_counts_like_a_limit(filler, paths, monkeypatch):
    free = round(gib(2, UINT8) * 2**30)
    monkeypatch.setattr(files, "free_bytes", lambda folder: free)
    found = fitted(filler, *paths)
    assert taken(found) == (2, UINT8)
    assert "and its disk has" in str(found.problem)


def test_what_is_in_the_cache_already_needs_no_room(filler, paths, monkeypatch):
    filler.fill(paths[1], 1)
    filler.fill(paths[0], 3)
    monkeypatch.setattr(files, "free_bytes", lambda folder: 0)
    assert fitted(filler, *paths) == Fitted(replace(filler.config, cache_dtype=FLOAT16), None)


def test_one_view_that_is_in_the_cache_is_used_on_a_full_disk(filler, paths, monkeypatch):
    filler.fill(paths[1], 1)
    filler.fill(paths[0], 1)
    monkeypatch.setattr(files, "free_bytes", lambda folder: 0)
    assert taken(fitted(filler, *paths)) == (1, FLOAT16)


def test_what_is_said_names_the_need_the_choice_and_the_options(filler, paths):
    tight = replace(filler, config=replace(filler.config, cache_gib=gib(1, UINT8)))
    assert fitted(tight, *paths).sentence("nothing") == (
        f"the features need {gib(3, FLOAT16):.3g} GiB, more than cache_gib {gib(1, UINT8):g}: "
        "keeping 1 view of each training image in uint8; "
        "--cache-gib, --cache or free disk space allow more, --views and --cache-dtype choose otherwise"
    )
    none = fitted(replace(filler, config=replace(filler.config, cache_gib=0.0)), *paths)
    assert ": encoding anew every epoch; " in none.sentence("encoding anew every epoch")


def test_no_view_asked_for_is_nothing_that_lacks_room(filler, paths):
    without = replace(filler, config=replace(filler.config, views=0, cache_gib=0.0))
    assert fitted(without, *paths) == Fitted(replace(without.config, cache_dtype=FLOAT16), None)


@pytest.mark.parametrize(("views", "source"), [(0, ImageViews), (1, CachedViews)])
def test_a_run_reads_the_cache_where_it_keeps_views_and_images_where_it_keeps_none(filler, paths, views, source):
    training, selecting = features_of_run(replace(filler, config=replace(filler.config, views=views)), *paths)
    assert isinstance(training.dataset, source)
    assert isinstance(selecting.dataset, source)
