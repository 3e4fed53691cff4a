"""An image under construction: drawn pieces put at random places, none of them hidden too far by those after it."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from mlrpl_cli.core.scenes.objects import OBJECTS
from mlrpl_cli.core.scenes.pen import COLOURS, SUPERSAMPLING, Pen, RandomStream, arc, smooth
from mlrpl_cli.core.scenes.photograph import background

_SOLID = 128  # alpha from which a pixel counts as the object's own
_TRIES = 24


class Canvas:
    """An image under construction, with the owner of each pixel."""

    def __init__(self, random: RandomStream, size: int) -> None:
        self.image = background(random, size)
        self._random = random
        self._size = size
        self._owner = np.zeros((size, size), np.uint8)  # 0 is background, i the i-th placed object
        self._classes: list[int | None] = [None]
        self._areas = np.zeros(1, np.int64)
        self._visible = np.zeros(1, np.int64)

    def place(self, patch: Image.Image, label: int | None = None, minimum_visible: float = 0.0) -> bool:
        """Put `patch` at a random place where every object, itself included, stays visible enough; False if none."""
        solid = np.asarray(patch.getchannel("A")) >= _SOLID
        for _ in range(_TRIES):
            left = self._random.integer(-patch.width // 4, self._size - patch.width * 3 // 4)
            top = self._random.integer(-patch.height // 4, self._size - patch.height * 3 // 4)
            rows, columns = _inside(top, patch.height, self._size), _inside(left, patch.width, self._size)
            seen = solid[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
            if label is not None and seen.sum() < minimum_visible * solid.sum():
                continue
            covered = np.bincount(self._owner[rows, columns][seen], minlength=len(self._areas))
            if self._leaves_visible(covered, minimum_visible):
                self.image.paste(patch, (left, top), patch)
                self._owner[rows, columns][seen] = len(self._areas)
                self._record(label, covered, int(solid.sum()), int(seen.sum()))
                return True
        return False

    def scatter(self, bounds: tuple[int, int], minimum_visible: float = 0.0, thin: bool = False) -> None:
        """Put unlabelled pieces on it, at least bounds[0] and at most bounds[1] of them."""
        for _ in range(self._random.integer(*bounds)):
            self.place(_clutter(self._random, thin), None, minimum_visible)

    def class_masks(self) -> np.ndarray:
        """(C, H, W) bool: the pixels that each class owns."""
        masks = np.zeros((len(OBJECTS), self._size, self._size), bool)
        for number, label in enumerate(self._classes):
            if label is not None:
                masks[label] |= self._owner == number
        return masks

    def _leaves_visible(self, covered: np.ndarray, minimum_visible: float) -> bool:
        enough = self._visible - covered >= minimum_visible * self._areas
        return all(enough[number] for number, label in enumerate(self._classes) if label is not None)

    def _record(self, label: int | None, covered: np.ndarray, area: int, seen: int) -> None:
        self._classes.append(label)
        self._areas = np.append(self._areas, area)
        self._visible = np.append(self._visible - covered, seen)


def _inside(start: int, length: int, size: int) -> slice:
    return slice(max(0, start), min(size, start + length))


def draw_object(random: RandomStream, name: str, main: str, accent: str, size: float, rotation: float) -> Image.Image:
    """An object as an RGBA patch whose longer side is about `size` pixels."""
    pen = Pen(random, size, random.uniform(-rotation, rotation), random.uniform(0.84, 1.2), flip=random.chance(0.5))
    OBJECTS[name](pen, random.colour(main), random.colour(accent))
    return _finish(pen)


def _finish(pen: Pen) -> Image.Image:
    patch = pen.image.reduce(SUPERSAMPLING)
    return patch.crop(patch.getbbox())


def _clutter(random: RandomStream, thin: bool = False) -> Image.Image:
    """An unlabelled piece: a blob, a shard, a ring or a line."""
    pen = Pen(random, random.uniform(14, 46), random.uniform(0, 360), random.uniform(0.7, 1.4), flip=False)
    colour = random.colour(random.pick(tuple(COLOURS)))
    kind = random.pick(("line", "bars") if thin else ("blob", "blob", "shard", "ring", "line", "disc"))
    if kind == "blob":
        pen.surface(smooth([_polar(random.uniform(0.4, 1.0), 60 * corner) for corner in range(6)]), colour)
    elif kind == "shard":
        turns = sorted(random.uniform(0, 360) for _ in range(random.integer(3, 5)))
        pen.surface([_polar(random.uniform(0.6, 1.0), turn) for turn in turns], colour)
    elif kind == "ring":
        pen.bar(arc(0.0, 0.0, 0.7, 0.7, 0, random.pick((200, 280, 372))), random.uniform(0.12, 0.35), colour)
    elif kind == "disc":
        pen.surface(arc(0.0, 0.0, 0.8, 0.8)[:-1], colour)
    else:
        for shift in (-0.3, 0.3) if kind == "bars" else (0.0,):
            bend = random.uniform(-0.6, 0.6)
            pen.bar([(-1.0, shift), (0.0, shift + bend), (1.0, shift)], random.uniform(0.06, 0.16), colour)
    return _finish(pen)


def _polar(radius: float, degrees: float) -> tuple[float, float]:
    return radius * math.cos(math.radians(degrees)), radius * math.sin(math.radians(degrees))
