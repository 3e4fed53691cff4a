"""Image files of every common kind to RGB pixels, whole or as random views.

Whatever is read: pixels under decoding take at most PEAK_BYTES of memory in a process at one time, however many threads
decode, and metadata at most HEADER_BYTES in each of them. To give it back at once, Pillow needs the block size that
`io/own_process.py` sets for the command line; what Pillow warns of is left to whoever runs the process.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TypeVar, cast

import numpy as np
from PIL import Image, UnidentifiedImageError

from mlrpl_cli.core.images.streams import BoundedStream
from mlrpl_cli.core.io.errors import DataError, in_words, one_line
from mlrpl_cli.core.io.reading import open_file

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000")
"""Pillow's decoders that may run: EPS, which starts Ghostscript, and the exotic ones may not."""
PIXEL_LIMIT = 178_956_970
"""Of one image, and of all that a process decodes at one time; where Pillow itself begins to refuse."""
WEIGHTS = {"WEBP": 2, "JPEG2000": 3}
"""A pixel of these takes the decoder this many times the memory, so it counts as so many."""
SIDE_LIMIT = 65_535
"""As of JPEG and GIF. A longer side takes more memory to resize than to decode."""
PIXEL_BYTES = 13
"""The most memory that a pixel takes: at worst, turning a transparent image, 12 bytes are measured."""
FILE_WEIGHTS = {"PNG": 4}
"""Metadata may follow the pixels of these: a byte of the file takes at most this many. Measured: 3."""
PEAK_BYTES = PIXEL_BYTES * PIXEL_LIMIT
"""The most memory that decoding takes."""
STRIP_PIXELS = 1 << 20
DRAFT_MARGIN = 2
"""A reduced JPEG keeps this many times the target's pixels a side, so that resizing still averages over them."""

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")

T = TypeVar("T")
Random = np.random.Generator | np.random.RandomState


def open_image(source: Path | str | IO[bytes], target: int | None = None) -> Image.Image:
    """The first frame of an image file or stream as upright RGB.

    Transparency is laid on white. Grey of 16 and 32 bits and floats are scaled to 8 bits (`_grey_scale` says how).
    With `target`, a JPEG of more than about four times that many pixels on both sides is decoded at 1/2, 1/4 or 1/8
    of its size. Raises DataError with the path and the reason for what is missing, empty, damaged, no regular file,
    no image, of more than PIXEL_LIMIT pixels (a half for WebP, a third for JPEG 2000) or SIDE_LIMIT on a side, or of
    more metadata than HEADER_LIMIT.
    """
    return _decoded(source, target, lambda image: image)


def load_pixels(source: Path | str | IO[bytes], size: int) -> np.ndarray:
    """(size, size, 3) uint8 RGB of the whole image, resized by bicubic interpolation; its aspect is not kept."""
    return _decoded(source, size, lambda image: np.array(image.resize((size, size), Image.Resampling.BICUBIC)))


