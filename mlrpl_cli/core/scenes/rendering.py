"""The embedded data set: images of several drawn objects, rendered on demand, the same on every machine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image

from mlrpl_cli.core.scenes.drawing import (
    COLOURS,
    INK,
    OBJECTS,
    SUPERSAMPLING,
    Colour,
    Pen,
    RandomStream,
    arc,
    lighter,
    mix,
    smooth,
)

_T = TypeVar("_T")
_R = TypeVar("_R")

SCENE_CLASSES: tuple[str, ...] = tuple(OBJECTS)
_SOLID = 128  # alpha from which a pixel counts as the object's own
_TRIES = 24

# How likely a class is to be drawn beside the others; photographs are as uneven.
_FREQUENCY = {
    "apple": 1.0, "butterfly": 0.7, "car": 1.7, "clock": 0.85, "fish": 0.42, "flower": 1.5, "guitar": 0.4,
    "hot air balloon": 0.5, "house": 1.6, "ice cream cone": 0.5, "key": 0.65, "kite": 0.65, "light bulb": 0.7,
    "mug": 1.3, "mushroom": 0.7, "sailboat": 0.6, "teapot": 0.65, "tomato": 0.65, "traffic light": 0.8,
    "umbrella": 0.8,
}  # fmt: skip

# Settings make their classes likelier in one image, so that some classes are seen together more often than chance.
_SETTINGS: tuple[tuple[str, ...], ...] = (
    ("apple", "tomato", "mug", "teapot", "clock", "ice cream cone", "light bulb"),
    ("car", "house", "traffic light", "clock", "umbrella", "flower"),
    ("flower", "butterfly", "mushroom", "apple", "house", "tomato"),
    ("sailboat", "kite", "fish", "hot air balloon", "umbrella", "ice cream cone"),
    ("guitar", "key", "light bulb", "mug", "clock", "car"),
)

ALIKE: tuple[tuple[str, str], ...] = (
    ("apple", "tomato"),
    ("hot air balloon", "light bulb"),
    ("mug", "teapot"),
    ("mushroom", "umbrella"),
)
"""Pairs of classes that are drawn to look alike."""

THING = "thing"
KINDS = {
    "apple": "fruit", "tomato": "fruit", "butterfly": "animal", "fish": "animal", "car": "vehicle",
    "hot air balloon": "vehicle", "sailboat": "vehicle", "flower": "plant", "mushroom": "plant",
    "light bulb": "lamp", "traffic light": "lamp", "mug": "vessel", "teapot": "vessel",
}  # fmt: skip
"""What a loose caption calls a class; THING stands for the others."""

_KIND, _SILENT = 0.15, 0.15  # chances that a caption gives only the kind, and that it leaves one of two objects out

# The colours a class mostly has; the others are possible for every class.
_USUAL_COLOURS = {
    "apple": ("red", "green", "yellow"),
    "tomato": ("red", "orange", "green"),
    "guitar": ("brown", "orange", "black"),
    "key": ("yellow", "grey", "brown"),
    "ice cream cone": ("pink", "white", "brown", "green"),
    "mushroom": ("red", "brown", "orange"),
    "light bulb": ("yellow", "white"),
}


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
    setting_weight: float = 6.0
    """How many times likelier a class becomes in its own setting; 1 makes classes independent of each other."""
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


DEFAULTS = SceneOptions()
CAPTIONED = SceneOptions(
    image_size=128,
    object_size=(34.0, 90.0),
    class_counts=(0.5, 0.5),
    second_instance=0.0,
    minimum_visible=0.5,
    rotation=30.0,
    any_colour=0.6,
    clutter=(0, 6),
    foreground_clutter=(0, 1),
    noise=(2, 16),
)
"""Images of one or two objects with some clutter, as a photograph with a caption mostly is, and easier than scenes: as
with CLIP, what tiny was trained on is not what it is asked about."""


@dataclass(frozen=True)
class Scene:
    """A rendered image and what is in it; C = len(SCENE_CLASSES)."""

    pixels: np.ndarray
    """(H, W, 3) uint8, RGB."""
    masks: np.ndarray
    """(C, H, W) bool: the visible pixels of each class."""

    @property
    def present(self) -> np.ndarray:
        """(C,) bool: whether any pixel of a class is visible."""
        return np.asarray(self.masks.any(axis=(1, 2)))


def render_scene(seed: int, index: int, options: SceneOptions = DEFAULTS) -> Scene:
    """The scene that `seed`, `index` and `options` fix: the same bytes on every machine."""
    random = RandomStream("scenes", seed, index)
    canvas = _Canvas(random, options.image_size)
    for _ in range(random.integer(*options.clutter)):
        canvas.place(_clutter(random))
    names = _choose_classes(random, options)
    drawn = [name for name in names for _ in range(2 if random.chance(options.second_instance) else 1)]
    for name in drawn:
        size = random.uniform(*options.object_size)
        patch = _draw_object(random, name, *_colours(random, name, options), size, options.rotation)
        canvas.place(patch, SCENE_CLASSES.index(name), options.minimum_visible)
    for _ in range(random.integer(*options.foreground_clutter)):
        canvas.place(_clutter(random, thin=True), None, options.minimum_visible)
    return Scene(_expose(random, canvas.image, options), canvas.class_masks())


def render_captioned(seed: int, index: int, options: SceneOptions = CAPTIONED) -> tuple[np.ndarray, str]:
    """An image (H, W, 3) uint8 of one or two objects and a caption as loose as those of the web.

    For pre-training: no random value is shared with any scene, and `class_counts` weighs 1, 2, … classes.
    """
    random = RandomStream("captioned", seed, index)
    canvas = _Canvas(random, options.image_size)
    for _ in range(random.integer(*options.clutter)):
        canvas.place(_clutter(random))
    described: list[tuple[str, str]] = []
    for _ in range(random.pick(range(1, 1 + len(options.class_counts)), options.class_counts)):
        name = random.pick([name for name in SCENE_CLASSES if name not in [known for known, _ in described]])
        main, accent = _colours(random, name, options)
        patch = _draw_object(random, name, main, accent, random.uniform(*options.object_size), options.rotation)
        if canvas.place(patch, SCENE_CLASSES.index(name), options.minimum_visible):
            described.append((name, main))
    for _ in range(random.integer(*options.foreground_clutter)):
        canvas.place(_clutter(random, thin=True), None, options.minimum_visible)
    return _expose(random, canvas.image, options), _caption(random, described)


class _Canvas:
    """An image under construction, with the owner of each pixel."""

    def __init__(self, random: RandomStream, size: int) -> None:
        self.image = _background(random, size)
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

    def class_masks(self) -> np.ndarray:
        """(C, H, W) bool: the pixels that each class owns."""
        masks = np.zeros((len(SCENE_CLASSES), self._size, self._size), bool)
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


def _choose_classes(random: RandomStream, options: SceneOptions) -> list[str]:
    """Distinct classes, the first ones at the back."""
    setting = random.pick(_SETTINGS)
    weights = {name: _FREQUENCY[name] * (options.setting_weight if name in setting else 1.0) for name in SCENE_CLASSES}
    chosen: list[str] = []
    for _ in range(random.pick(range(2, 2 + len(options.class_counts)), options.class_counts)):
        chosen.append(random.pick(list(weights), list(weights.values())))
        del weights[chosen[-1]]
    return chosen


def _colours(random: RandomStream, name: str, options: SceneOptions) -> tuple[str, str]:
    """Names of an object's main colour and of its accent."""
    every = tuple(COLOURS)
    main = random.pick(every if random.chance(options.any_colour) else _USUAL_COLOURS.get(name, every))
    return main, random.pick([other for other in every if other != main])


