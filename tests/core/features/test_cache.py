import json
import os
import pickle
import resource
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mlrpl_cli.core.backbones.backbone import BackboneOptions
from mlrpl_cli.core.backbones.features import ImageFeatures
from mlrpl_cli.core.backbones.frozen import FrozenEncoder, make_encoder
from mlrpl_cli.core.backbones.registry import load_backbone
from mlrpl_cli.core.config import FLOAT16, UINT8, TrainConfig
from mlrpl_cli.core.features import filler as filling
from mlrpl_cli.core.features.batches import CachedViews
from mlrpl_cli.core.features.cache import SHARD_VIEWS, FeatureCache, bytes_per_view, decoded, encoder_key
from mlrpl_cli.core.features.filler import CacheFiller
from mlrpl_cli.core.images.loading import ImageViews
from mlrpl_cli.core.io import files, tensorfiles
from mlrpl_cli.core.io.devices import make_accelerator
from mlrpl_cli.core.io.errors import DataError, RunError
from mlrpl_cli.core.io.files import TEMPORARY_PREFIX
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.io.tensorfiles import open_tensors
from mlrpl_cli.core.prepared.folder import read_prepared
from tests import small

CPU = torch.device("cpu")
KEYS = [f"{n:064x}-0" for n in range(5)]


def some_features(images: int = 5) -> ImageFeatures:
    generator = torch.Generator().manual_seed(0)
    shapes = {"grid": (4, 6), "joint": (4, 3), "pooled": (3,), "attention": (4,)}
    # Channels of very different sizes, as a CLIP has them.
    size = {"grid": torch.logspace(-3, 3, 6)}
    drawn = {name: torch.randn(images, *shape, generator=generator) for name, shape in shapes.items()}
    return ImageFeatures(**{name: tensor * size.get(name, 1) for name, tensor in drawn.items()})


def opened(folder, dtype=FLOAT16, keys=KEYS) -> ImageFeatures:
    return decoded(FeatureCache(folder, dtype).get(keys), CPU, torch.float32)


def shards(folder) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def select(cached: CachedViews, positions, view: int | None = None) -> ImageFeatures:
    """Features of some images in one view, or of each in view 0 or 1 by turns."""
    indices = [(int(position), int(position) % 2 if view is None else view) for position in positions]
    return decoded(cached.__getitems__(indices)[0], CPU, cached.computed_in)


class CountingEncoder:
    """A small encoder that remembers how many images went through it, and stops after `limit`."""

    def __init__(self, limit: int | None = None) -> None:
        self.real = make_encoder(small.backbone(), small.SIZE, CPU)
        self.images, self.limit = 0, limit

    def __call__(self, pixels):
        if self.limit is not None and self.images >= self.limit:
            raise KeyboardInterrupt
        self.images += len(pixels.flatten(1).unique(dim=0))  # a batch may be filled up with its own images
        return FrozenEncoder.__call__(self.real, pixels)

    def __getattr__(self, name):
        return getattr(self.real, name)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(filling, "ENCODED_TOGETHER", 4)


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    return TrainConfig(cache=str(tmp_path / "cache"), views=2, batch_size=4, workers=0)


@pytest.fixture
def paths(tmp_path):
    prepared = read_prepared(small.write_prepared(tmp_path / "prepared"))
    return prepared.paths(prepared.rows("train"))


def filler(encoder, config, progress=None) -> CacheFiller:
    return CacheFiller(encoder, config, make_accelerator("cpu"), progress or Silent())


def fill(encoder, paths, config):
    return filler(encoder, config).fill(paths, config.views)


def test_float16_keeps_each_value_to_its_nearest_half(tmp_path):
    features = some_features()
    FeatureCache(tmp_path, FLOAT16).put(KEYS, features)
    for name, expected in vars(features).items():
        torch.testing.assert_close(vars(opened(tmp_path))[name], expected.half().float(), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [FLOAT16, UINT8])
def test_what_was_encoded_before_changes_no_bit_of_a_view(config, paths, tmp_path, dtype):
    """Seven images first and the rest later lie in other files, and in other batches, than all at once."""
    read = []
    for earlier in (0, 7):
        own = replace(config, cache=str(tmp_path / f"cache-{earlier}"), cache_dtype=dtype)
        fill(CountingEncoder(), paths[:earlier], own)
        cached = fill(CountingEncoder(), paths, own)
        read += [select(cached, range(len(paths)), view) for view in (0, 1)]
    for together, apart in ((read[0], read[2]), (read[1], read[3])):
        assert all(torch.equal(vars(together)[name], vars(apart)[name]) for name in vars(together))


