"""A folder of every kind of file that `predict` may meet, with what it has to say of each."""

from __future__ import annotations

import io
import os
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

Chunks = list[tuple[bytes, bytes]]
Expected = dict[Path, str | None]
"""Of each file that is looked at: None when it is an image, else a part of the reason why it cannot be read."""

UNKNOWN = "it is not an image of a known format"
TOO_MANY = "exceeds limit of 178956970 pixels"
SIDE = 24
NOISE = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 4), dtype=np.uint8)
COLOUR = Image.fromarray(NOISE[..., :3])
GREY = Image.fromarray(NOISE[..., 0])
CLEAR = Image.fromarray(NOISE, "RGBA")
NAMES: tuple[str | bytes, ...] = (
    "two words.png",
    "two\nlines.png",
    "carriage\rreturn.png",
    "a\ttab.png",
    "quotes\"'`.png",
    '=HYPERLINK("example.org","open").png',
    "@SUM(1).png",
    "+1.png",
    "-1.png",
    " =1+1.png",
    "\x1b[2J\x1b]0;title\x07.png",
    "delete\x7f and c1 \x9b31m.png",
    "bidi\u202egnp.png",
    "zero\u200bwidth.png",
    "[red]markup[bold].png",
    "per%cent;semicolon,comma.png",
    "glob*?[1].png",
    "n" * 251 + ".png",
    b"latin-1 \xe9\xff.png",
    "é猫🐈.png",
)


def write_corpus(folder: Path) -> Expected:
    """Fill `folder` with small files, and say what is expected of each."""
    folder.mkdir()
    expected: Expected = {}
    for contents in (kinds_of_images(), damaged(), no_images(), too_large()):
        for name, content, reason in contents:
            path = folder / name
            path.write_bytes(content)
            expected[path] = reason
    return {
        **expected,
        **_write_much_metadata(folder),
        **_write_names(folder / "names"),
        **_write_odd_entries(folder / "entries"),
    }


def write_small_corpus(folder: Path) -> Expected:
    """Names of every kind and a few files that are no image."""
    folder.mkdir()
    expected = _write_names(folder / "names")
    for name, content, reason in no_images():
        (folder / name).write_bytes(content)
        expected[folder / name] = reason
    return expected


def write_bombs(folder: Path) -> Expected:
    """Images of nearly as many pixels as may be decoded, each a small file, in every way that decodes differently."""
    folder.mkdir()
    expected: Expected = {}
    for number in range(3):
        for kind, (colour_type, bits) in PNG_KINDS.items():
            for orientation in (1, 6):
                path = folder / f"{kind}-{orientation}-{number}.png"
                path.write_bytes(solid_png(13_000, 13_000, colour_type, bits, orientation))
                expected[path] = None
    black = Image.new("L", (13_000, 13_000))
    for name, image, options in (
        ("wide.gif", black, {}),
        ("progressive.jpg", black.convert("CMYK"), {"progressive": True, "quality": 50}),
        ("strip.tif", black, {"compression": "tiff_adobe_deflate", "strip_size": 1 << 30}),
        ("lossless.webp", Image.new("RGBA", (9_000, 9_000)), {"lossless": True, "method": 0}),
        ("wavelets.jp2.jpg", Image.new("RGBA", (7_000, 7_000)), {"format": "JPEG2000", "irreversible": True}),
    ):
        image.save(folder / name, **options)
        expected[folder / name] = None
    Image.new("RGBA", (9_000, 9_000)).save(folder / "clear.avif", subsampling="4:4:4", speed=10)
    expected[folder / "clear.avif"] = None
    pixels = bytes(8 * (1 + 8 * 3))
    for name, content in (
        ("metadata-before.png", _png(8, 8, pixels, before=[(b"eXIf", bytes(LONGEST_READ))])),
        ("metadata-after.png", _png(8, 8, pixels, after=[(b"eXIf", bytes(400 << 20))])),
    ):
        (folder / name).write_bytes(content)
        expected[folder / name] = None
    (folder / "beyond.png").write_bytes(solid_png(13_500, 13_500))
    expected[folder / "beyond.png"] = TOO_MANY
    return {**expected, **_write_much_metadata(folder)}


