"""Image files of every common kind to RGB pixels, and the image files that a command line means."""

from __future__ import annotations

import glob
import math
import os
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError

from mlrpl_cli.core.download import leads_outside
from mlrpl_cli.core.errors import DataError, Problems

SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"]
)
"""What counts as an image in a folder; a file that is named itself may have any suffix."""
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


def find_images(arguments: Sequence[str], names: Iterable[str] | None = None) -> list[Path]:
    """The image files that command-line arguments mean, in the order given, each once.

    A file stands for itself, a folder for the images anywhere below it in sorted order (by suffix; hidden ones are
    left out), a pattern for what it matches, and "-" for `names`, one a line: by default those of standard input.
    A line that names nothing stays in the list, so that reading it says so without stopping the others.
    Raises DataError for arguments that name nothing and when there is no image at all.
    """
    problems, found = Problems(), dict[str, Path]()
    for argument in arguments:
        lines = argument == "-"
        paths = list(_from_lines(sys.stdin if names is None else names) if lines else _from_argument(argument))
        if not paths:
            problems.add("arguments name no image", "standard input" if lines else argument)
        for path in paths:
            found.setdefault(os.path.abspath(path), path)
    problems.raise_if_any("images", f"give files, folders or patterns of {' '.join(sorted(SUFFIXES))}")
    if not found:
        raise DataError("no image was given; name files, folders, patterns, or - for names on standard input")
    return list(found.values())


def check_images(root: Path, names: Sequence[str], problems: Problems) -> None:
    """Add to `problems` the `names`, relative to `root`, that lead outside it and those that are not there.

    Each folder is listed once, which is many times faster than asking for each of 100,000 files.
    """
    inside = [name for name in names if not leads_outside(name)]
    problems.extend("image names lead outside the image folder", (name for name in names if leads_outside(name)))
    present = {folder: _file_names(root / folder) for folder in {name.rpartition("/")[0] for name in inside}}
    for name in inside:
        folder, _, file = name.rpartition("/")
        if file not in present[folder]:
            problems.add("images are missing", name)


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
    return " ".join(str(reason).split())


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


# Finding


def _from_argument(argument: str) -> Iterator[Path]:
    path = Path(argument)
    if path.is_dir():
        yield from _below(path)
    elif path.exists():
        yield path
    elif glob.has_magic(argument):
        for match in sorted(glob.glob(argument, recursive=True)):
            yield from _from_match(Path(match))


def _from_match(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from _below(path)
    elif path.suffix.lower() in SUFFIXES:
        yield path


def _from_lines(names: Iterable[str]) -> Iterator[Path]:
    for name in (line.rstrip("\r\n") for line in names):
        if name:
            path = Path(name)
            yield from _below(path) if path.is_dir() else [path]


def _below(folder: Path) -> Iterator[Path]:
    """Images below `folder`, sorted; linked folders are followed, but no folder is entered twice."""
    entered: set[str] = set()

    def visit(current: Path) -> Iterator[Path]:
        real = os.path.realpath(current)
        if real in entered:
            return
        entered.add(real)
        for entry in sorted(_entries(current), key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from visit(current / entry.name)
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                yield current / entry.name

    return visit(folder)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror}; check the path and its permissions") from error


def _file_names(folder: Path) -> set[str]:
    return {entry.name for entry in _entries(folder) if entry.is_file()} if folder.is_dir() else set()
