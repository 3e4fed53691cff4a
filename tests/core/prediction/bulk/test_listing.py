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
from mlrpl_cli.core.prediction.bulk import containers
from mlrpl_cli.core.prediction.bulk.containers import Item, Picture, pictures
from mlrpl_cli.core.prediction.bulk.destination import Destination
from mlrpl_cli.core.prediction.bulk.listing import Sources, write_listing

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
    return list(Sources(sources, column, Silent(), names).items())


def states(*sources: str) -> str:
    """The checksum of the files that sources mean."""
    found = Sources(sources, None, Silent())
    assert list(found.items())
    return found.states_sha256


def pixels(found: list[Item], column: str | None = None) -> list[np.ndarray]:
    return [load_pixels(picture.fetch(), 8) for picture in pictures(found, column)]


def expected(count: int) -> list[np.ndarray]:
    return [load_pixels(Path(f"images/{number}.png"), 8) for number in range(count)]


def test_images_are_those_of_a_plain_predict_in_its_order() -> None:
    write_images("photos/b/deep")
    write_images("photos/a")
    Path("photos/notes.txt").write_text("no image")
    os.symlink("a", "photos/z")
    several = ["photos/*/*.png", "photos"], ["photos/a/1.png", "photos"]
    alone = (
        ["photos"],
        ["photos/**/*"],
        ["photos/**"],
        ["photos/*/*"],
        ["photos/b/deep/0.png"],
        [os.path.abspath("photos")],
    )
    for sources in (*several, *alone):
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


def test_a_file_that_was_written_again_is_another_input() -> None:
    """Under the same name, at the same size."""
    (name, *_) = write_images("images")
    pq.write_table(pa.table({"path": ["images/0.png", "images/1.png"]}), "table.parquet")
    write_tar("one.tar", {"0.png": b"abc"})
    before = [states(source) for source in ("images", "table.parquet", "one.tar")]
    assert [states(source) for source in ("images", "table.parquet", "one.tar")] == before
    os.utime(name, ns=(1, 1))
    write_tar("one.tar", {"0.png": b"abd"})
    os.utime("one.tar", ns=(2, 2))
    after = [states(source) for source in ("images", "table.parquet", "one.tar")]
    assert not set(before) & set(after)
    assert states("table.parquet") == after[1]
    pq.write_table(pa.table({"path": ["images/0.png", "images/1.png"]}), "table.parquet", compression="none")
    assert states("table.parquet") != after[1]


def test_it_is_known_whether_a_path_leads_from_the_current_folder() -> None:
    write_images("images")
    for source, relative in (
        ("images", True),
        (os.path.abspath("images"), False),
        (Path("images").absolute().as_uri(), False),
    ):
        found = Sources([source], None, Silent())
        assert len(list(found.items())) == 3
        assert found.relative == relative


def written_tar(count: int = 3) -> bytes:
    write_tar("whole.tar", {f"{n}.png": encoded(n) for n in range(count)})
    return Path("whole.tar").read_bytes()


def test_a_tar_that_is_damaged_cut_or_appended_to_is_one_line_and_loses_no_image_silently() -> None:
    """A flipped bit of the second header, cuts at each block, and two tars in one file."""
    whole = written_tar()
    second = items("whole.tar")[1].at - 512
    broken = {"flipped": whole[:second] + bytes([whole[second] ^ 1]) + whole[second + 1 :], "twice": whole + whole}
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    broken |= {f"cut{size}": whole[:size] for size in range(512, end + 1, 512)}
    broken |= {f"cut{size}": whole[:size] for size in (second + 100, end - 100)}
    for name, content in broken.items():
        Path(f"{name}.tar").write_bytes(content)
        with pytest.raises(
            DataError, match=f"cannot read {name}.tar: (it is damaged or cut at byte [0-9]+|unexpected end)"
        ):
            items(f"{name}.tar")
    for size in (end + 512, end + 1024, len(whole)):  # as other programs end theirs
        Path("other.tar").write_bytes(whole[:size])
        assert len(items("other.tar")) == 3