# What is an image


def kinds_of_images() -> Iterator[tuple[str, bytes, str | None]]:
    """(name, content, None) of images of every kind, some under a wrong suffix."""
    for name, content in {**_modes(), **_animations(), **_sizes(), **_odd_but_whole()}.items():
        yield name, content, None
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"rotated-{orientation}.jpg", encoded(COLOUR, "JPEG", exif=exif), None


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    """The bytes of an image file."""
    memory = io.BytesIO()
    image.save(memory, format, **options)
    return memory.getvalue()


def _modes() -> dict[str, bytes]:
    deep = NOISE[..., 0].astype(np.uint16) * 257
    odd = np.array([[np.nan, np.inf, -np.inf, 0.5]], dtype=np.float32)
    ink = Image.fromarray(NOISE, "CMYK")
    return {
        "plain.jpg": encoded(COLOUR, "JPEG"),
        "plain.png": encoded(COLOUR, "PNG"),
        "plain.bmp": encoded(COLOUR, "BMP"),
        "plain.gif": encoded(COLOUR, "GIF"),
        "plain.webp": encoded(COLOUR, "WEBP"),
        "plain.tif": encoded(COLOUR, "TIFF"),
        "plain.ppm": encoded(COLOUR, "PPM"),
        "plain.avif": encoded(COLOUR, "AVIF"),
        "alpha.avif": encoded(CLEAR, "AVIF"),
        "several.mpo": encoded(COLOUR, "MPO", save_all=True, append_images=[COLOUR]),
        "plain.jp2": encoded(COLOUR, "JPEG2000"),
        "no suffix": encoded(COLOUR, "JPEG"),
        "UPPER.JPG": encoded(COLOUR, "JPEG"),
        "png.jpg": encoded(COLOUR, "PNG"),
        "jpeg.png": encoded(COLOUR, "JPEG"),
        "webp.gif": encoded(COLOUR, "WEBP"),
        "jpeg2000.tif": encoded(COLOUR, "JPEG2000"),
        "grey.jpg": encoded(GREY, "JPEG"),
        "progressive.jpg": encoded(COLOUR, "JPEG", progressive=True),
        "cmyk.jpg": encoded(ink, "JPEG"),
        "cmyk.tif": encoded(ink, "TIFF"),
        "ycbcr.tif": encoded(COLOUR.convert("YCbCr"), "TIFF", compression="jpeg"),
        "palette.png": encoded(COLOUR.quantize(16), "PNG"),
        "palette-transparent.png": encoded(COLOUR.quantize(16), "PNG", transparency=bytes(range(16))),
        "palette-alpha.tif": encoded(COLOUR.quantize(16).convert("PA"), "TIFF"),
        "one-bit.png": encoded(GREY.convert("1"), "PNG"),
        "one-bit.tif": encoded(GREY.convert("1"), "TIFF"),
        "fax.tif": encoded(GREY.convert("1"), "TIFF", compression="group4"),
        "grey-alpha.png": encoded(CLEAR.convert("LA"), "PNG"),
        "alpha.png": encoded(CLEAR, "PNG"),
        "alpha.webp": encoded(CLEAR, "WEBP"),
        "associated-alpha.tif": _retagged(encoded(CLEAR, "TIFF"), extra_samples=338, value=1),
        "deep.png": encoded(Image.fromarray(deep), "PNG"),
        "deep.tif": encoded(Image.fromarray(deep), "TIFF"),
        "long.tif": encoded(Image.fromarray(deep.astype(np.int32)), "TIFF"),
        "float.tif": encoded(Image.fromarray(NOISE[..., 0] / np.float32(255)), "TIFF"),
        "float-not-finite.tif": encoded(Image.fromarray(odd), "TIFF"),
        "lzw.tif": encoded(COLOUR, "TIFF", compression="tiff_lzw"),
    }


