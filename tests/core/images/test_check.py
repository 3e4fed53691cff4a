"""Broken images, found by their headers and ends, against what decoding all of the file says."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlrpl_cli.core.images import check
from mlrpl_cli.core.images.check import EMPTY, NO_IMAGE, TAKEN, TRUNCATED, UNREADABLE, check_files
from mlrpl_cli.core.images.decode import open_image
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.progress import Silent
from tests.trust import corpus

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
WHOLE = {
    "a.jpg": ("JPEG", {}),
    "progressive.jpg": ("JPEG", {"progressive": True}),
    "a.mpo": ("MPO", {"save_all": True, "append_images": [Image.fromarray(NOISE)]}),
    "a.png": ("PNG", {}),
    "a.bmp": ("BMP", {}),
    "a.gif": ("GIF", {}),
    "a.webp": ("WEBP", {"lossless": True}),
    "a.tif": ("TIFF", {}),
    "lzw.tif": ("TIFF", {"compression": "tiff_lzw"}),
    "a.ppm": ("PPM", {}),
    "a.jp2": ("JPEG2000", {}),
    "a.avif": ("AVIF", {}),
}


def _whole(name: str) -> bytes:
    format, options = WHOLE[name]
    memory = io.BytesIO()
    Image.fromarray(NOISE).save(memory, format, **options)
    return memory.getvalue()


def _found(folder: Path, *names: str, allow_truncated: bool = False) -> dict[str, list[str]]:
    return dict(check_files(folder, names, allow_truncated, Silent()).problems)


@pytest.mark.parametrize("name", WHOLE)
def test_whole_image_is_known_by_its_end_and_a_cut_one_is_found(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is cut off, what is called whole decodes, and what is called broken does not."""
    data = _whole(name)
    path = tmp_path / name
    for length in (len(data) - 1, len(data) - 20, len(data) // 2, 40):
        path.write_bytes(data[:length])
        try:
            open_image(path)
            expected = {}
        except DataError:
            expected = {TRUNCATED: [name]}
        assert _found(tmp_path, name) == expected
    path.write_bytes(data)
    if name != "a.ppm":  # whose raw pixels are as quickly decoded
        monkeypatch.setattr(check, "open_image", None)
    assert _found(tmp_path, name) == {}


def test_every_kind_of_image_of_the_corpus_is_whole(tmp_path: Path) -> None:
    names = []
    for name, content, _ in corpus.kinds_of_images():
        (tmp_path / name).write_bytes(content)
        names.append(name)
    assert _found(tmp_path, *names) == {}


def test_each_is_told_by_what_is_wrong_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in (("empty.jpg", b""), ("page.jpg", b"<html>"), ("good.jpg", _whole("a.jpg"))):
        (tmp_path / name).write_bytes(content)
    Image.new("RGB", (10, 20)).save(tmp_path / "long.png")
    monkeypatch.setattr("mlrpl_cli.core.images.decode.SIDE_LIMIT", 64)
    Image.new("RGB", (1, 65)).save(tmp_path / "long.png")
    assert _found(tmp_path, "empty.jpg", "page.jpg", "good.jpg", "long.png", "gone.jpg") == {
        EMPTY: ["empty.jpg"],
        NO_IMAGE: ["page.jpg"],
        UNREADABLE: [
            "long.png: 1×65 pixels: a side is longer than the limit of 64",
            "gone.jpg: there is no such file",
        ],
    }


def test_jpeg_without_its_last_bytes_is_taken_when_allowed_and_the_rest_is_the_same(tmp_path: Path) -> None:
    """Pillow's own reading of truncated files, which is a setting of the whole process, is the reference."""
    from PIL import ImageFile

    data = _whole("a.jpg")
    cuts = {"end.jpg": data[:-2], "tail.jpg": data[:-200], "header.jpg": data[:100]}
    for name, content in cuts.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "cut.png").write_bytes(_whole("a.png")[:-200])
    checked = check_files(tmp_path, (*cuts, "cut.png"), True, Silent())
    assert checked.taken == ["end.jpg", "tail.jpg"]
    assert list(checked.broken) == ["header.jpg", "cut.png"]
    assert TAKEN not in checked.problems
    for name in checked.taken:
        with pytest.raises(DataError):
            open_image(tmp_path / name)
        seen = np.asarray(open_image(tmp_path / name, allow_truncated=True))
        assert not ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            expected = np.asarray(Image.open(tmp_path / name))
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        np.testing.assert_array_equal(seen, expected)
