"""What is behind the objects of an image, and the light and the sensor that it is seen by."""

from __future__ import annotations

import numpy as np
from PIL import Image

from mlrpl_cli.core.scenes.pen import COLOURS, INK, RandomStream, lighter, mix


def background(random: RandomStream, size: int) -> Image.Image:
    """A soft gradient of one colour's neighbours, often with a texture or a horizon."""
    base = mix(random.colour(random.pick(tuple(COLOURS))), (190, 194, 196), random.uniform(0.35, 0.85))
    spread = random.integer(8, 38)
    drift = random.pixels.randint(-spread, spread + 1, (3, 3, 3))
    coarse = (np.array(base) + drift).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    texture = random.pick(("none", "grain", "stripes", "checks", "horizon"), (3, 4, 1.5, 1, 3))
    if texture == "none":
        return image
    if texture == "grain":
        return _with_grain(random, image)
    ground = random.colour(random.pick(tuple(COLOURS))) if texture == "horizon" else base
    pattern = _pattern(random, size, texture)
    if texture == "horizon":
        colour = mix(ground, base, random.uniform(0.3, 0.7))
    else:
        colour = lighter(base, 0.3) if random.chance(0.5) else mix(base, INK, 0.2)
    image.paste(colour, mask=Image.fromarray(pattern.astype(np.uint8) * 150))
    return image


def _pattern(random: RandomStream, size: int, texture: str) -> np.ndarray:
    """(size, size) bool: the ground below a sloping horizon, slanted stripes or a chequered cloth."""
    y, x = np.indices((size, size), dtype=np.int32)
    if texture == "horizon":
        return y * 256 > random.integer(90, 190) * size + x * random.integer(-30, 30)
    across, down, period = random.integer(-8, 8), random.integer(1, 8), random.integer(60, 240)
    stripes = (x * across + y * down) // period % 2 == 0
    return stripes if texture == "stripes" else stripes ^ ((x * down - y * across) // period % 2 == 0)


def _with_grain(random: RandomStream, image: Image.Image) -> Image.Image:
    cells = image.width // random.pick((2, 4, 8))
    depth = random.integer(8, 26)
    grain = random.pixels.randint(128 - depth, 129 + depth, (cells, cells)).astype(np.uint8)
    grown = np.asarray(Image.fromarray(grain).resize(image.size, Image.Resampling.BILINEAR)).astype(np.int16)
    return Image.fromarray((np.asarray(image) + grown[..., None] - 128).clip(0, 255).astype(np.uint8))


def expose(random: RandomStream, image: Image.Image, brightness: float, noise: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8: `image` under another light, seen by a noisy sensor; see SceneOptions for both."""
    gain, contrast = (1 + random.uniform(-brightness, brightness) for _ in range(2))
    curve = [min(255, max(0, round(gain * (128 + contrast * (level - 128))))) for level in range(256)]
    lit = np.asarray(image.point(curve * 3)).astype(np.int16)
    amplitude = random.integer(*noise)
    draws = np.frombuffer(random.pixels.bytes(2 * lit.size), np.uint8).reshape(2, *lit.shape)
    grain = (draws[0].astype(np.int16) + draws[1] - 255) * amplitude >> 7
    return (lit + grain).clip(0, 255).astype(np.uint8)