def _animations() -> dict[str, bytes]:
    frames = {"save_all": True, "append_images": [COLOUR.rotate(90), COLOUR.rotate(180)]}
    return {f"animated.{format.lower()}": encoded(COLOUR, format, **frames) for format in ("GIF", "WEBP", "PNG")}


def _sizes() -> dict[str, bytes]:
    sizes = {"one.png": (1, 1), "tall.png": (1, 20_000), "wide.png": (20_000, 1)}
    return {name: encoded(Image.new("RGB", size, "red"), "PNG") for name, size in sizes.items()}


def _odd_but_whole() -> dict[str, bytes]:
    top_down = bytearray(encoded(COLOUR, "BMP"))
    top_down[22:26] = struct.pack("<i", -SIDE)
    return {
        "garbage-after.jpg": encoded(COLOUR, "JPEG") + b"\x00\xff garbage" * 50,
        "top-down.bmp": bytes(top_down),
    }


def _retagged(tiff: bytes, extra_samples: int, value: int) -> bytes:
    """A little-endian TIFF with the short value of one tag replaced."""
    entry = struct.pack("<HHL", extra_samples, 3, 1)
    position = tiff.index(entry) + len(entry)
    return tiff[:position] + struct.pack("<L", value) + tiff[position + 4 :]


# What is damaged


