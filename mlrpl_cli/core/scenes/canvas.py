"""An image under construction: a background, pieces at random places before it, and what a sensor sees of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mlrpl_cli.core.scenes.objects import OBJECTS
from mlrpl_cli.core.scenes.pen import INK, Pen, RandomStream, arc, lighter, mix, smooth

_SOLID = 128  # alpha from which a pixel counts as the object's own
_TRIES = 24
_UNLABELLED = -1


@dataclass(frozen=True)
class SceneOptions:
    """What makes scenes hard or easy."""

    image_size: int = 256
    """Width and height of a scene in pixels."""
    object_size: tuple[float, float] = (24.0, 64.0)
    """Smallest and largest length of an object in pixels."""
    class_counts: tuple[float, ...] = (2.0, 3.0, 4.0, 4.0, 3.0, 2.0, 1.0)
    """How likely a scene is to hold 2, 3, 4, … classes, as weights."""
    second_instance: float = 0.2
    """Chance that a class of a scene is drawn twice, in [0, 1]."""
    minimum_visible: float = 0.4
    """Share of an object's pixels that stays visible behind other objects and inside the frame, in (0, 1]."""
    rotation: float = 50.0
    """Largest rotation of an object either way, in degrees."""
    any_colour: float = 0.8
    """Chance that an object ignores the usual colours of its class, in [0, 1]."""
    clutter: tuple[int, int] = (10, 24)
    """Fewest and most unlabelled blobs, shards, rings and lines behind the objects."""
    foreground_clutter: tuple[int, int] = (2, 8)
    """Fewest and most unlabelled pieces that may cover parts of objects."""
    brightness: float = 0.3
    """Largest relative change of an image's brightness and of its contrast, either way."""
    noise: tuple[int, int] = (4, 18)
    """Least and greatest amplitude of the sensor noise, in grey levels of 255."""


class Canvas:
    """An image under construction, with the owner of each pixel: a background and the clutter behind the objects."""

    def __init__(self, random: RandomStream, options: SceneOptions) -> None:
        self._random, self._options = random, options
        self._image = _background(random, options.image_size)
        self._owner = np.zeros(self._image.size, np.uint8)  # 0 is background, i the i-th placed piece
        self._classes = np.array([_UNLABELLED])
        self._spare = np.array([np.inf])  # how many pixels of each piece may still be covered
        self._scatter(options.clutter)

    def place(self, patch: Image.Image, label: int = _UNLABELLED) -> bool:
        """Put `patch` at a random place where every object, itself included, stays visible enough; False if none."""
        solid, size = np.asarray(patch.getchannel("A")) >= _SOLID, len(self._owner)
        needed = math.ceil(self._options.minimum_visible * solid.sum())
        for _ in range(_TRIES):
            left = self._random.integer(-patch.width // 4, size - patch.width * 3 // 4)
            top = self._random.integer(-patch.height // 4, size - patch.height * 3 // 4)
            owner = self._owner[max(0, top) : top + patch.height, max(0, left) : left + patch.width]
            rows, columns = owner.shape
            seen = solid[max(0, -top) :, max(0, -left) :][:rows, :columns]
            covered = np.bincount(owner[seen], minlength=len(self._spare))
            spare = np.inf if label == _UNLABELLED else seen.sum() - needed
            if spare >= 0 and (covered <= self._spare).all():
                self._image.paste(patch, (left, top), patch)
                owner[seen] = len(self._spare)
                self._spare = np.append(self._spare - covered, spare)
                self._classes = np.append(self._classes, label)
                return True
        return False

    def photograph(self) -> np.ndarray:
        """(H, W, 3) uint8: with clutter before the objects, under another light, seen by a noisy sensor."""
        random, options = self._random, self._options
        self._scatter(options.foreground_clutter, thin=True)
        gain, contrast = (1 + random.uniform(-options.brightness, options.brightness) for _ in range(2))
        curve = [min(255, max(0, round(gain * (128 + contrast * (level - 128))))) for level in range(256)]
        lit = np.asarray(self._image.point(curve * 3)).astype(np.int16)
        amplitude = random.integer(*options.noise)
        draws = np.frombuffer(random.pixels.bytes(2 * lit.size), np.uint8).reshape(2, *lit.shape)
        grain = (draws[0].astype(np.int16) + draws[1] - 255) * amplitude >> 7
        return (lit + grain).clip(0, 255).astype(np.uint8)

    def class_masks(self) -> np.ndarray:
        """(C, H, W) bool: the pixels that each class owns."""
        return self._classes[self._owner] == np.arange(len(OBJECTS))[:, None, None]

    def _scatter(self, bounds: tuple[int, int], thin: bool = False) -> None:
        for _ in range(self._random.integer(*bounds)):
            self.place(_clutter(self._random, thin))


def draw_object(random: RandomStream, name: str, main: str, accent: str, size: float, rotation: float) -> Image.Image:
    """An object as an RGBA patch whose longer side is about `size` pixels."""
    pen = Pen(random, size, random.uniform(-rotation, rotation), random.uniform(0.84, 1.2), flip=random.chance(0.5))
    OBJECTS[name](pen, random.colour(main), random.colour(accent))
    return pen.patch()


def _clutter(random: RandomStream, thin: bool) -> Image.Image:
    """An unlabelled piece: a blob, a shard, a ring or a line."""
    pen = Pen(random, random.uniform(14, 46), random.uniform(0, 360), random.uniform(0.7, 1.4), flip=False)
    colour = random.any_colour()
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


def _background(random: RandomStream, size: int) -> Image.Image:
    """A soft gradient of one colour's neighbours, often with a texture or a horizon."""
    base = mix(random.any_colour(), (190, 194, 196), random.uniform(0.35, 0.85))
    spread = random.integer(8, 38)
    coarse = np.array(base) + random.pixels.randint(-spread, spread + 1, (3, 3, 3))
    image = _to_image(coarse).resize((size, size), Image.Resampling.BICUBIC)
    texture = random.pick(("none", "grain", "stripes", "checks", "horizon"), (3, 4, 1.5, 1, 3))
    if texture == "none":
        return image
    if texture == "grain":
        cells, depth = size // random.pick((2, 4, 8)), random.integer(8, 26)
        grain = _to_image(random.pixels.randint(128 - depth, 129 + depth, (cells, cells)))
        grown = np.asarray(grain.resize(image.size, Image.Resampling.BILINEAR)).astype(np.int16)
        return _to_image(np.asarray(image) + grown[..., None] - 128)
    ground = random.any_colour() if texture == "horizon" else base
    pattern = _pattern(random, size, texture)
    if texture == "horizon":
        colour = mix(ground, base, random.uniform(0.3, 0.7))
    else:
        colour = lighter(base, 0.3) if random.chance(0.5) else mix(base, INK, 0.2)
    image.paste(colour, mask=_to_image(pattern * 150))
    return image


def _pattern(random: RandomStream, size: int, texture: str) -> np.ndarray:
    """(size, size) bool: the ground below a sloping horizon, slanted stripes or a chequered cloth."""
    y, x = np.indices((size, size), dtype=np.int32)
    if texture == "horizon":
        return y * 256 > random.integer(90, 190) * size + x * random.integer(-30, 30)
    across, down, period = random.integer(-8, 8), random.integer(1, 8), random.integer(60, 240)
    stripes = (x * across + y * down) // period % 2 == 0
    return stripes if texture == "stripes" else stripes ^ ((x * down - y * across) // period % 2 == 0)


def _to_image(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))
