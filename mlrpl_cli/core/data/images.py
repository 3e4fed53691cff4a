"""Image files of every common kind to RGB pixels, whole or as random views."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError

from mlrpl_cli.core.errors import DataError, one_line

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000")
"""Pillow's decoders that may run: EPS, which starts Ghostscript, and the exotic ones may not."""
PIXEL_LIMIT = 300_000_000
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
_PILLOW_LIMIT = threading.RLock()

# Pillow remarks on damaged metadata of files whose pixels are whole. Not catch_warnings: images are decoded in
# threads, and it is not safe there.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

Random = np.random.Generator | np.random.RandomState


def open_image(
    source: Path | str | IO[bytes], target: int | None = None, pixel_limit: int = PIXEL_LIMIT
) -> Image.Image:
    """The first frame of an image file or stream as upright RGB.

    Transparency is laid on white. Grey of 16 and 32 bits and floats are scaled to 8 bits (`_eight_bits` says how).
    With `target`, a JPEG of more than about four times that many pixels on both sides is decoded at 1/2, 1/4 or 1/8
    of its size. Raises DataError with the path and the reason for what is missing, empty, damaged, no image, or of
    more than `pixel_limit` pixels.
    """
    name = source if isinstance(source, Path | str) else getattr(source, "name", "the image")
    try:
        with nullcontext(source) if not isinstance(source, Path | str) else _open_file(Path(source)) as stream:
            return _decode(stream, target, pixel_limit)
    except Exception as error:
        # A damaged file can raise nearly anything inside a decoder.
        raise DataError(f"cannot read {name}: {_reason(error)}") from error


def load_pixels(source: Path | str | IO[bytes], size: int) -> np.ndarray:
    """(size, size, 3) uint8 RGB of the whole image, resized by bicubic interpolation; its aspect is not kept."""
    image = open_image(source, target=size)
    return np.array(image.resize((size, size), Image.Resampling.BICUBIC))


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


def _decode(stream: IO[bytes], target: int | None, pixel_limit: int) -> Image.Image:
    with _no_pillow_limit():
        image = Image.open(stream, formats=FORMATS)
    if image.width * image.height > pixel_limit:
        raise ValueError(f"{image.width}×{image.height} pixels are more than the limit of {pixel_limit}")
    if target is not None:
        image.draft(None, (DRAFT_MARGIN * target, DRAFT_MARGIN * target))
    # Pillow repeats its check while it decodes some formats. Very large images then go one at a time.
    huge = image.width * image.height > (Image.MAX_IMAGE_PIXELS or pixel_limit)
    with _no_pillow_limit() if huge else nullcontext():
        image.load()
    turn = _upright_turn(image)
    rgb = _to_rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


@contextmanager
def _no_pillow_limit() -> Iterator[None]:
    """Without Pillow's own pixel limit, which is a global, warns at half its value and lies below ours."""
    with _PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP_MODES:
        return Image.fromarray(_eight_bits(image)).convert("RGB")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(colours, mask=colours.getchannel("A"))
        return white
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> np.ndarray:
    """(H, W) uint8 of a deep grey image: 0..65535 for integers and 0..1 or 0..255 for floats become 0..255.

    Values outside those ranges are stretched from their own minimum and maximum; what is not finite is black.
    """
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    tops = (1.0, 255.0) if image.mode == "F" else (65535.0,)
    fitting = [top for top in tops if low >= 0 and high <= top]
    low, high = (0.0, fitting[0]) if fitting else (low, high)
    # A constant image outside the ranges has nothing to stretch.
    return np.rint((values - low) * (255 / (high - low or 1.0))).astype(np.uint8)


def _upright_turn(image: Image.Image) -> Image.Transpose | None:
    """What undoes the EXIF orientation; None also for EXIF data that is damaged, since the pixels may be whole."""
    try:
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        return None


@contextmanager
def _open_file(path: Path) -> Iterator[IO[bytes]]:
    if path.is_dir():
        raise ValueError("it is a folder")
    with path.open("rb") as stream:
        if not stream.read(1):
            raise ValueError("the file is empty")
        stream.seek(0)
        yield stream


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