def damaged() -> Iterator[tuple[str, bytes, str | None]]:
    """(name, content, reason) of files that begin like an image."""
    whole = {
        "jpg": encoded(COLOUR, "JPEG"),
        "progressive.jpg": encoded(COLOUR, "JPEG", progressive=True),
        "png": encoded(COLOUR, "PNG"),
        "bmp": encoded(COLOUR, "BMP"),
        "gif": encoded(COLOUR, "GIF"),
        "webp": encoded(COLOUR, "WEBP", lossless=True),
        "tif": encoded(COLOUR, "TIFF"),
        "lzw.tif": encoded(COLOUR, "TIFF", compression="tiff_lzw"),
        "ppm": encoded(COLOUR, "PPM"),
    }
    for suffix, content in whole.items():
        for kept in (4, 30, len(content) // 4, len(content) // 2, len(content) * 3 // 4):
            yield f"truncated-{kept}.{suffix}", content[:kept], ""
    yield "header-only.png", _png(12_000, 12_000, b"little"), ""
    yield "text-bomb.png", _png(4, 4, bytes(52), [(b"zTXt", b"key\x00\x00" + _zeros())]), "too large"
    yield "profile-bomb.png", _png(4, 4, bytes(52), [(b"iCCP", b"icc\x00\x00" + _zeros())]), "too large"
    yield "negative-width.bmp", _bmp(-8, 8), TOO_MANY
    yield "huge-header.bmp", b"BM" + struct.pack("<LLLL", 2**31, 0, 54, 2**32 - 1) + bytes(40), ""
    yield "endless-directory.tif", b"II*\x00" + struct.pack("<LH", 8, 65_535) + bytes(24), UNKNOWN
    yield "directory-of-itself.tif", b"II*\x00" + struct.pack("<L", 0), ""
    yield "far-directory.tif", b"II*\x00" + struct.pack("<L", 2**32 - 1), UNKNOWN
    yield "huge-tile.tif", _tiff({322: 60_000, 323: 60_000, 324: 8, 325: 4}), ""
    yield "huge-strip.tif", _tiff({273: 8, 278: 2**32 - 1, 279: 2**32 - 1}, compression=5), ""
    yield "many-samples.tif", _tiff({273: 8, 277: 60_000, 279: 4}), UNKNOWN


def _png(width: int, height: int, pixels: bytes, before: Chunks | None = None, after: Chunks | None = None) -> bytes:
    """8-bit RGB with chunks before and after its pixels."""
    header = struct.pack(">LLBBBBB", width, height, 8, 2, 0, 0, 0)
    return png_file([(b"IHDR", header), *(before or []), (b"IDAT", zlib.compress(pixels)), *(after or [])])


def png_file(chunks: Chunks) -> bytes:
    """A PNG of the given chunks, each with its length and checksum, and the end."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in (*chunks, (b"IEND", b"")):
        parts.append(struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data)))
    return b"".join(parts)


def _zeros() -> bytes:
    """200 MiB in 200 KiB."""
    packer = zlib.compressobj(1)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()


def _bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<LLL", 54, 0, 54) + struct.pack("<LiiHHLLLLLL", 40, width, height, 1, 24, *[0] * 6)


def _tiff(tags: dict[int, int], compression: int = 1) -> bytes:
    """An 8×8 grey TIFF of nothing but its directory."""
    usual = {256: 8, 257: 8, 258: 8, 259: compression, 262: 1}
    entries = sorted({**usual, **tags}.items())
    directory = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in entries)
    return b"II*\x00" + struct.pack("<LH", 8, len(entries)) + directory + bytes(4)


# What is no image


def no_images() -> Iterator[tuple[str, bytes, str | None]]:
    """(name, content, reason) of other files under an image's name."""
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(it ran) print\n"
    yield "empty.jpg", b"", "the file is empty"
    yield "text.png", b"a text file\nwith two lines\n", UNKNOWN
    yield "page.png", b"<!DOCTYPE html><html><body>404 Not Found</body></html>", UNKNOWN
    yield "drawing.png", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', UNKNOWN
    yield "postscript.jpg", postscript, UNKNOWN
    yield "zeros.jpg", bytes(1000), UNKNOWN


# What is too large


def too_large() -> Iterator[tuple[str, bytes, str | None]]:
    """(name, content, reason) of images that are refused before anything is decoded."""
    yield "declared.png", _png(100_000, 100_000, b"little"), TOO_MANY
    yield "long.png", _png(70_000, 1, bytes(210_001)), "a side is longer than the limit of 65535"
    yield "solid.png", solid_png(14_000, 14_000), TOO_MANY
    yield "screen.gif", b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b",\0\0\0\0\1\0\1\0\0\2", TOO_MANY
    yield "frame.gif", b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\2", TOO_MANY
    yield "wide.bmp", _bmp(2**31 - 1, 2**31 - 1), TOO_MANY
    yield "number.ppm", b"P6\n9999999999 9999999999\n255\n", TOO_MANY
    yield "canvas.webp", _webp_canvas(16_384, 16_384), TOO_MANY


def _webp_canvas(width: int, height: int) -> bytes:
    """Small frames of an animation that declares a large canvas."""
    animation = bytearray(encoded(COLOUR, "WEBP", save_all=True, append_images=[GREY.convert("RGB")]))
    assert animation[12:16] == b"VP8X"
    animation[24:30] = struct.pack("<L", width - 1)[:3] + struct.pack("<L", height - 1)[:3]
    return bytes(animation)


PNG_KINDS = {"grey": (0, 8), "deep": (0, 16), "colour": (2, 8), "transparent": (6, 8)}
_CHANNELS = {0: 1, 2: 3, 6: 4}


def solid_png(width: int, height: int, colour_type: int = 2, bits: int = 8, orientation: int = 1) -> bytes:
    """A PNG of zeros. One row is packed once and repeated, which a full flush before each allows."""
    row = bytes(1 + width * _CHANNELS[colour_type] * bits // 8)
    packer = zlib.compressobj(9)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    repeated = packer.compress(row) + packer.flush(zlib.Z_FULL_FLUSH)
    # The sum of a row of zeros leaves the low half of Adler-32 at 1 and counts the bytes in the high half.
    checksum = (len(row) * height % 65_521) << 16 | 1
    stream = b"\x78\xda" + (head + repeated)[2:] + repeated * (height - 1) + b"\x03\x00" + struct.pack(">L", checksum)
    exif = struct.pack("<2sHLHHHLLL", b"II", 42, 8, 1, 0x0112, 3, 1, orientation, 0)
    header = struct.pack(">LLBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return png_file([(b"IHDR", header), (b"eXIf", exif), (b"IDAT", stream)])


# What is small to look at and long to read

LONGEST_READ = 31 << 20
MUCH = 1 << 30
TOO_LONG = "more than 32 MiB would be read"
IN_PIECES = "it lies in more than 500000 pieces"


def _write_much_metadata(folder: Path) -> Expected:
    """A GiB of metadata, which takes no room on the disk, and short files of a million pieces."""
    gif, jpeg = encoded(COLOUR, "GIF"), encoded(COLOUR, "JPEG")
    palette_end = 13 + 3 * 2 ** ((gif[10] & 7) + 1)
    sparse = {
        "metadata.webp": b"RIFF" + struct.pack("<L", MUCH) + b"WEBPVP8X" + struct.pack("<LLHLHL", 10, 8, 7, 7, 0, 0),
        "metadata.png": _png(8, 8, b"")[:33] + struct.pack(">L", MUCH - 100) + b"eXIf",
        "metadata.tif": _tiff({700: 8}).replace(struct.pack("<HHL", 700, 4, 1), struct.pack("<HHL", 700, 1, MUCH // 2)),
        "metadata.bmp": b"BM" + struct.pack("<LLLL", 54, 0, 54, MUCH // 2),
    }
    pieces = {
        "segments.jpg": jpeg[:2] + b"\xff\xe5\0\2" * 500_000 + jpeg[2:],
        "comment.gif": gif[:palette_end] + b"!\xfe" + b"\1x" * 500_000 + b"\0" + gif[palette_end:],
        "chunks.png": _png(8, 8, b"", before=[(b"abCd", b"")] * 250_000),
        "number.pgm": b"P5\n#" + b" " * 600_000 + b"\n8 8\n255\n" + bytes(64),
    }
    expected: Expected = {}
    for name, start in sparse.items():
        with (folder / name).open("wb") as stream:
            stream.write(start)
            stream.truncate(MUCH)
        expected[folder / name] = TOO_LONG
    for name, content in pieces.items():
        (folder / name).write_bytes(content)
        expected[folder / name] = IN_PIECES
    return expected


# Names and entries that are no plain file


def _write_names(folder: Path) -> Expected:
    """Images, and files that are none, under every name."""
    folder.mkdir()
    expected: Expected = {}
    for content, reason, part in ((encoded(COLOUR, "PNG"), None, "good"), (b"nothing", UNKNOWN, "bad")):
        (folder / part).mkdir()
        for name in NAMES:
            path = folder / part / os.fsdecode(name)
            path.write_bytes(content)
            expected[path] = reason
    return expected


def _write_odd_entries(folder: Path) -> Expected:
    """Links, pipes, sockets, hidden files and folders; what is hidden or found by another name is not expected."""
    inside = folder / "folder.jpg" / "inside.png"
    inside.parent.mkdir(parents=True)
    inside.write_bytes(encoded(COLOUR, "PNG"))
    (folder / ".hidden.png").write_bytes(b"hidden")
    for name, target in LINKS.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe.jpg")
    _write_socket(folder / "socket.jpg")
    special = "a folder, a pipe or a device"
    return {
        inside: None,
        folder / "link.png": None,
        folder / "dangling.jpg": "there is no such file",
        folder / "itself.jpg": "symbolic links",
        folder / "first.jpg": "symbolic links",
        folder / "second.jpg": "symbolic links",
        folder / "pipe.jpg": special,
        folder / "socket.jpg": special,
        folder / "device.png": special,
    }


LINKS = {
    "link.png": "folder.jpg/inside.png",
    "dangling.jpg": "nowhere.jpg",
    "itself.jpg": "itself.jpg",
    "first.jpg": "second.jpg",
    "second.jpg": "first.jpg",
    "here": ".",
    "up": "..",
    "circle": "circle",
    "device.png": "/dev/zero",
}


def _write_socket(path: Path) -> None:
    """Bound through the open folder, since the whole path may be longer than a socket's address."""
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(before)
        os.close(before)
