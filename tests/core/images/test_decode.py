"""Every kind of image file against its pixels in closed form, and what is wrong with a file."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
from base64 import b85decode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlrpl_cli.core.images import decode as images
from mlrpl_cli.core.images.check import check_files
from mlrpl_cli.core.images.decode import EncodedImage, load_pixels, open_image
from mlrpl_cli.core.images.loading import random_view
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.progress import Silent

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOUR = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)

LEFT, RIGHT = (20, 120, 220), (200, 30, 60)
DEEP_AVIF = {
    10: (
        r"0000WW^{RQVRmU|00000VRmU|ZE0pPZE0a<O+hh10002%ZDn*}000000000XXk=`10000000000aA{+7000000000000000000004sdC7Z2$"
        r"lO000310016oY;R)#0000)000310RR910RR926951JGynhqC~0YKW&i*H00031000_kZf0cy000000RRADb}%tRZ)|UJ00000YH4tCZ~y=RO"
        r"KEUpZvX%Q6lrsCWdHyG00000KmY&$AOHXW5O8UDX#fBK00RmN3IG5A3}JRLLxCVb000006Ju{|a&BX6cmM(b0ssbp0000NX>e^}000000000"
        r"1009I60)qqq002B~WMOm?0162>6+in}5D+wgG9?lMLrQ>x2rnQ20NkpgA0~A!jS6fY76Yh0z`IWKF#9?`JQ~0"
    ),
    12: (
        r"0000SW^{RQVRmU|00000VRmU|ZE0pPZE0a<0002%ZDn*}000000000XXk=`10000000000aA{+7000000000000000000004sdC7Z2$lO000"
        r"310016oY;R)#0000)000310RR910RR924*&oFH2?qrC~0YKW&i*H00031000_kZf0cy000000RRADb}%tRZ)|UJ00000YH4tCZ~y=ROKEUpZ"
        r"vX%Q6lrsCWdHyG00000KmY&$AOHXW5O8UDX#fBK00RsR3;+NC3}JRLLxDhG000006Ju{|a&BX6cmM(b0ssbp0000NX>e^}0000000001009I"
        r"60)qqq002F0WMOm?0163M6+io01OyEbGA0rNLrQ>x2rnQ20Nkoz1io$KX{^4;+^FlFBA~}kkeHiIx1MES"
    ),
}
"""AVIF of 10 and 12 bits in base 85: 64×32 pixels, one half LEFT and the other RIGHT."""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _file(image: Image.Image, format: str = "PNG", **options: object) -> Path:
    path = Path("photo")
    image.save(path, format, **options)
    return path


def _read(image: Image.Image, format: str = "PNG", **options: object) -> np.ndarray:
    opened = open_image(_file(image, format, **options))
    assert opened.mode == "RGB"
    return np.asarray(opened)


def _three(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[:, :, None], 3, axis=2)


# Kinds of files


def test_grey_and_one_bit_become_three_equal_channels() -> None:
    np.testing.assert_array_equal(_read(Image.fromarray(GREY)), _three(GREY))
    bits = Image.fromarray(GREY > 100)
    assert bits.mode == "1"
    np.testing.assert_array_equal(_read(bits), _three((GREY > 100).astype(np.uint8) * 255))


def test_cmyk_is_the_product_of_ink_and_black() -> None:
    """RGB = (255 − ink)·(255 − black) / 255."""
    inks = np.random.default_rng(1).integers(0, 256, (3, 4, 4), dtype=np.uint8)
    expected = (255.0 - inks[..., :3]) * (255.0 - inks[..., 3:]) / 255
    np.testing.assert_allclose(_read(Image.fromarray(inks, "CMYK"), "TIFF"), expected, atol=1)


def test_transparency_is_laid_on_white() -> None:
    """α·colour + (1 − α)·255, for colour and for grey."""
    alpha = np.linspace(0, 255, 12).round().astype(np.uint8).reshape(3, 4, 1)
    for colours, mode in ((COLOUR, "RGBA"), (GREY[:, :, None], "LA")):
        image = Image.fromarray(np.concatenate([colours, alpha], axis=2), mode)
        expected = alpha / 255 * colours + (1 - alpha / 255) * 255
        np.testing.assert_allclose(_read(image), np.broadcast_to(expected, COLOUR.shape), atol=1)


def test_transparent_colour_of_a_palette_becomes_white() -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    np.testing.assert_array_equal(_read(image)[0], [[10, 20, 30], [40, 50, 60], [70, 80, 90]])
    seen = _read(image, transparency=1)
    np.testing.assert_array_equal(seen[0], [[10, 20, 30], [255, 255, 255], [70, 80, 90]])


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    """65535 / 257 = 255; a dim image stays dim."""
    bright, dim = np.array([[0, 257, 1000, 32768, 65535]]), np.array([[514, 2570, 5140]])
    for format in ("PNG", "TIFF", "PPM"):
        for deep in (bright, dim):
            seen = _read(Image.fromarray(deep.astype(np.uint16)), format)
            np.testing.assert_array_equal(seen, _three(np.rint(deep / 257).astype(np.uint8)))


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 0.5, 1, np.nan], np.float32, [0, 128, 255, 0]),
        ([0, 100, 255, np.inf], np.float32, [0, 100, 255, 0]),
        ([-10, 0, 10, 10], np.float32, [0, 128, 255, 255]),
        ([300, 300, 300, 300], np.float32, [0, 0, 0, 0]),
        ([0, 257, 65535, 2570], np.int32, [0, 1, 255, 10]),
        ([0, 65536, 131072, 0], np.int32, [0, 128, 255, 0]),
    ],
)
def test_floats_and_long_integers_by_the_stated_ranges(values: list, dtype: type, expected: list) -> None:
    image = Image.fromarray(np.array([values], dtype=dtype))
    np.testing.assert_array_equal(_read(image, "TIFF"), _three(np.array([expected], dtype=np.uint8)))


UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied_once(orientation: int, format: str) -> None:
    """EXIF 2.3, tag 274: e.g. 6 says that row 0 of the file is the right-hand side of the scene."""
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if format == "WEBP" else {}
    seen = _read(Image.fromarray(COLOUR), format, exif=exif, **options)
    np.testing.assert_array_equal(seen, UPRIGHT[orientation](COLOUR))


OWN_PROCESS = "import sys; from mlrpl_cli.core.io.own_process import own_process; own_process(); "


def test_damaged_exif_neither_hides_whole_pixels_nor_warns(tmp_path: Path) -> None:
    """As the command line sets its process up, because pytest puts its own warning filters in front."""
    path = tmp_path / "photo.png"
    Image.fromarray(COLOUR).save(path, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    code = "from mlrpl_cli.core.images.decode import *; print(np.array(open_image(Path(sys.argv[1]))).tolist())"
    done = subprocess.run([sys.executable, "-c", OWN_PROCESS + code, path], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == COLOUR.tolist()
    assert done.stderr == ""


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_animation_is_its_first_frame(format: str) -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    seen = _read(frames[0], format, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(seen, np.asarray(frames[0]))


def test_large_jpeg_is_decoded_reduced_and_a_usual_one_is_not() -> None:
    """2048×1024 for 100 px a side: 1024 / (2·100) allows 1/4 of the size; 640×480 for 448 px stays as it is."""
    halves = Image.new("RGB", (2048, 1024), "red")
    halves.paste("blue", (1024, 0, 2048, 1024))
    reduced = open_image(_file(halves, "JPEG"), target=100)
    assert reduced.size == (512, 256)
    np.testing.assert_allclose(np.asarray(reduced)[:, [100, 400]].mean(axis=0), [[255, 0, 0], [0, 0, 255]], atol=3)
    assert open_image(_file(halves, "JPEG")).size == (2048, 1024)
    assert open_image(_file(halves.resize((640, 480)), "JPEG"), target=448).size == (640, 480)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("format", ["AVIF", "HEIF", "MPO", "JPEG2000"])
def test_what_phones_and_scanners_write_is_read(format: str, mode: str) -> None:
    """Within what their compression loses of two halves, of which the clear one is white."""
    if format == "MPO" and mode == "RGBA":
        return
    colour = (200, 30, 60, 0)[: len(mode)]
    halves = Image.new(mode, (64, 32), (20, 120, 220, 255)[: len(mode)])
    halves.paste(colour, (32, 0, 64, 32))
    if format == "HEIF":
        pillow_heif = pytest.importorskip("pillow_heif")
        pillow_heif.from_pillow(halves).save("photo", quality=95)
        seen = np.asarray(open_image(Path("photo")))
        assert "HEIF" not in Image.OPEN  # what the rest of the process opens stays the same
    else:
        seen = _read(halves, format)
    np.testing.assert_allclose(seen[:, 8:24].mean(axis=(0, 1)), (20, 120, 220), atol=6)
    right = (255, 255, 255) if mode == "RGBA" else colour
    np.testing.assert_allclose(seen[:, 40:56].mean(axis=(0, 1)), right, atol=6)


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
def test_ten_and_twelve_bits_are_read_as_eight(format: str, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within what compression loses of two halves. Pillow writes AVIF of 8 bits alone: libavif 1.4 wrote these."""
    if format == "AVIF":
        Path("photo").write_bytes(b85decode(DEEP_AVIF[bits]))
    else:
        pillow_heif = pytest.importorskip("pillow_heif")
        monkeypatch.setattr(pillow_heif.options, "SAVE_HDR_TO_12_BIT", bits == 12)
        pixels = np.zeros((32, 64, 3), np.uint16)
        pixels[:, :32], pixels[:, 32:] = np.array(LEFT) * 257, np.array(RIGHT) * 257
        pillow_heif.encode("RGB;16", (64, 32), pixels.tobytes(), "photo", quality=95)
        assert pillow_heif.open_heif("photo", convert_hdr_to_8bit=False).mode == "RGB;16"
    seen = open_image(Path("photo"))
    assert (seen.mode, seen.size) == ("RGB", (64, 32))
    np.testing.assert_allclose(np.asarray(seen)[:, 8:24].mean(axis=(0, 1)), LEFT, atol=6)
    np.testing.assert_allclose(np.asarray(seen)[:, 40:56].mean(axis=(0, 1)), RIGHT, atol=6)


