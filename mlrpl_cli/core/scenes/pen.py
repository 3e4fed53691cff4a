"""What objects are drawn with: seeded randomness, colours, curves, and a pen in unit coordinates.

The same on every machine: the pen turns, stretches and scales points in about [-1, 1]², x to the right and y down, and
rounds them to whole pixels of a canvas of twice the final resolution.
"""

from __future__ import annotations

import colorsys
import hashlib
import math
import random
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw

T = TypeVar("T")
RGB = tuple[int, ...]
Point = tuple[float, float]
SUPERSAMPLING = 2
_REACH = 1.3  # half a canvas's side in unit lengths: room for outlines, tails and antennae

# Ranges of hue, saturation and value in [0, 1]; a hue above 1 wraps around.
COLOURS: dict[str, tuple[Point, Point, Point]] = {
    "red": ((0.97, 1.02), (0.7, 0.95), (0.7, 0.95)),
    "orange": ((0.06, 0.09), (0.75, 0.95), (0.88, 1.0)),
    "yellow": ((0.13, 0.16), (0.6, 0.9), (0.9, 1.0)),
    "green": ((0.27, 0.4), (0.5, 0.85), (0.45, 0.8)),
    "blue": ((0.56, 0.65), (0.55, 0.9), (0.6, 0.95)),
    "purple": ((0.74, 0.81), (0.4, 0.75), (0.5, 0.8)),
    "pink": ((0.9, 0.95), (0.3, 0.55), (0.9, 1.0)),
    "brown": ((0.05, 0.08), (0.5, 0.75), (0.35, 0.55)),
    "white": ((0.0, 1.0), (0.0, 0.06), (0.92, 1.0)),
    "grey": ((0.0, 1.0), (0.0, 0.08), (0.42, 0.68)),
    "black": ((0.0, 1.0), (0.0, 0.2), (0.1, 0.22)),
}
WOOD, LEAF, STEEL, INK, SKY = (122, 82, 48), (66, 140, 60), (172, 176, 184), (38, 36, 44), (176, 214, 236)