def random_view(
    image: Image.Image,
    size: int,
    rng: Random,
    scale: tuple[float, float] = (0.25, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: bool = True,
) -> np.ndarray:
    """(size, size, 3) uint8: a random part of an RGB image, resized by bicubic interpolation, and maybe mirrored.

    The part's share of the area is uniform in `scale`, the logarithm of its aspect uniform in `ratio`. The default
    scale is that of the laboratory's crops (sides of 256 to 512 in 512). `rng` is the only source of randomness.
    """
    box = _random_box(image.width, image.height, rng, scale, ratio)
    pixels = np.array(image.resize((size, size), Image.Resampling.BICUBIC, box=box))
    return np.ascontiguousarray(pixels[:, ::-1]) if flip and rng.random() < 0.5 else pixels


# Decoding


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


def _decoded(source: Path | str | IO[bytes], target: int | None, use: Callable[[Image.Image], T]) -> T:
    """What `use` makes of the decoded image, whose room is held until then."""
    name = source if isinstance(source, Path | str) else getattr(source, "name", "the image")
    try:
        with nullcontext(source) if not isinstance(source, Path | str) else open_file(Path(source)) as stream:
            bounded = BoundedStream(stream)
            if not bounded.size:
                raise ValueError("the file is empty")
            image = Image.open(cast(IO[bytes], bounded), formats=FORMATS)
            bounded.end_header()
            with _ROOM.taken(_needed(image, target or 0, bounded.size)), _closed_on_error(image):
                result = use(_decode(image, target))
                del image  # its pixels go before another image takes their room
            return result
    except Exception as error:
        # A damaged file can raise nearly anything inside a decoder.
        raise DataError(f"cannot read {name}: {_reason(error).removeprefix(f'{name} is ')}") from error


def _needed(image: Image.Image, target: int, file_size: int) -> int:
    """The bytes of memory that an image takes. Raises ValueError for one that is too large to be decoded."""
    weight = WEIGHTS.get(image.format or "", 1)
    if image.width * image.height * weight > PIXEL_LIMIT:
        raise ValueError(f"{image.width}×{image.height} pixels are more than the limit of {PIXEL_LIMIT // weight}")
    if max(image.size) > SIDE_LIMIT:
        raise ValueError(f"{image.width}×{image.height} pixels: a side is longer than the limit of {SIDE_LIMIT}")
    # Pillow resizes the rows first: a narrow image is `target` pixels wide on the way.
    pixels = min(max(image.width, target) * image.height * weight, PIXEL_LIMIT)
    needed = pixels * PIXEL_BYTES + file_size * FILE_WEIGHTS.get(image.format or "", 0)
    if needed > PEAK_BYTES:
        size = f"{image.width}×{image.height} pixels in a file of {in_words(file_size)}"
        raise ValueError(f"{size} may take more memory than the limit of {in_words(PEAK_BYTES)}")
    return needed


@contextmanager
def _closed_on_error(image: Image.Image) -> Iterator[None]:
    """Free the pixels of an image that cannot be decoded; the error's traceback would keep them."""
    try:
        yield
    except BaseException:
        image.close()
        raise


def _decode(image: Image.Image, target: int | None) -> Image.Image:
    if target is not None:
        image.draft(None, (DRAFT_MARGIN * target, DRAFT_MARGIN * target))
    image.load()
    turn = _upright_turn(image)
    rgb = _to_rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode in _DEEP_MODES:
        return _in_strips(image, _grey_scale(image))
    return _in_strips(image, _on_white if image.has_transparency_data else _plain_rgb)


def _in_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """The RGB image that `convert` makes of each part: what it needs on the way is small."""
    rgb = Image.new("RGB", image.size)
    for box in _strips(image):
        rgb.paste(convert(image.crop(box)), box)
    return rgb


def _strips(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    """(left, top, right, bottom) of parts over the whole width."""
    rows = max(STRIP_PIXELS // image.width, 1)
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)


def _plain_rgb(part: Image.Image) -> Image.Image:
    return part.convert("RGB")


def _on_white(part: Image.Image) -> Image.Image:
    colours = part.convert("RGBA")
    white = Image.new("RGB", part.size, "white")
    white.paste(colours, mask=colours.getchannel("A"))
    return white


def _grey_scale(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What makes 8 bits of a part of a deep grey image.

    0..65535 for integers and 0..1 or 0..255 for floats become 0..255. Values outside those ranges are stretched from
    the whole image's minimum and maximum; what is not finite is black.
    """
    low, high = _extremes(image)
    tops = (1.0, 255.0) if image.mode == "F" else (65535.0,)
    fitting = [top for top in tops if low >= 0 and high <= top]
    low, high = (0.0, fitting[0]) if fitting else (low, high)
    # A constant image outside the ranges has nothing to stretch.
    factor = 255 / (high - low or 1.0)

    def scaled(part: Image.Image) -> Image.Image:
        return Image.fromarray(np.rint((_finite(part) - low) * factor).astype(np.uint8)).convert("RGB")

    return scaled


def _extremes(image: Image.Image) -> tuple[float, float]:
    """The least and the greatest value; what is not finite counts as 0."""
    extremes = [(part.min(), part.max()) for part in (_finite(image.crop(box)) for box in _strips(image))]
    return float(min(low for low, _ in extremes)), float(max(high for _, high in extremes))


def _finite(part: Image.Image) -> np.ndarray:
    """(H, W) float64 values of a deep grey image, 0 for what is not finite."""
    return np.nan_to_num(np.asarray(part, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _upright_turn(image: Image.Image) -> Image.Transpose | None:
    """What undoes the EXIF orientation; None also for EXIF data that is damaged, since the pixels may be whole."""
    try:
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image of a known format"
    if isinstance(error, MemoryError):
        return "there is not enough memory for its pixels"
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return one_line(reason)


# Random views


def _random_box(
    width: int, height: int, rng: Random, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) inside the image; the largest box in the middle when ten draws do not fit."""
    for _ in range(10):
        area = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = max(1, round(math.sqrt(area * aspect))), max(1, round(math.sqrt(area / aspect)))
        if w <= width and h <= height:
            # random() is what both kinds of numpy generators share; their integer methods differ.
            left, top = int(rng.random() * (width - w + 1)), int(rng.random() * (height - h + 1))
            return left, top, left + w, top + h
    w = max(1, min(width, round(height * ratio[1])))
    h = max(1, min(height, round(width / ratio[0])))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
