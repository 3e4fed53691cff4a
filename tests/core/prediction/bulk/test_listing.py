"""What sources mean, where each image lies, and how they are divided; without Ray."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mlrpl_cli.core.images.decode import load_pixels
from mlrpl_cli.core.images.find import find_images
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.prediction.bulk.containers import Item, pictures
from mlrpl_cli.core.prediction.bulk.listing import items_of, write_listing

HUGGING_FACE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
"""What its data sets keep images in."""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def encoded(seed: int, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def write_images(folder: str, count: int = 3) -> list[str]:
    Path(folder).mkdir(parents=True)
    for number in range(count):
        Path(folder, f"{number}.png").write_bytes(encoded(number))
    return [f"{folder}/{number}.png" for number in range(count)]


def write_tar(name: str, members: dict[str, bytes]) -> None:
    with tarfile.open(name, "w", format=tarfile.PAX_FORMAT) as tar:
        for member, content in members.items():
            told = tarfile.TarInfo(member)
            told.size = len(content)
            tar.addfile(told, io.BytesIO(content))


def items(*sources: str, column: str | None = None, names: list[str] | None = None) -> list[Item]:
    return list(items_of(sources, column, Silent(), names))


def pixels(found: list[Item], column: str | None = None) -> list[np.ndarray]:
    return [load_pixels(picture.fetch(), 8) for picture in pictures(found, column)]


def expected(count: int) -> list[np.ndarray]:
    return [load_pixels(Path(f"images/{number}.png"), 8) for number in range(count)]


def test_images_are_those_of_a_plain_predict_in_its_order() -> None:
    write_images("photos/b/deep")
    write_images("photos/a")
    Path("photos/notes.txt").write_text("no image")
    for sources in (["photos"], ["photos/*/*.png", "photos"], ["photos/a/1.png", "photos"]):
        assert [item.name for item in items(*sources)] == [str(path) for path in find_images(sources)]


def test_lists_of_names_are_followed_and_what_is_named_twice_counts_once() -> None:
    names = write_images("images")
    Path("list.txt").write_text("\n".join([*names, names[0], "images"]))
    assert [item.name for item in items("list.txt")] == names
    assert [item.name for item in items("-", names=[f"{name}\n" for name in names])] == names


def test_a_tar_is_its_images_at_their_places() -> None:
    """Names of more than 100 characters have a header of their own; captions beside the images are left out."""
    write_images("images")
    long = "d" * 120
    contents = {f"{long}/{n}.png": Path(f"images/{n}.png").read_bytes() for n in range(3)}
    write_tar("shard.tar", {"0.json": b"{}", **contents, "0.txt": b"a caption"})
    found = items("shard.tar")
    assert [item.name for item in found] == [f"shard.tar:{name}" for name in contents]
    for one, other in zip(pixels(found), expected(3), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("rows_of_a_group", [1, 2, 100])
@pytest.mark.parametrize(
    "kind", [pa.binary(), pa.large_binary(), pa.struct({"bytes": pa.binary(), "path": pa.string()})]
)
def test_bytes_in_parquet_are_read_from_any_row_on(kind: pa.DataType, rows_of_a_group: int) -> None:
    write_images("images", 7)
    contents = [Path(f"images/{n}.png").read_bytes() for n in range(7)]
    if pa.types.is_struct(kind):
        contents = [{"bytes": content, "path": None} for content in contents]
    table = pa.table({"id": range(7), "caption": ["a"] * 7, "photo": pa.array(contents, kind)})
    pq.write_table(table, "images.parquet", row_group_size=rows_of_a_group)
    found = items("images.parquet")
    assert [item.name for item in found] == [f"images.parquet:{row}" for row in range(7)]
    for first in (0, 3, 6):
        for one, other in zip(pixels(found[first:]), expected(7)[first:], strict=True):
            np.testing.assert_array_equal(one, other)


def test_paths_in_parquet_lie_below_its_folder_and_a_row_without_one_is_an_unreadable_image() -> None:
    names = write_images("data/images", 2)
    pq.write_table(pa.table({"path": ["images/0.png", None, os.path.abspath(names[1])]}), "data/table.parquet")
    found = items("data/table.parquet")
    assert [item.name for item in found] == ["data/images/0.png", "data/table.parquet:1", os.path.abspath(names[1])]
    with pytest.raises(DataError, match=r"cannot read data/table\.parquet:1: the row holds no image"):
        pixels(found)


@pytest.mark.parametrize(
    ("columns", "asked", "sentence"),
    [
        ({"a": ["x"], "b": ["y"]}, None, r"expected one column of paths or bytes, got a, b; name it with --column"),
        ({"a": [1]}, None, r"got no column of text or bytes"),
        ({"path": ["x"]}, "pth", r"has no column 'pth'; did you mean 'path'\?"),
        ({"path": ["x"], "n": [1]}, "n", r"expected paths or bytes in column 'n', got int64"),
    ],
)
def test_a_column_that_is_not_clear_is_asked_for(columns: dict, asked: str | None, sentence: str) -> None:
    pq.write_table(pa.table(columns), "table.parquet")
    with pytest.raises(DataError, match=sentence):
        items("table.parquet", column=asked)


def test_bytes_come_before_text_and_the_option_before_both() -> None:
    names = write_images("images", 1)
    pq.write_table(pa.table({"name": names, "photo": [Path(names[0]).read_bytes()]}), "table.parquet")
    assert items("table.parquet") == [Item("table.parquet:0", "table.parquet", 0)]
    assert items("table.parquet", column="name") == [Item("images/0.png")]


@pytest.mark.parametrize("name", ["broken.parquet", "broken.tar", "compressed.tar"])
def test_a_container_that_cannot_be_read_is_one_line(name: str) -> None:
    Path(name).write_bytes(b"\x1f\x8b" * 600)
    with pytest.raises(DataError, match=f"cannot read {name}: ") as raised:
        items(name)
    assert "\n" not in str(raised.value)


def test_sources_that_mean_nothing_are_named_together() -> None:
    Path("empty").mkdir()
    with pytest.raises(DataError, match=r"there is no file or folder nowhere, the folder empty holds no image; give"):
        items("nowhere", "empty")


def test_a_container_that_vanished_or_shrank_makes_its_images_unreadable() -> None:
    write_images("images", 3)
    contents = [Path(f"images/{n}.png").read_bytes() for n in range(3)]
    pq.write_table(pa.table({"photo": contents}), "a.parquet")
    write_tar("b.tar", {"0.png": contents[0]})
    found, tar = items("a.parquet"), items("b.tar")
    pq.write_table(pa.table({"photo": contents[:1]}), "a.parquet")
    Path("b.tar").unlink()
    fetched = list(pictures(found, None))
    assert load_pixels(fetched[0].fetch(), 8).shape == (8, 8, 3)
    for picture in (*fetched[1:], *pictures(tar, None)):
        with pytest.raises(DataError, match="cannot read"):
            picture.fetch()


def test_parts_are_the_same_each_time_and_end_with_their_container(tmp_path: Path) -> None:
    write_images("images", 5)
    write_tar("images/one.tar", {f"{n}.png": encoded(n) for n in range(3)})
    first, second = (write_listing(tmp_path / name, items("images"), 2) for name in ("first", "second"))
    sizes = [first.images_of(number) for number in range(first.parts)]
    assert sizes == [2, 2, 1, 2, 1]
    assert first.images == sum(sizes) == 8
    assert first.sha256 == second.sha256
    assert [list(first.part(n).items) for n in range(5)] == [list(second.part(n).items) for n in range(5)]
    assert [item for n in range(5) for item in first.part(n).items] == items("images")
    assert write_listing(tmp_path / "third", items("images")[1:], 2).sha256 != first.sha256


def test_names_that_are_no_text_are_listed_as_they_are(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    Path(name).write_bytes(encoded(0))
    listing = write_listing(tmp_path / "listing", items("."), 2)
    assert [item.name for item in listing.part(0).items] == [name]