class Heard(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_links_in_a_tar_are_told_and_hidden_members_passed_over() -> None:
    with tarfile.open("links.tar", "w") as tar:
        for name in ("a.png", "._a.png", "sub/.b.png"):
            told = tarfile.TarInfo(name)
            told.size = 3
            tar.addfile(told, io.BytesIO(b"abc"))
        for name, kind in (("c.png", tarfile.SYMTYPE), ("d.png", tarfile.LNKTYPE)):
            told = tarfile.TarInfo(name)
            told.type, told.linkname = kind, "a.png"
            tar.addfile(told)
    heard = Heard()
    assert [item.name for item in Sources(["links.tar"], None, heard).items()] == ["links.tar:a.png"]
    assert heard.notes == ["2 files without an image are left out: 2 links or sparse files in tars"]


def address(*names: str) -> str:
    return Path(*names).absolute().as_uri()


def test_on_addresses_dots_alone_hide_a_name() -> None:
    write_images("photos/_shown", 1)
    for name in ("_0.png", ".0.png"):
        Path("photos", name).write_bytes(encoded(0))
    found = [item.name.rpartition("photos/")[2] for item in items(address("photos"))]
    assert found == [str(path).removeprefix("photos/") for path in find_images(["photos"])]
    assert found == ["_0.png", "_shown/0.png"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.png", ["a b.png", "a.png", "b.png", "z[.png"]),
        ("[ab].png", ["a.png", "b.png"]),
        ("[!a].png", ["b.png"]),
        ("[a-b].png", ["a.png", "b.png"]),
        ("a%20*.png", ["a b.png"]),
        ("z%5B*", ["z[.png"]),
        ("**/*.png", ["a b.png", "a.png", "b.png", "sub/c.png", "z[.png"]),
        ("*[!x]c.png", []),
        ("[\\^]].png", []),
    ],
)
def test_patterns_of_addresses_mean_what_those_of_paths_do(pattern: str, found: list[str]) -> None:
    Path("photos/sub").mkdir(parents=True)
    for name in ("a b", "a", "b", "z[", "sub/c"):
        Path("photos", f"{name}.png").write_bytes(encoded(0))
    source = f"{address('photos')}/{pattern}"
    if not found:
        with pytest.raises(DataError, match="there is no image at"):
            items(source)
        return
    told = [Path(item.name).name for item in items(source)]
    assert told == [name.rpartition("/")[2].replace(" ", "%20").replace("[", "%5B") for name in found]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("file:///photos/[z-a].png", "is no pattern: bad character range z-a"),
        ("s3://buck*/a.png", "expected a pattern below a bucket, got one of buckets"),
        ("s3://[a/b.png", "expected a pattern below a bucket"),
    ],
)
def test_a_bad_address_is_one_line(source: str, sentence: str) -> None:
    with pytest.raises(DataError) as raised:
        items(source)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "cell", ["s3://[", "nosuch://a/b.png", "s3://k:s@b/c.png", "file:///a%00b.png", "a\0b.png", "x" * 5000]
)
def test_a_cell_that_names_nothing_is_an_unreadable_image_and_not_the_end(cell: str) -> None:
    names = write_images("images", 1)
    pq.write_table(pa.table({"path": [names[0], cell, names[0]]}), "table.parquet")
    first, hostile, last = pictures(items("table.parquet"), None)
    for picture in (first, last):
        np.testing.assert_array_equal(load_pixels(picture.fetch(), 8), expected(1)[0])
    with pytest.raises(DataError) as raised:
        load_pixels(hostile.fetch(), 8)
    assert "\n" not in str(raised.value)


def test_whatever_fetching_raises_is_of_its_image() -> None:
    def get() -> Path:
        raise KeyError("a\nb")

    with pytest.raises(DataError, match=r"cannot read a[.]png: KeyError: "):
        Picture("a.png", get).fetch()


def test_containers_are_known_by_their_names_in_capitals_too() -> None:
    write_images("images", 2)
    write_tar("images/G.TAR", {"0.png": encoded(0)})
    pq.write_table(pa.table({"photo": [encoded(1)]}), "images/t.Parquet")
    names = ["images/0.png", "images/1.png", "images/G.TAR:0.png", "images/t.Parquet:0"]
    assert [item.name for item in items("images")] == names
    assert len(pixels(items("images"))) == 4
    assert [item.name.rpartition("/")[2] for item in items(address("images"))] == [Path(n).name for n in names]
    os.rename("images/G.TAR", "what?.tar")
    assert len(pixels(items("what?.tar"))) == 1