def _draw_object(random: RandomStream, name: str, main: str, accent: str, size: float, rotation: float) -> Image.Image:
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


def _background(random: RandomStream, size: int) -> Image.Image:
    """A soft gradient of one colour's neighbours, often with a texture or a horizon."""
    base = mix(random.colour(random.pick(tuple(COLOURS))), (190, 194, 196), random.uniform(0.35, 0.85))
    spread = random.integer(8, 38)
    drift = random.pixels.randint(-spread, spread + 1, (3, 3, 3))
    coarse = (np.array(base) + drift).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    texture = random.pick(("none", "grain", "stripes", "checks", "horizon"), (3, 4, 1.5, 1, 3))
    if texture == "grain":
        return _with_grain(random, image)
    if texture == "horizon":
        ground = random.colour(random.pick(tuple(COLOURS)))
        _paint(image, _below(random, size), mix(ground, base, random.uniform(0.3, 0.7)))
    elif texture != "none":
        _paint(
            image,
            _pattern(random, size, texture),
            lighter(base, 0.3) if random.chance(0.5) else mix(base, INK, 0.2),
        )
    return image


def _paint(image: Image.Image, where: np.ndarray, colour: Colour) -> None:
    image.paste(colour, mask=Image.fromarray(where.astype(np.uint8) * 150))