def test_uint8_is_at_most_half_a_step_of_its_channel_off(tmp_path):
    features = some_features()
    FeatureCache(tmp_path, UINT8).put(KEYS, features)
    stored = opened(tmp_path, UINT8)
    for name in ("grid", "joint"):
        values = getattr(features, name)
        step = (values.amax(1) - values.amin(1)) / 255
        assert ((getattr(stored, name) - values).abs() <= 0.5001 * step[:, None]).all()


def test_a_constant_channel_survives_uint8(tmp_path):
    features = some_features().map(lambda tensor: torch.full_like(tensor, 3.0))
    FeatureCache(tmp_path, UINT8).put(KEYS, features)
    torch.testing.assert_close(opened(tmp_path, UINT8).grid, features.grid)


@pytest.mark.parametrize("dtype", [FLOAT16, UINT8])
def test_a_shard_takes_what_was_announced_and_a_header(tmp_path, dtype):
    features = ImageFeatures(
        torch.randn(SHARD_VIEWS, 49, 256), torch.randn(SHARD_VIEWS, 49, 64), torch.randn(SHARD_VIEWS, 64),
        torch.rand(SHARD_VIEWS, 49),
    )  # fmt: skip
    FeatureCache(tmp_path, dtype).put([f"{n:064x}-0" for n in range(SHARD_VIEWS)], features)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size == pytest.approx(SHARD_VIEWS * bytes_per_view(49, 256, 64, dtype), rel=0.02)


def test_views_come_back_in_the_order_asked_for_across_shards(tmp_path):
    features = some_features()
    cache = FeatureCache(tmp_path, FLOAT16)
    cache.put(KEYS[:2], features.map(lambda tensor: tensor[:2]))
    cache.put(KEYS[2:], features.map(lambda tensor: tensor[2:]))
    read = opened(tmp_path, keys=[KEYS[4], KEYS[0], KEYS[4]])
    torch.testing.assert_close(read.grid, features.grid[[4, 0, 4]].half().float())


