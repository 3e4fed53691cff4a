"""Image files of every common kind to RGB pixels.

Whatever is read: pixels under decoding take at most PEAK_BYTES of memory in a process at one time, however many threads
decode, and metadata at most HEADER_BYTES in each of them. To give it back at once, Pillow needs the block size that
`io/own_process.py` sets for the command line; what Pillow warns of is left to whoever runs the process.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from mlrpl_cli.core.images.kinds import AVIF, HEIF, JPEG, KINDS, START, kind_of
from mlrpl_cli.core.io.errors import DataError, in_words, one_line
from mlrpl_cli.core.io.reading import KIB, MIB, open_file

BICUBIC = "bicubic"
RESAMPLINGS = {BICUBIC: Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
FORMATS = tuple(kind.decoder for kind in KINDS if kind.decoder != HEIF)
"""Pillow's own decoders that may run."""
PIXEL_LIMIT = 178_956_970
"""Of one image, and of all that a process decodes at one time; where Pillow itself begins to refuse."""
WEIGHTS = {kind.decoder: kind.weight for kind in KINDS}
"""A pixel of these takes the decoder this many times the memory, so it counts as so many."""
SIDE_LIMIT = 65_535
"""As of JPEG and GIF. A longer side takes more memory to resize than to decode."""
PIXEL_BYTES = 13
"""The most memory that a pixel takes: at worst, turning a transparent image, 12 bytes are measured."""
FILE_WEIGHTS = {kind.decoder: kind.file_weight for kind in KINDS}
"""Metadata may follow the pixels of PNG: a byte of the file takes at most this many. Measured: 3."""
PEAK_BYTES = PIXEL_BYTES * PIXEL_LIMIT
"""The most memory that decoding takes."""
HEADER_LIMIT = 32 * MIB
"""Bytes that may be read before an image's size is known: its metadata, or the whole file of WebP, AVIF and HEIF."""
PIECE_LIMIT = 500_000
"""How many times a file may be read from. A PNG in usual pieces of 8 KiB is read three times for each."""
HEADER_BYTES = 6 * HEADER_LIMIT + 150 * PIECE_LIMIT
"""The most memory that one file's metadata take. Measured: up to 6 bytes for each byte, and 144 for each piece."""
STRIP_PIXELS = 1 << 20
DRAFT_MARGIN = 2
"""A reduced JPEG keeps this many times the target's pixels a side, so that resizing still averages over them."""

JPEGS = (JPEG, "MPO")
"""What Pillow calls a JPEG, of one picture and of several."""
END_OF_JPEG = b"\xff\xd9"

_SMALL = 64 * KIB  # a read of no more than this is not worth asking what is left
_ORIENTATION_TAG = 0x0112
_UPRIGHT = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
"""What undoes 2, 3, … 8. Not ImageOps.exif_transpose, which reads every tag, in more memory than is promised."""
EMPTY_FILE = "the file is empty"
_REASONS = {
    UnidentifiedImageError: "it is not an image of a known format",
    MemoryError: "there is not enough memory for its pixels",
    FileNotFoundError: "there is no such file",
}

T = TypeVar("T")


@dataclass(frozen=True)
class EncodedImage:
    """The bytes of an image file that lies in no file of its own, and what messages call it."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name


class RefusedError(ValueError):
    """A file that is not decoded, whether it is whole or not: it passes a limit, or its decoder is not installed."""


def open_image(path: Path | EncodedImage, target: int | None = None, allow_truncated: bool = False) -> Image.Image:
    """The first frame of an image file as upright RGB.

    Transparency is laid on white. Grey of 16 and 32 bits and floats are scaled to 8 bits (`_grey_scale` says how).
    With `target`, a JPEG of more than about four times that many pixels on both sides is decoded at 1/2, 1/4 or 1/8
    of its size. With `allow_truncated`, a JPEG may lack its last bytes; what they would show is grey or coarse.
    Raises DataError with the path and the reason for what is missing, empty, damaged, no regular file, no image, of
    more than PIXEL_LIMIT pixels (a half for WebP, AVIF and HEIF, a third for JPEG 2000) or SIDE_LIMIT on a side, of
    more metadata than HEADER_LIMIT, or of a kind whose decoder is not installed.
    """
    return _decoded(path, target, allow_truncated, lambda image: image)


def scaled_image(path: Path, side: int, allow_truncated: bool = False) -> Image.Image:
    """The same, of at most `side` pixels on each side and its own aspect, never larger than it is."""

    def scaled(image: Image.Image) -> Image.Image:
        image.thumbnail((side, side))
        return image

    return _decoded(path, side, allow_truncated, scaled)


def image_size(path: Path | EncodedImage) -> tuple[int, int]:
    """(width, height) in pixels as the header says, before it is turned upright. Raises DataError as `open_image`."""
    with opened(path) as (image, _):
        return image.size


def load_pixels(
    path: Path | EncodedImage, size: int, allow_truncated: bool = False, resampling: str = BICUBIC
) -> np.ndarray:
    """(size, size, 3) uint8 RGB of the whole image; its aspect is not kept.

    It is resized by `resampling`, a key of RESAMPLINGS. Reads and raises as `open_image`.
    """

    def resized(image: Image.Image) -> np.ndarray:
        return np.array(image.resize((size, size), RESAMPLINGS[resampling]))

    return _decoded(path, size, allow_truncated, resized)


class _Room:
    """Memory for what is under decoding at one time, in bytes; who asks for more than is left waits."""

    def __init__(self, size: int) -> None:
        self.left = size
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Hold `size` bytes, at most what there is in all."""
        with self._changed:
            self._changed.wait_for(lambda: size <= self.left)
            self.left -= size
        try:
            yield
        finally:
            with self._changed:
                self.left += size
                self._changed.notify_all()