def test_a_compressed_tar_that_is_named_is_refused_in_words() -> None:
    Path("x.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"x\.tar\.gz is a compressed tar, and .*; decompress it"):
        items("x.tar.gz")


def test_rows_without_a_path_do_not_end_a_part(tmp_path: Path) -> None:
    write_images("images", 3)
    paths = ["images/0.png", None, "images/1.png", "", "images/2.png"]
    pq.write_table(pa.table({"path": paths}), "table.parquet")
    listing = write_listing(tmp_path / "listing", items("table.parquet"), 8)
    assert [listing.images_of(number) for number in range(listing.parts)] == [5]
    for picture in list(pictures(listing.part(0).items, None))[1::2]:
        with pytest.raises(DataError, match="the row holds no image"):
            picture.fetch()


@pytest.mark.parametrize("kind", [pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int32(), pa.binary())])
def test_dictionaries_are_columns_too(kind: pa.DataType) -> None:
    names = write_images("images", 2)
    values = names if kind.value_type == pa.string() else [Path(name).read_bytes() for name in names]
    pq.write_table(pa.table({"photo": pa.array(values).dictionary_encode().cast(kind)}), "table.parquet")
    for one, other in zip(pixels(items("table.parquet")), expected(2), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_column_of_a_name_that_comes_twice_is_told() -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["path", "path"])
    pq.write_table(table, "table.parquet")
    for asked in (None, "path"):
        with pytest.raises(DataError, match="more than one column is called 'path'; rename all but one"):
            items("table.parquet", column=asked)


def test_a_struct_of_hugging_face_may_name_a_file() -> None:
    write_images("data/images", 1)
    write_images("images", 1)
    rows = [{"bytes": None, "path": "images/0.png"}, {"bytes": None, "path": None}]
    pq.write_table(pa.table({"image": pa.array(rows, HUGGING_FACE)}), "data/table.parquet")
    named, empty = pictures(items("data/table.parquet"), None)
    assert named.fetch() == Path("data/images/0.png")
    with pytest.raises(DataError, match="the row holds no image"):
        empty.fetch()


def test_sources_without_any_image_are_told() -> None:
    write_tar("captions.tar", {"0.txt": b"a"})
    pq.write_table(pa.table({"path": pa.array([], pa.string())}), "none.parquet")
    Path("list.txt").write_text("\n")
    with pytest.raises(DataError, match=r"captions\.tar holds no image, none\.parquet holds no image; give"):
        items("captions.tar", "none.parquet")
    with pytest.raises(DataError, match=r"the list list\.txt names no image; give"):
        items("list.txt")


def test_what_the_job_wrote_itself_is_no_source(tmp_path: Path) -> None:
    """`predict . --out out`, and the same by addresses; other Parquet files there are sources."""
    write_images("images", 2)
    Path("out/predictions").mkdir(parents=True)
    for place in ("out/predictions/part-00000.parquet", "images/part-00000.parquet"):
        pq.write_table(pa.table({"image": ["0.png"]}), place)
    for out in ("out", str(tmp_path / "out"), address("out")):
        for source in (".", "**/*", str(tmp_path), address(".")):
            found = Sources([source], None, Silent(), ours=Destination(out).wrote).items()
            assert [Path(item.name).name for item in found] == ["0.png", "1.png", "0.png"]


@pytest.mark.parametrize("kind", [pa.binary(), HUGGING_FACE])
def test_a_row_group_that_takes_too_much_memory_is_refused(kind: pa.DataType, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [np.random.default_rng(n).bytes(10000) for n in range(4)]
    values = contents if kind == pa.binary() else [{"bytes": content, "path": None} for content in contents]
    table = pa.table({"photo": pa.array(values, kind), "more": ["x" * 9000] * 4})
    monkeypatch.setattr(containers, "MOST_OF_A_GROUP", 30_000)
    pq.write_table(table, "small.parquet", row_group_size=2)
    assert len(items("small.parquet", column="photo")) == 4
    pq.write_table(table, "large.parquet")
    with pytest.raises(DataError, match=r"row group 0 holds .* of images, more than the limit of 29\.3 KiB; write it"):
        items("large.parquet", column="photo")