def _below(random: RandomStream, size: int) -> np.ndarray:
    """(size, size) bool: the ground below a sloping horizon."""
    y, x = np.indices((size, size), dtype=np.int32)
    return y * 256 > random.integer(90, 190) * size + x * random.integer(-30, 30)


def _pattern(random: RandomStream, size: int, texture: str) -> np.ndarray:
    """(size, size) bool: slanted stripes or a chequered cloth."""
    y, x = np.indices((size, size), dtype=np.int32)
    across, down, period = random.integer(-8, 8), random.integer(1, 8), random.integer(60, 240)
    stripes = (x * across + y * down) // period % 2 == 0
    if texture == "stripes":
        return stripes
    return stripes ^ ((x * down - y * across) // period % 2 == 0)


def _with_grain(random: RandomStream, image: Image.Image) -> Image.Image:
    cells = image.width // random.pick((2, 4, 8))
    depth = random.integer(8, 26)
    grain = random.pixels.randint(128 - depth, 129 + depth, (cells, cells)).astype(np.uint8)
    grown = np.asarray(Image.fromarray(grain).resize(image.size, Image.Resampling.BILINEAR)).astype(np.int16)
    return Image.fromarray((np.asarray(image) + grown[..., None] - 128).clip(0, 255).astype(np.uint8))


def _expose(random: RandomStream, image: Image.Image, options: SceneOptions) -> np.ndarray:
    """(H, W, 3) uint8: `image` under another light, seen by a noisy sensor."""
    gain, contrast = (1 + random.uniform(-options.brightness, options.brightness) for _ in range(2))
    curve = [min(255, max(0, round(gain * (128 + contrast * (level - 128))))) for level in range(256)]
    lit = np.asarray(image.point(curve * 3)).astype(np.int16)
    amplitude = random.integer(*options.noise)
    draws = np.frombuffer(random.pixels.bytes(2 * lit.size), np.uint8).reshape(2, *lit.shape)
    noise = (draws[0].astype(np.int16) + draws[1] - 255) * amplitude >> 7
    return (lit + noise).clip(0, 255).astype(np.uint8)


def _caption(random: RandomStream, described: list[tuple[str, str]]) -> str:
    """A short caption in any order, sometimes with colours, a kind in place of a name, or silent about an object."""
    if random.chance(0.5):
        described = described[::-1]
    if len(described) > 1 and random.chance(_SILENT):
        described = described[1:]
    coloured = random.chance(0.35)
    words = [(KINDS.get(name, THING) if random.chance(_KIND) else name, colour) for name, colour in described]
    bare = [f"{colour} {word}" if coloured else word for word, colour in words]
    photographed = " and ".join(f"a {phrase}" for phrase in bare)  # CLIP's template has "a" before every name
    phrases = [f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}" for phrase in bare]
    return random.pick(
        (
            f"a photo of {photographed}",
            f"{', '.join(bare)}.",
            " and ".join(phrases),
            f"my {' and '.join(bare)}",
            f"a picture of {' and '.join(phrases)}",
            f"there is {' next to '.join(phrases)}.",
            f"{' with '.join(phrases)} in the garden",
        ),
        (2, 3, 3, 2, 2, 2, 2),
    )