_ROOM = _Room(PEAK_BYTES)


class BoundedStream:
    """A file that raises RefusedError when more of it is read than an image needs, whatever it says of itself."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.seek, self.tell = stream, stream.seek, stream.tell
        self.size = stream.getbuffer().nbytes if isinstance(stream, BytesIO) else os.fstat(stream.fileno()).st_size
        self.bytes_left, self.pieces_left = float(HEADER_LIMIT), PIECE_LIMIT
        self.ending = b""
        """What is read after the file's own end, once."""

    def read(self, size: int = -1) -> bytes:
        """What is there of `size` bytes, or of all. A size that the file only claims is not allocated."""
        if not 0 <= size <= _SMALL:
            rest = max(self.size - self.tell(), 0)
            size = min(size, rest) if size >= 0 else rest
        self.bytes_left -= size
        self.pieces_left -= 1
        if self.bytes_left < 0:
            raise RefusedError(f"more than {in_words(HEADER_LIMIT)} would be read before its size in pixels is known")
        if self.pieces_left < 0:
            raise RefusedError(f"it lies in more than {PIECE_LIMIT} pieces")
        if (found := self.stream.read(size)) or not self.ending:
            return found
        found, self.ending = self.ending, b""
        return found

    def __getattr__(self, name: str) -> Any:
        """Whatever else the stream has: above all the descriptor, from which some decoders read on their own."""
        return getattr(self.stream, name)


@contextmanager
def opened(path: Path | EncodedImage) -> Iterator[tuple[Image.Image, BoundedStream]]:
    """An image of which only the header is read, and its file. Errors of the block come out as DataError, too."""
    try:
        with BytesIO(path.content) if isinstance(path, EncodedImage) else open_file(path) as stream:
            bounded = BoundedStream(stream)
            if not bounded.size:
                raise ValueError(EMPTY_FILE)
            held = [_image(bounded)]
            bounded.bytes_left = math.inf  # from now on pixels are read, which are counted elsewhere
            yield held.pop(), bounded  # kept by the caller alone, who lets go of its pixels
    except Exception as error:  # a damaged file can raise nearly anything inside a decoder
        told = getattr(error, "strerror", None) or str(error) or type(error).__name__
        reason = next((reason for kind, reason in _REASONS.items() if isinstance(error, kind)), one_line(told))
        raise DataError(f"cannot read {path}: {reason.removeprefix(f'{path} is ')}") from error


def _image(stream: BoundedStream) -> Image.Image:
    """The image in a file, not yet decoded. Raises RefusedError where its decoder is not installed."""
    kind = kind_of(stream.read(START))
    stream.seek(0)
    if kind is not None and kind.decoder == AVIF and not features.check("avif"):
        raise RefusedError("it is AVIF, which this Pillow lacks; pip install 'pillow>=11.3'")
    if kind is None or kind.decoder != HEIF:
        try:
            return Image.open(cast(IO[bytes], stream), formats=FORMATS)
        except UnidentifiedImageError:
            if kind is not None and kind.decoder == AVIF:
                _check_declared(stream, AVIF)
            raise
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise RefusedError("it is HEIC, which needs pillow-heif; pip install pillow-heif") from error
    # Its class, and not its opener, which would change what every Image.open of this process reads.
    try:
        return HeifImageFile(stream)
    except SyntaxError:
        _check_declared(stream, HEIF)
        raise