class RandomStream:
    """A stream of random values fixed by what it is for; nothing else can change or repeat it."""

    def __init__(self, purpose: str, *key: int) -> None:
        digest = hashlib.sha256(":".join([purpose, *map(str, key)]).encode()).digest()
        self._random = random.Random(int.from_bytes(digest[:16], "big")).random
        self.pixels = np.random.RandomState(int.from_bytes(digest[16:20], "big"))

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self._random()

    def integer(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int((high - low + 1) * self._random())

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def pick(self, items: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """One of `items`, each as likely as its weight."""
        bounds = list(accumulate(weights or [1] * len(items)))  # sum() rounds otherwise from Python 3.12 on
        return items[bisect(bounds, self.uniform(0.0, bounds[-1]), hi=len(items) - 1)]

    def colour(self, name: str) -> RGB:
        """A shade of the colour called `name` in COLOURS."""
        hue, saturation, value = (self.uniform(*bounds) for bounds in COLOURS[name])
        return tuple(round(channel * 255) for channel in colorsys.hsv_to_rgb(hue % 1.0, saturation, value))

    def any_colour(self) -> RGB:
        return self.colour(self.pick(tuple(COLOURS)))


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """The colour that is `share` (in [0, 1]) of `second` and the rest of `first`."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first, second, strict=True))


def lighter(colour: RGB, share: float = 0.4) -> RGB:
    return mix(colour, (255, 255, 255), share)


def darker(colour: RGB, share: float = 0.35) -> RGB:
    return mix(colour, (12, 10, 20), share)


def arc(cx: float, cy: float, rx: float, ry: float, start: float = 0.0, stop: float = 360.0) -> list[Point]:
    """Points of an ellipse's arc, angles in degrees, clockwise on screen from three o'clock."""
    steps = max(4, round(abs(stop - start) / 12))
    angles = (math.radians(start + (stop - start) * step / steps) for step in range(steps + 1))
    return [(cx + rx * math.cos(angle), cy + ry * math.sin(angle)) for angle in angles]


def smooth(points: Sequence[Point], steps: int = 4) -> list[Point]:
    """The closed Catmull-Rom curve through `points`."""
    curve = list[Point]()
    for i in range(len(points)):
        (px, py), (qx, qy), (rx, ry), (sx, sy) = (points[(i + offset) % len(points)] for offset in (-1, 0, 1, 2))
        for t in (step / steps for step in range(steps)):
            a, b, c, d = -t + 2 * t * t - t**3, 2 - 5 * t * t + 3 * t**3, t + 4 * t * t - 3 * t**3, t**3 - t * t
            curve.append(((a * px + b * qx + c * rx + d * sx) / 2, (a * py + b * qy + c * ry + d * sy) / 2))
    return curve


def mirrored(right: Sequence[Point]) -> list[Point]:
    """The smooth closed outline whose right half is `right`, listed from top to bottom."""
    return smooth([*right, *((-x, y) for x, y in reversed(right) if x != 0)])


def box(left: float, top: float, right: float, bottom: float) -> list[Point]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


class Pen:
    """Draws in unit coordinates on a transparent canvas of twice the final resolution."""

    def __init__(self, random: RandomStream, size: float, angle: float, stretch: float, flip: bool) -> None:
        """`size`: pixels of two unit lengths; `angle`: degrees, clockwise; `stretch`: width over height."""
        self.random = random
        self.unit = size * SUPERSAMPLING / 2
        side = 2 * math.ceil(self.unit * _REACH * max(stretch, 1 / stretch))
        self.image = Image.new("RGBA", (side, side))
        self._draw = ImageDraw.Draw(self.image)
        across, down = self.unit * math.sqrt(stretch) * (-1 if flip else 1), self.unit / math.sqrt(stretch)
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        self._affine = (side / 2, cosine * across, -sine * down, sine * across, cosine * down)
        self._outline = round(self.unit * random.pick((0.0, 0.03, 0.05, 0.06), (2, 3, 3, 2)))
        self._ink = random.pick((INK, (70, 54, 50), (30, 40, 66)))
        self._texture = random.pick(("plain", "stripes", "dots", "shade"), (4, 1, 1, 3))

    def vary(self, value: float, share: float = 0.12) -> float:
        """`value` changed by up to `share` of itself: an object's own small variation in shape."""
        return value * self.random.uniform(1 - share, 1 + share)

    def patch(self) -> Image.Image:
        """What was drawn, in the final resolution, without the empty margin."""
        patch = self.image.reduce(SUPERSAMPLING)
        return patch.crop(patch.getbbox())

    def fill(self, points: Sequence[Point], colour: RGB, outline: bool = True, textured: bool = False) -> None:
        """A filled polygon, with this object's outline around it."""
        corners = self._pixels(points)
        self._draw.polygon(corners, colour)
        if textured and self._texture != "plain":
            left, top = (max(0, min(values)) for values in zip(*corners, strict=True))
            right, bottom = (max(values) + 1 for values in zip(*corners, strict=True))
            stencil = Image.new("L", (right - left, bottom - top))
            ImageDraw.Draw(stencil).polygon([(x - left, y - top) for x, y in corners], 255)
            self.image.paste(self._pattern(stencil.size, colour), (left, top), stencil)
        if outline and self._outline:
            self._draw.line([*corners, corners[0], corners[1]], self._ink, self._outline, joint="curve")

    def surface(self, points: Sequence[Point], colour: RGB) -> None:
        """A filled polygon in this object's texture: plain, striped, dotted or shaded."""
        self.fill(points, colour, textured=True)

    def ellipse(self, cx: float, cy: float, rx: float, ry: float, colour: RGB, outline: bool = True) -> None:
        self.fill(arc(cx, cy, rx, ry)[:-1], colour, outline)

    def line(self, points: Sequence[Point], width: float, colour: RGB) -> None:
        """An open stroke `width` unit lengths wide."""
        self._draw.line(self._pixels(points), colour, max(2, round(width * self.unit)), joint="curve")

    def bar(self, points: Sequence[Point], width: float, colour: RGB) -> None:
        """A stroke with the object's outline on both sides."""
        if self._outline:
            self.line(points, width + 2 * self._outline / self.unit, self._ink)
        self.line(points, width, colour)

    def shine(self, cx: float, cy: float, rx: float, ry: float, colour: RGB) -> None:
        """A highlight, on most objects."""
        if self.random.chance(0.7):
            self.ellipse(cx, cy, rx, ry, lighter(colour, 0.55), outline=False)

    def _pixels(self, points: Sequence[Point]) -> list[tuple[int, int]]:
        centre, a, b, c, d = self._affine
        return [(round(centre + a * x + b * y), round(centre + c * x + d * y)) for x, y in points]

    def _pattern(self, size: tuple[int, int], colour: RGB) -> Image.Image:
        """`size` pixels of this object's texture."""
        pattern, (width, height) = Image.new("RGBA", size, colour), size
        drawing = ImageDraw.Draw(pattern)
        second = lighter(colour, 0.35) if sum(colour) < 430 else darker(colour, 0.22)
        if self._texture == "stripes":
            period = max(8, round(self.unit * self.random.uniform(0.18, 0.3)))
            slant = self.random.integer(-height, height)
            for x in range(-height, width + height, period):
                drawing.line([(x, 0), (x + slant, height)], second, period * 2 // 5)
        elif self._texture == "dots":
            period = max(9, round(self.unit * self.random.uniform(0.22, 0.34)))
            radius = period * 0.26
            for row, y in enumerate(range(0, height + period, period)):
                for x in range(period // 2 * (row % 2), width + period, period):
                    drawing.ellipse([round(edge) for edge in (x - radius, y - radius, x + radius, y + radius)], second)
        elif self._texture == "shade":  # light from above on the left, shadow below on the right
            corners = Image.new("RGB", (2, 2))
            corners.putdata([lighter(colour, 0.3), colour, colour, darker(colour, 0.35)])
            pattern.paste(corners.resize(size, Image.Resampling.BILINEAR, box=(0.5, 0.5, 1.5, 1.5)))
        return pattern
