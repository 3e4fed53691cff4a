"""What a preprocessor_config.json of transformers says of the images that a tower takes, in open_clip's words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlrpl_cli.core.backbones.backbone import CLIP_MEAN, CLIP_STD
from mlrpl_cli.core.io.errors import WeightsError
from mlrpl_cli.core.io.reading import shown

HALF = (0.5, 0.5, 0.5)
DEFAULTS: dict[str, dict[str, Any]] = {
    "clip": {"image_mean": CLIP_MEAN, "image_std": CLIP_STD, "resample": 3, "do_center_crop": True},
    "siglip": {"image_mean": HALF, "image_std": HALF, "resample": 3, "do_center_crop": False},
}
"""model_type → what transformers takes for what a processor does not say."""
CHANGING = ("do_flip_channel_order", "offset")
"""What changes the values of pixels and is not done here."""
RESAMPLING = {2: "bilinear", 3: "bicubic", "bilinear": "bilinear", "bicubic": "bicubic"}
"""Pillow's numbers, and names, of the ways to resize that are done here."""


def input_of(path: Path, kind: str, processor: Mapping[str, Any] | None, size: int) -> dict[str, Any]:
    """open_clip's preprocess_cfg for images of `size`. Raises WeightsError for what is not done here.

    `path` is the configuration beside which the processor was looked for.
    """
    said = {**DEFAULTS[kind], **(processor or {})}
    where = path.with_name("preprocessor_config.json")
    for name in CHANGING:
        if said.get(name):
            raise _refused(where, name, "false", said[name])
    resample, factor = said["resample"], said.get("rescale_factor", 1 / 255)
    if not isinstance(resample, int | str) or resample not in RESAMPLING:
        raise _refused(where, "resample", "2 (bilinear) or 3 (bicubic)", resample)
    if not said.get("do_rescale", True) or not isinstance(factor, int | float) or not 0.999 < factor * 255 < 1.001:
        raise _refused(where, "rescale_factor", "1/255", factor)
    plain = said.get("do_normalize", True) is False
    mean, std = ((0.0,) * 3, (1.0,) * 3) if plain else (said["image_mean"], said["image_std"])
    for name, values in (("image_mean", mean), ("image_std", std)):
        if not _three_numbers(values) or (name == "image_std" and min(values) <= 0):
            raise _refused(where, name, "three numbers, one of each channel", values)
    resize_mode = "shortest" if said["do_center_crop"] else "squash"
    told = {"mean": list(mean), "std": list(std), "interpolation": RESAMPLING[resample], "resize_mode": resize_mode}
    return {"size": size, "mode": "RGB", **told}


def _three_numbers(values: object) -> bool:
    if not isinstance(values, list | tuple) or len(values) != 3:
        return False
    return all(isinstance(value, int | float) and abs(value) < 1e3 for value in values)


def _refused(where: Path, name: str, expected: str, got: object) -> WeightsError:
    return WeightsError(f"{where}: {name}: expected {expected}, got {shown(got)}; other input is not made here")
