"""One image and its attention as a picture of its own, large enough for a slide. Arrays in, an image out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.files import atomic_file
from mlrpl_cli.core.reports.figures import INK, overlay
from mlrpl_cli.core.reports.names import elided

SIDE = 1600
"""Pixels that the long side of an image has at least."""
MOST_PIXELS = 64_000_000
"""Pixels that the images of a picture have together, as long as each has SIDE."""
MOST_PANELS = 24
"""Images of a picture: the image itself and one a class."""
SIGN = "mlrpl"
"""Key of the PNG text by which a picture is known to be ours."""


def panel_size(width: int, height: int, panels: int) -> tuple[int, int]:
    """What an image of `width` × `height` pixels is drawn at in a picture of so many panels.

    Its own size, enlarged to a long side of SIDE, or made smaller where all of them would have more than MOST_PIXELS.
    """
    long = max(width, height)
    most = max(SIDE, long * math.sqrt(MOST_PIXELS / (panels * width * height)))
    scale = min(max(long, SIDE), most) / long
    return max(1, round(scale * width)), max(1, round(scale * height))


def draw_slide(image: Image.Image, name: str, maps: np.ndarray, titles: Sequence[str]) -> Image.Image:
    """An RGB image and an overlay for each of its maps (k, h, w), each with its title below it, in a grid.

    The image goes by `name`. A title that is too long for its panel has an ellipsis in its middle.
    """
    panels = 1 + len(maps)
    width, height = panel_size(image.width, image.height, panels)
    plain = image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(plain)
    size = max(14, max(width, height) // 40)
    font, line = ImageFont.truetype(_font_file(), size), 2 * size
    columns = math.ceil(math.sqrt(panels))
    rows, gap = math.ceil(panels / columns), size // 2
    picture = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + line)), "white")
    draw = ImageDraw.Draw(picture)
    for number, title in enumerate((name, *titles)):
        left, top = number % columns * (width + gap), number // columns * (height + line)
        panel = plain if number == 0 else Image.fromarray(overlay(pixels, maps[number - 1]))
        picture.paste(panel, (left, top))
        shown = elided(title, lambda text: font.getlength(text) <= width)
        draw.text((left + width / 2, top + height + line / 2), shown, INK, font, "mm")
    return picture


def save_slide(picture: Image.Image, path: Path) -> Path:
    """Write a picture as PNG. Raises DataError rather than replace a file that is no such picture."""
    if path.exists() and not _is_ours(path):
        raise DataError(f"{path} is there and mlrpl did not draw it; name another folder with --out")
    told = PngImagePlugin.PngInfo()
    told.add_text(SIGN, "attention")
    with atomic_file(path) as temporary:
        picture.save(temporary, format="PNG", pnginfo=told, compress_level=3)
    return path


def _is_ours(path: Path) -> bool:
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return SIGN in picture.info
    except (OSError, ValueError, SyntaxError):
        return False


def _font_file() -> Path:
    """The font of the other figures, which comes with Matplotlib."""
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
