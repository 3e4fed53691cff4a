"""The embedded data set: images of several drawn objects, rendered on demand, the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlrpl_cli.core.scenes.canvas import Canvas, SceneOptions, draw_object
from mlrpl_cli.core.scenes.objects import OBJECTS
from mlrpl_cli.core.scenes.pen import COLOURS, RandomStream

SCENE_CLASSES: tuple[str, ...] = tuple(OBJECTS)

# How likely a class is to be drawn beside the others; photographs are as uneven.
_FREQUENCY = {
    "apple": 1.0, "butterfly": 0.7, "car": 1.7, "clock": 0.85, "fish": 0.42, "flower": 1.5, "guitar": 0.4,
    "hot air balloon": 0.5, "house": 1.6, "ice cream cone": 0.5, "key": 0.65, "kite": 0.65, "light bulb": 0.7,
    "mug": 1.3, "mushroom": 0.7, "sailboat": 0.6, "teapot": 0.65, "tomato": 0.65, "traffic light": 0.8, "umbrella": 0.8,
}  # fmt: skip

# Settings make their classes likelier in one image, so that some classes are seen together more often than chance.
_SETTING_WEIGHT = 6.0
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
    canvas = Canvas(random, options)
    names = _choose_classes(random, options)
    for name in [name for name in names for _ in range(2 if random.chance(options.second_instance) else 1)]:
        size = random.uniform(*options.object_size)
        patch = draw_object(random, name, *choose_colours(random, name, options), size, options.rotation)
        canvas.place(patch, SCENE_CLASSES.index(name))
    return Scene(canvas.photograph(), canvas.class_masks())


def _choose_classes(random: RandomStream, options: SceneOptions) -> list[str]:
    """Distinct classes, the first ones at the back."""
    setting = random.pick(_SETTINGS)
    weights = {name: _FREQUENCY[name] * (_SETTING_WEIGHT if name in setting else 1.0) for name in SCENE_CLASSES}
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
