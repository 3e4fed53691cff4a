"""The embedded data set: images of several drawn objects, rendered on demand, the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlrpl_cli.core.scenes.canvas import Canvas, draw_object
from mlrpl_cli.core.scenes.objects import OBJECTS
from mlrpl_cli.core.scenes.pen import COLOURS, RandomStream
from mlrpl_cli.core.scenes.photograph import expose

SCENE_CLASSES: tuple[str, ...] = tuple(OBJECTS)

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

ALIKE = (("apple", "tomato"), ("hot air balloon", "light bulb"), ("mug", "teapot"), ("mushroom", "umbrella"))
"""Pairs of classes that are drawn to look alike."""

# The colours a class mostly has; the others are possible for every class.
_USUAL_COLOURS = {
    "apple": ("red", "green", "yellow"), "tomato": ("red", "orange", "green"), "guitar": ("brown", "orange", "black"),
    "key": ("yellow", "grey", "brown"), "ice cream cone": ("pink", "white", "brown", "green"),
    "mushroom": ("red", "brown", "orange"), "light bulb": ("yellow", "white"),
}  # fmt: skip


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
    canvas = Canvas(random, options.image_size, options.minimum_visible)
    canvas.scatter(options.clutter)
    names = _choose_classes(random, options)
    drawn = [name for name in names for _ in range(2 if random.chance(options.second_instance) else 1)]
    for name in drawn:
        size = random.uniform(*options.object_size)
        patch = draw_object(random, name, *choose_colours(random, name, options), size, options.rotation)
        canvas.place(patch, SCENE_CLASSES.index(name))
    canvas.scatter(options.foreground_clutter, thin=True)
    return Scene(expose(random, canvas.image, options.brightness, options.noise), canvas.class_masks())


def _choose_classes(random: RandomStream, options: SceneOptions) -> list[str]:
    """Distinct classes, the first ones at the back."""
    setting = random.pick(_SETTINGS)
    weights = {name: _FREQUENCY[name] * (options.setting_weight if name in setting else 1.0) for name in SCENE_CLASSES}
    chosen: list[str] = []
    for _ in range(random.pick(range(2, 2 + len(options.class_counts)), options.class_counts)):
        chosen.append(random.pick(list(weights), list(weights.values())))
        del weights[chosen[-1]]
    return chosen


def choose_colours(random: RandomStream, name: str, options: SceneOptions) -> tuple[str, str]:
    """Names of an object's main colour and of its accent."""
    every = tuple(COLOURS)
    main = random.pick(every if random.chance(options.any_colour) else _USUAL_COLOURS.get(name, every))
    return main, random.pick([other for other in every if other != main])
