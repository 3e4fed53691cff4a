"""An image under construction: drawn pieces put at random places, none of them hidden too far by those after it."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from mlrpl_cli.core.scenes.objects import OBJECTS
from mlrpl_cli.core.scenes.pen import COLOURS, Pen, RandomStream, arc, smooth
from mlrpl_cli.core.scenes.photograph import background

_SOLID = 128  # alpha from which a pixel counts as the object's own
_TRIES = 24
_UNLABELLED = -1


class Canvas:
    """An image under construction, with the owner of each pixel.

    `minimum_visible`: share of each labelled object's pixels that stays visible, in [0, 1].
    """

    def __init__(self, random: RandomStream, size: int, minimum_visible: float) -> None:
        self.image = background(random, size)
        self._random = random
        self._minimum_visible = minimum_visible
        self._owner = np.zeros((size, size), np.uint8)  # 0 is background, i the i-th placed piece
        self._classes = np.array([_UNLABELLED])
        self._spare = np.array([np.inf])  # how many pixels of each piece may still be covered

    def place(self, patch: Image.Image, label: int = _UNLABELLED) -> bool:
        """Put `patch` at a random place where every object, itself included, stays visible enough; False if none."""
        solid, size = np.asarray(patch.getchannel("A")) >= _SOLID, len(self._owner)
        needed = math.ceil(self._minimum_visible * solid.sum())
        for _ in range(_TRIES):
            left = self._random.integer(-patch.width // 4, size - patch.width * 3 // 4)
            top = self._random.integer(-patch.height // 4, size - patch.height * 3 // 4)
            owner = self._owner[max(0, top) : top + patch.height, max(0, left) : left + patch.width]
            rows, columns = owner.shape
            seen = solid[max(0, -top) :, max(0, -left) :][:rows, :columns]
            covered = np.bincount(owner[seen], minlength=len(self._spare))
            spare = np.inf if label == _UNLABELLED else seen.sum() - needed
            if spare >= 0 and (covered <= self._spare).all():
                self.image.paste(patch, (left, top), patch)
                owner[seen] = len(self._spare)
                self._spare = np.append(self._spare - covered, spare)
                self._classes = np.append(self._classes, label)
                return True
        return False

    def scatter(self, bounds: tuple[int, int], thin: bool = False) -> None:
        """Put unlabelled pieces on it, at least bounds[0] and at most bounds[1] of them."""
        for _ in range(self._random.integer(*bounds)):
            self.place(_clutter(self._random, thin))

    def class_masks(self) -> np.ndarray:
        """(C, H, W) bool: the pixels that each class owns."""
        return self._classes[self._owner] == np.arange(len(OBJECTS))[:, None, None]


def draw_object(random: RandomStream, name: str, main: str, accent: str, size: float, rotation: float) -> Image.Image:
    """An object as an RGBA patch whose longer side is about `size` pixels."""
    pen = Pen(random, size, random.uniform(-rotation, rotation), random.uniform(0.84, 1.2), flip=random.chance(0.5))
    OBJECTS[name](pen, random.colour(main), random.colour(accent))
    return pen.patch()


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
    return pen.patch()


def _polar(radius: float, degrees: float) -> tuple[float, float]:
    return radius * math.cos(math.radians(degrees)), radius * math.sin(math.radians(degrees))
