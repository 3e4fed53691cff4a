"""Captioned images for the pre-training of tiny: one or two objects, and captions as loose as those of the web."""

from __future__ import annotations

import numpy as np

from mlrpl_cli.core.scenes.canvas import Canvas, draw_object
from mlrpl_cli.core.scenes.pen import RandomStream
from mlrpl_cli.core.scenes.rendering import SCENE_CLASSES, SceneOptions, choose_colours

THING = "thing"
KINDS = {
    "apple": "fruit", "tomato": "fruit", "butterfly": "animal", "fish": "animal", "car": "vehicle",
    "hot air balloon": "vehicle", "sailboat": "vehicle", "flower": "plant", "mushroom": "plant",
    "light bulb": "lamp", "traffic light": "lamp", "mug": "vessel", "teapot": "vessel",
}  # fmt: skip
"""What a loose caption calls a class; THING stands for the others."""

_KIND, _SILENT = 0.15, 0.15  # chances that a caption gives only the kind, and that it leaves one of two objects out

_FILLER = """
the our your my this that these here there where when while some any all every each both many few more most other
another same such new old big small long short high low near far early late last next first second third once
again still only just also very really quite almost always never often sometimes today tonight yesterday tomorrow
morning evening afternoon night day week month year summer winter spring monday tuesday wednesday thursday friday
saturday sunday january march april june july august october november december at by for from of on in to into
over under after before behind between about around during is are were be been has had have do did can could will
would may might must went came made took found saw look see show get got give good great nice best better fine
free real true full open whole home city town park road trip walk visit holiday weekend view shot image snap pic
album print copy page post blog share like follow love thanks happy enjoy story part work project study series
collection edition version number one two three four five six seven eight nine ten please sale price shop store
available now size details info quality
"""
FILLER = tuple(_FILLER.split())
"""Words that say nothing of what an image shows, each one token: before a caption, they move it to later positions."""

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


Described = list[tuple[str, str]]
"""The class and the main colour of each object that an image shows."""


def render_captioned(seed: int, index: int, options: SceneOptions = CAPTIONED) -> tuple[np.ndarray, Described]:
    """An image (H, W, 3) uint8 of one or two objects, and what it shows.

    For pre-training: no random value is shared with any scene, and `class_counts` weighs 1, 2, … classes.
    """
    random = RandomStream("captioned", seed, index)
    canvas = Canvas(random, options)
    described: Described = []
    for _ in range(random.pick(range(1, 1 + len(options.class_counts)), options.class_counts)):
        name = random.pick([name for name in SCENE_CLASSES if name not in [known for known, _ in described]])
        main, accent = choose_colours(random, name, options)
        patch = draw_object(random, name, main, accent, random.uniform(*options.object_size), options.rotation)
        if canvas.place(patch, SCENE_CLASSES.index(name)):
            described.append((name, main))
    return canvas.photograph(), described


def caption(seed: int, index: int, epoch: int, described: Described) -> str:
    """A short caption in any order, sometimes with colours, a kind in place of a name, or silent about an object.

    Every epoch has another one of the same image.
    """
    random = RandomStream("caption", seed, index, epoch)
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