def test_heic_without_its_decoder_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("photo.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DataError, match=r"photo\.heic: it is HEIC, which needs pillow-heif; pip install pillow-heif"):
        open_image(Path("photo.heic"))


# What is wrong with a file


@pytest.mark.parametrize(
    ("format", "weight"), [("PNG", 1), ("GIF", 1), ("JPEG", 1), ("WEBP", 2), ("AVIF", 2), ("JPEG2000", 3)]
)
def test_more_pixels_than_the_limit_are_refused(format: str, weight: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 pixels; where the decoder takes more memory a pixel, fewer may be."""
    picture = Image.new("RGB", (10, 20))
    monkeypatch.setattr(images, "PIXEL_LIMIT", 200 * weight)
    assert open_image(_file(picture, format)).size == (10, 20)
    monkeypatch.setattr(images, "PIXEL_LIMIT", 200 * weight - 1)
    with pytest.raises(DataError, match="10×20 pixels are more than the limit of 199"):
        open_image(_file(picture, format))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
@pytest.mark.parametrize("size", [(13_000, 10_000), (20_000, 20_000), (0x7FFFFFFF, 0x7FFFFFFF), (70_000, 10)])
def test_avif_and_heic_that_claim_a_huge_size_are_refused_as_others_are(format: str, size: tuple[int, int]) -> None:
    """The box ispe says the size (ISO/IEC 23008-12, 6.5.3): version, width and height, four bytes each."""
    picture = Image.new("RGB", (64, 64))
    if format == "HEIF":
        pytest.importorskip("pillow_heif").from_pillow(picture).save("photo")
    else:
        _file(picture, format)
    start, *boxes = Path("photo").read_bytes().split(b"ispe")
    claimed = b"".join(side.to_bytes(4, "big") for side in size)
    Path("photo").write_bytes(b"ispe".join([start, *(box[:4] + claimed + box[12:] for box in boxes)]))
    told = "{}×{} pixels".format(*size)
    limit = ": a side is longer than the limit of 65535" if size[1] == 10 else " are more than the limit of 89478485"
    with pytest.raises(DataError, match=f"{told}{limit}"):
        open_image(Path("photo"))
    assert check_files(Path(), ["photo"], True, Silent()).problems.summary().endswith(f"{told}{limit})")


def test_longer_side_than_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "SIDE_LIMIT", 19)
    with pytest.raises(DataError, match="10×20 pixels: a side is longer than the limit of 19"):
        open_image(_file(Image.new("RGB", (10, 20))))


def test_png_of_more_bytes_than_memory_is_left_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows the pixels of a PNG is read with them: 200 pixels take 13 bytes each, its file 4 for each."""
    path = _file(Image.new("RGB", (10, 20)))
    size = path.stat().st_size
    monkeypatch.setattr(images, "PEAK_BYTES", 200 * 13 + size * 4)
    assert open_image(path).size == (10, 20)
    monkeypatch.setattr(images, "PEAK_BYTES", 200 * 13 + size * 4 - 1)
    with pytest.raises(DataError, match=f"10×20 pixels in a file of {size} bytes may take more memory than"):
        open_image(path)


def test_lower_limit_of_another_library_is_left_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow refuses from twice its limit: 200 pixels are over 2·60."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    with pytest.raises(DataError, match=r"Image size \(200 pixels\) exceeds limit of 120 pixels"):
        open_image(_file(Image.new("RGB", (10, 20))))
    assert Image.MAX_IMAGE_PIXELS == 60


def test_size_that_pillow_warns_of_is_read_without_a_word() -> None:
    """As the command line sets its process up: even a warning that the user turned into an error must not stop it."""
    code = """
from pathlib import Path
from PIL import Image
from mlrpl_cli.core.images.decode import open_image
Image.new("RGB", (10, 10)).save("photo.png")
Image.MAX_IMAGE_PIXELS = 60
print(open_image(Path("photo.png")).size, Image.MAX_IMAGE_PIXELS)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", OWN_PROCESS + code], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("(10, 10) 60\n", "")


def test_what_threads_decode_at_one_time_stays_within_the_room() -> None:
    """Many images of 1 to 100 bytes in a room of 100."""
    room, held, most = images._Room(100), [], []

    def take(size: int) -> None:
        with room.taken(size):
            held.append(size)
            most.append(sum(held))
            held.remove(size)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, [1, 60, 99, 40, 100, 2] * 20))
    assert room.left == 100
    assert max(most) == 100


def test_room_is_free_again_after_an_image_that_cannot_be_read() -> None:
    Path("photo").write_bytes(_truncated("PNG"))
    with pytest.raises(DataError):
        open_image(Path("photo"))
    assert images._ROOM.left == images.PEAK_BYTES


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "CMYK", "L", "F"])
def test_parts_converted_one_by_one_give_what_the_whole_gives(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.fromarray(np.random.default_rng(8).integers(0, 256, (30, 20, 3), dtype=np.uint8)).convert(mode)
    whole = _read(picture, "TIFF")
    monkeypatch.setattr(images, "STRIP_PIXELS", 70)
    np.testing.assert_array_equal(_read(picture, "TIFF"), whole)


def test_pipe_put_in_a_files_place_between_the_two_questions_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    ordinary = os.stat(__file__)
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda path, **options: ordinary)
        with pytest.raises(DataError, match="a folder, a pipe or a device"):
            open_image(tmp_path / "pipe.jpg")


def test_link_that_leads_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg: Too many levels of symbolic links"):
        open_image(tmp_path / "a.jpg")


def _truncated(format: str) -> bytes:
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    memory = io.BytesIO()
    Image.fromarray(noise).save(memory, format)
    data = memory.getvalue()
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"a text file\nwith two lines\n", "it is not an image of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "it is not an image of a known format"),
        (_truncated("JPEG"), "truncated"),
        (_truncated("PNG"), "truncated"),
        (_truncated("BMP"), "truncated"),
        (b"\xff\xd8\xff\xe0" + bytes(100), ""),
        (b"\x89PNG\r\n\x1a\n" + b"\xff" * 100, ""),
        (b"GIF89a" + b"\x10\x00" * 20, ""),
    ],
)
def test_file_that_is_no_whole_image_is_one_line_with_its_path(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_image(path)
    assert str(caught.value).startswith(f"cannot read {path}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jpg: there is no such file"):
        open_image(tmp_path / "absent.jpg")
    with pytest.raises(DataError, match=r"cannot read .*: a folder, a pipe or a device; name a file"):
        open_image(tmp_path)


# Pixels for a network


def _bicubic_weights(old: int, new: int) -> np.ndarray:
    """(new, old) weights of Keys' cubic (a = −1/2), widened when it shrinks, normalised over the samples inside."""
    stretch = max(old / new, 1.0)
    centres = (np.arange(new)[:, None] + 0.5) * old / new
    x = np.abs((np.arange(old)[None] + 0.5 - centres) / stretch)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    return weights / weights.sum(axis=1, keepdims=True)


def _smooth(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([120 + 90 * np.sin(x / 5), 120 + 90 * np.cos(y / 7), 60 + x + y], axis=2).round().astype(np.uint8)


@pytest.mark.parametrize("size", [16, 64])
def test_load_pixels_is_the_separable_bicubic_of_the_whole_image(size: int) -> None:
    picture = _smooth(30, 50)
    rows, columns = _bicubic_weights(30, size), _bicubic_weights(50, size)
    expected = np.einsum("ih,jw,hwd->ijd", rows, columns, picture.astype(float))
    pixels = load_pixels(_file(Image.fromarray(picture)), size)
    assert (pixels.shape, pixels.dtype) == ((size, size, 3), np.uint8)
    np.testing.assert_allclose(pixels, expected, atol=1.5)


def test_whole_view_is_the_image_or_its_mirror_half_of_the_time() -> None:
    """With scale 1 and aspect 1 only the flip is left to chance: 200 fair draws lie within 100 ± 4·√50."""
    picture = np.random.default_rng(3).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    rng = np.random.default_rng(4)
    views = [random_view(Image.fromarray(picture), 8, rng, scale=(1, 1), ratio=(1, 1)) for _ in range(200)]
    mirrored = [not np.array_equal(view, picture) for view in views]
    assert all(np.array_equal(view, picture[:, ::-1]) for view, m in zip(views, mirrored, strict=True) if m)
    assert abs(sum(mirrored) - 100) < 4 * math.sqrt(50)


def test_views_cover_the_asked_share_of_the_area_uniformly() -> None:
    """Red is x and green is y, so a view shows its own box; in [0.1, 0.3] the mean share is 0.2 ± 4·0.2/√12/√400."""
    y, x = np.mgrid[0:200, 0:250].astype(np.uint8)
    image = Image.fromarray(np.stack([x, y, x], axis=2))
    rng = np.random.default_rng(5)
    views = [random_view(image, 128, rng, scale=(0.1, 0.3)).astype(int) for _ in range(400)]
    widths, heights = (np.array([np.ptp(view[..., channel]) + 1 for view in views]) for channel in (0, 1))
    shares, aspects = widths * heights / (200 * 250), widths / heights
    assert shares.min() > 0.09
    assert shares.max() < 0.31
    assert abs(shares.mean() - 0.2) < 4 * 0.2 / math.sqrt(12 * 400) + 0.002
    assert aspects.min() > 0.72
    assert aspects.max() < 1.39
    assert abs(np.log(aspects).mean()) < 4 * 2 * math.log(4 / 3) / math.sqrt(12 * 400) + 0.01


def test_image_too_narrow_for_any_draw_gives_its_middle() -> None:
    """A share of at least a half with aspect at most 4/3 does not fit in 10×1000: 13 columns round 500 remain."""
    columns = np.broadcast_to(np.arange(1000) // 4, (10, 1000)).astype(np.uint8)
    view = random_view(Image.fromarray(_three(columns)), 10, np.random.default_rng(6), scale=(0.5, 1))
    assert view.min() >= (500 - 7) // 4
    assert view.max() <= (500 + 7) // 4


def test_same_seed_gives_the_same_view() -> None:
    image = Image.fromarray(_smooth(60, 80))
    first, again, other = (random_view(image, 32, np.random.default_rng(seed)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF", "GIF"])
def test_bytes_without_a_file_are_read_as_the_file_is(format: str) -> None:
    path = _file(Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)), format)
    content = EncodedImage("shard.tar:photo", path.read_bytes())
    np.testing.assert_array_equal(load_pixels(content, 16), load_pixels(path, 16))


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_bytes_that_are_no_image_are_told_by_their_name(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^cannot read shard\.tar:photo: "):
        load_pixels(EncodedImage("shard.tar:photo", content), 16)