def _check_declared(stream: BoundedStream, decoder: str) -> None:
    """Raise RefusedError for an AVIF or HEIC of more pixels than the limit; of far more their libraries say less.

    The box ispe (ISO/IEC 23008-12, 6.5.3) has four bytes of version, the width and the height.
    """
    stream.seek(0)
    boxes = stream.read(_SMALL).split(b"ispe")[1:]
    for box in (box[4:12] for box in boxes if len(box) >= 12):
        _check_size(int.from_bytes(box[:4], "big"), int.from_bytes(box[4:], "big"), decoder)


def _decoded(
    path: Path | EncodedImage, target: int | None, allow_truncated: bool, use: Callable[[Image.Image], T]
) -> T:
    """What `use` makes of the decoded image, whose room is held until then."""
    with opened(path) as (image, stream), _ROOM.taken(needed(image, target or 0, stream.size)):
        if allow_truncated and image.format in JPEGS:
            stream.ending = END_OF_JPEG
        result = use(_decode(image, target))
        del image  # its pixels go before another image takes their room
        return result


def needed(image: Image.Image, target: int, file_size: int) -> int:
    """The bytes of memory that an image takes. Raises RefusedError for one that is too large to be decoded."""
    weight, size = _check_size(image.width, image.height, image.format or "")
    # Pillow resizes the rows first: a narrow image is `target` pixels wide on the way.
    pixels = min(max(image.width, target) * image.height * weight, PIXEL_LIMIT)
    memory = pixels * PIXEL_BYTES + file_size * FILE_WEIGHTS.get(image.format or "", 0)
    if memory > PEAK_BYTES:
        file, limit = in_words(file_size), in_words(PEAK_BYTES)
        raise RefusedError(f"{size} in a file of {file} may take more memory than the limit of {limit}")
    return memory


def _check_size(width: int, height: int, decoder: str) -> tuple[int, str]:
    """How often a pixel counts, and the size in words. Raises RefusedError for one that passes a limit."""
    weight, size = WEIGHTS.get(decoder, 1), f"{width}×{height} pixels"
    if width * height * weight > PIXEL_LIMIT:
        raise RefusedError(f"{size} are more than the limit of {PIXEL_LIMIT // weight}")
    if max(width, height) > SIDE_LIMIT:
        raise RefusedError(f"{size}: a side is longer than the limit of {SIDE_LIMIT}")
    return weight, size


def _decode(image: Image.Image, target: int | None) -> Image.Image:
    try:
        if target is not None and image.format in JPEGS:  # HEIC would give its thumbnail, of whatever it shows
            image.draft(None, (DRAFT_MARGIN * target, DRAFT_MARGIN * target))
        image.load()
        turn = None
        with suppress(Exception):  # of damaged EXIF data, since the pixels may be whole
            turn = dict(enumerate(_UPRIGHT, start=2)).get(image.getexif().get(_ORIENTATION_TAG, 1))
        rgb = _to_rgb(image)
        return rgb.transpose(Image.Transpose[turn]) if turn else rgb
    except BaseException:
        image.close()  # the error's traceback would keep its pixels
        raise


def _to_rgb(image: Image.Image) -> Image.Image:
    """Converted part by part, so that what is needed on the way is small."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    convert = _grey_scale(image) if image.mode.startswith(("I", "F")) else _on_white
    rgb = Image.new("RGB", image.size)
    for top, part in _strips(image):
        rgb.paste(convert(part), (0, top))
    return rgb


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Parts over the whole width, each with its first row's number."""
    rows = max(STRIP_PIXELS // image.width, 1)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _on_white(part: Image.Image) -> Image.Image:
    if not part.has_transparency_data:
        return part.convert("RGB")
    colours = part.convert("RGBA")
    white = Image.new("RGB", part.size, "white")
    white.paste(colours, mask=colours.getchannel("A"))
    return white


def _grey_scale(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What makes 8 bits of a part of a deep grey image.

    0..65535 for integers and 0..1 or 0..255 for floats become 0..255. Values outside those ranges are stretched from
    the whole image's minimum and maximum; what is not finite is black.
    """
    extremes = np.array([(part.min(), part.max()) for part in (_finite(part) for _, part in _strips(image))])
    low, high = float(extremes.min()), float(extremes.max())
    tops = (1.0, 255.0) if image.mode == "F" else (65535.0,)
    if fitting := [top for top in tops if low >= 0 and high <= top]:
        low, high = 0.0, fitting[0]
    factor = 255 / (high - low or 1.0)  # a constant image outside the ranges has nothing to stretch
    return lambda part: Image.fromarray(np.rint((_finite(part) - low) * factor).astype(np.uint8)).convert("RGB")


def _finite(part: Image.Image) -> np.ndarray:
    """(H, W) float64 values of a deep grey image, 0 for what is not finite."""
    return np.nan_to_num(np.asarray(part, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