@pytest.mark.parametrize("damage", ["one bit", "half", "empty", "text"])
def test_a_damaged_shard_counts_as_not_there(tmp_path, damage):
    cache = FeatureCache(tmp_path, FLOAT16)
    cache.put(KEYS, some_features())
    (shard,) = shards(tmp_path)
    content = bytearray(shard.read_bytes())
    content[-7] ^= 1
    wrong = {"one bit": content, "half": content[: len(content) // 2], "empty": b"", "text": b"no shard at all"}
    shard.write_bytes(wrong[damage])
    again = FeatureCache(tmp_path, FLOAT16)
    assert again.missing(KEYS) == KEYS
    assert again.damaged == [shard]
    with pytest.raises(RunError, match="lost 5 views"):
        again.get(KEYS)


def test_an_encoder_key_differs_with_all_that_decides_a_feature():
    keys = {
        encoder_key(*told)
        for told in (
            ("a", 448, "torch.float32", FLOAT16),
            ("b", 448, "torch.float32", FLOAT16),
            ("a", 224, "torch.float32", FLOAT16),
            ("a", 448, "torch.bfloat16", FLOAT16),
            ("a", 448, "torch.float32", UINT8),
        )
    }
    assert len(keys) == 5


def test_what_is_stored_is_what_the_encoder_says(paths, config):
    encoder = CountingEncoder()
    cached = fill(encoder, paths, config)
    positions = torch.tensor([7, 0, 20])
    plain = select(cached, positions, 0)
    torch.testing.assert_close(plain.grid, encode_plain(encoder, paths, positions).grid, rtol=1e-3, atol=1e-3)
    other = select(cached, positions, 1)
    assert not torch.allclose(plain.grid, other.grid, atol=1e-2)


def encode_plain(encoder, paths, positions) -> ImageFeatures:
    dataset = ImageViews(paths, small.SIZE)
    return encoder(torch.stack([dataset[int(position), 0][0] for position in positions]))


def test_progress_counts_views_where_an_image_has_several_and_else_images(paths, config):
    told = []

    class Tasks(Silent):
        def task(self, description, total, unit="images"):
            told.append((description, total, unit))
            return super().task(description, total, unit)

    filler(CountingEncoder(), config, Tasks()).fill(paths[:4], 1, "test images")
    filler(CountingEncoder(), config, Tasks()).fill(paths, 2)
    assert told == [
        ("encoding test images", 4, "images"),
        ("encoding training images", 2 * len(paths) - 4, "views"),
    ]


def test_a_second_run_encodes_nothing(paths, config):
    fill(CountingEncoder(), paths, config)
    encoder = CountingEncoder()
    fill(encoder, paths[::-1], config)
    assert encoder.images == 0


def test_a_run_that_encodes_nothing_removes_what_a_killed_one_left(paths, config):
    """Killed between putting a file in its place and removing the folder that it was written in."""
    first = filler(CountingEncoder(), config)
    first.fill(paths, 2)
    left = [folder / f"{TEMPORARY_PREFIX}abc" for folder in (first.cache.folder, first.cache.folder.parent)]
    for place in left:
        place.mkdir()
    filler(CountingEncoder(limit=0), config).fill(paths, 2)
    assert not any(place.exists() for place in left)


def test_an_image_that_changed_is_encoded_again_and_one_that_moved_is_not(paths, config, tmp_path):
    fill(CountingEncoder(), paths, config)
    moved = tmp_path / "moved.png"
    os.replace(paths[0], moved)
    paths[1].write_bytes(paths[2].read_bytes() + b"\0")
    encoder = CountingEncoder()
    fill(encoder, [moved, *paths[1:]], config)
    assert encoder.images == config.views


def test_a_call_that_was_stopped_goes_on_where_it_was(paths, config, monkeypatch):
    monkeypatch.setattr(filling, "SHARD_VIEWS", 4)
    with pytest.raises(KeyboardInterrupt):
        fill(CountingEncoder(limit=12), paths, config)
    encoder = CountingEncoder()
    cached = fill(encoder, paths, config)
    assert encoder.images == config.views * len(paths) - 12
    assert len(cached.found()) == len(paths)


def test_a_damaged_file_is_encoded_again_and_told(paths, config):
    cached = fill(CountingEncoder(), paths, config)
    shard = shards(cached.cache.folder)[0]
    shard.write_bytes(shard.read_bytes()[:-1])
    told: list[str] = []
    progress = Silent()
    progress.note = progress.warn = told.append  # type: ignore[method-assign]
    encoder = CountingEncoder()
    filler(encoder, config, progress).fill(paths, config.views)
    assert encoder.images == 4
    assert told[0] == f"{cached.cache.folder}: 1 damaged ({shard.name}): encoding their images again"
    assert told[1].startswith("encoded 4 views, ")


def test_a_damaged_file_is_told_of_once(paths, config):
    """Another order gives the new shards other names, so the damaged ones must go."""
    cached = fill(CountingEncoder(), paths, config)
    shard = shards(cached.cache.folder)[0]
    shard.write_bytes(shard.read_bytes()[:-1])
    fill(CountingEncoder(), paths[::-1], config)
    assert cached.cache.missing(KEYS) == KEYS
    assert cached.cache.damaged == []


def test_a_feature_has_the_same_bits_whoever_encodes_it_and_wherever_somebody_was_stopped(paths, config, monkeypatch):
    """At a number of images where it matters: a matrix product of one image takes another way than that of many."""
    monkeypatch.setattr(filling, "ENCODED_TOGETHER", 32)
    encoder = make_encoder(load_backbone(BackboneOptions("tiny")), 128, CPU)
    whole = fill(encoder, paths, config)
    for order in (paths[:1], paths[5:8], paths[::-1], paths):
        other = TrainConfig(**{**vars(config), "cache": f"{config.cache}-other", "batch_size": len(order)})
        parts = fill(encoder, order, other)
    left, right = (select(one, range(len(paths))) for one in (whole, parts))
    for name in vars(left):
        assert getattr(left, name).equal(getattr(right, name))


def test_shards_hold_no_more_views_than_promised(paths, config, monkeypatch):
    monkeypatch.setattr(filling, "SHARD_VIEWS", 3)
    cached = fill(CountingEncoder(), paths, config)
    held = [json.loads(open_tensors(shard).metadata["keys"]) for shard in shards(cached.cache.folder)]
    assert sorted(map(len, held)) == [1] * 12 + [3] * 12


def test_more_views_are_added_to_those_that_are_there(paths, config):
    fill(CountingEncoder(), paths, config)
    encoder = CountingEncoder()
    fill(encoder, paths, TrainConfig(**{**vars(config), "views": 3}))
    assert encoder.images == len(paths)


def test_two_runs_may_fill_one_cache_at_the_same_time(paths, config):
    encoder = CountingEncoder()
    with ThreadPoolExecutor(2) as pool:
        cached = list(pool.map(lambda order: fill(encoder, order, config), (paths, paths[::-1])))
    views, back = (select(one, range(24), 0) for one in cached)
    torch.testing.assert_close(views.grid, back.grid.flip(0), rtol=1e-3, atol=1e-3)


def test_a_full_disk_is_told_before_anything_is_encoded(paths, config, monkeypatch):
    monkeypatch.setattr(files, "free_bytes", lambda path: 1000)
    encoder = CountingEncoder()
    with pytest.raises(DataError, match=r"needs .* more and its disk has 1000 bytes; free some"):
        fill(encoder, paths, config)
    assert encoder.images == 0


@pytest.mark.parametrize("dtype", [FLOAT16, UINT8])
def test_what_the_format_cannot_hold_is_refused(tmp_path, dtype):
    features = some_features().map(lambda tensor: tensor * 1e39)
    with pytest.raises(RunError, match=r"more than .* can hold"):
        FeatureCache(tmp_path, dtype).put(KEYS, features)


def test_a_shard_of_another_shape_or_number_of_views_counts_as_not_there(tmp_path):
    """Each has the right checksum, as whoever can write to the cache can give it."""
    cache = FeatureCache(tmp_path, FLOAT16)
    cache.put(KEYS[:2], some_features(2))
    (honest,) = shards(tmp_path)
    cache.put(KEYS[2:], some_features(2))
    narrow = some_features(1)
    narrow = ImageFeatures(narrow.grid[..., :3], narrow.joint, narrow.pooled, narrow.attention)
    cache.put([f"{9:064x}-0"], narrow)
    (tmp_path / f"zz{honest.name}").write_bytes(honest.read_bytes())
    again = FeatureCache(tmp_path, FLOAT16)
    assert again.missing(KEYS) == KEYS[2:]
    assert len(again.damaged) == 2


def age(folder: Path) -> None:
    """Make all files below `folder` ones that have not changed for long."""
    for number, path in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        os.utime(path, ns=(0, number + 1))


@pytest.fixture
def settled(paths, config, tmp_path) -> CachedViews:
    """A cache that one command filled and another looked at later."""
    fill(CountingEncoder(), paths, config)
    age(tmp_path)
    return fill(CountingEncoder(), paths, config)


def test_a_later_command_reads_no_image_and_looks_into_no_shard(settled, paths, config, monkeypatch):
    def fail(path):
        raise AssertionError(f"{path} is looked into again")

    for module, function in ((files, "sha256_of_file"), (tensorfiles, "open_tensors"), (tensorfiles, "tensor_places")):
        monkeypatch.setattr(module, function, fail)
    encoder = CountingEncoder()
    again = fill(encoder, paths, config)
    assert encoder.images == 0
    assert torch.equal(select(again, range(24)).grid, select(settled, range(24)).grid)


def test_a_flipped_bit_of_a_shard_that_was_found_whole_is_found(settled, paths, config):
    shard = shards(settled.cache.folder)[0]
    content = bytearray(shard.read_bytes())
    content[-7] ^= 1
    shard.write_bytes(content)
    encoder = CountingEncoder()
    fill(encoder, paths, config)
    assert encoder.images == 4


def test_reading_shards_keeps_none_of_them_open_or_mapped(tmp_path):
    """Three shards for each file that this process may hold open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = len(os.listdir("/proc/self/fd")) + 30
    keys = [f"{n:064x}-0" for n in range(3 * limit)]
    cache, features = FeatureCache(tmp_path, FLOAT16), some_features(1)
    for key in keys:
        cache.put([key], features)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        read = cache.get(keys)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert torch.equal(read["grid"], features.grid.half().expand(len(keys), -1, -1))
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_views_for_another_process_are_small_and_read_there(settled):
    sent = pickle.dumps(settled)
    assert len(sent) < 100 * len(settled) + 1000
    assert torch.equal(select(pickle.loads(sent), [3, 1]).grid, select(settled, [3, 1]).grid)


def test_views_that_go_while_they_are_used_are_told(settled):
    select(settled, [0])
    for shard in shards(settled.cache.folder):
        shard.unlink()
    with pytest.raises(RunError, match=r"lost 1 view while it was used; run this again"):
        select(settled, [0])
