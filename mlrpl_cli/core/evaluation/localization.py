"""Where attention looks, measured against the objects: the pointing game, and the share of attention inside.

Axes: M maps (an image and a class that it shows), h×w grid positions, H×W pixels.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F


def pointing_hits(attention: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Whether the peak of each map (M, h, w), resized bilinearly to the mask's size, lies in its mask (M, H, W) → (M,).

    The pointing game of Zhang et al. (Top-down Neural Attention by Excitation Backprop, 2018), without a margin.
    """
    size = masks.shape[1:]
    fine = F.interpolate(torch.from_numpy(attention)[:, None].float(), size=size, mode="bilinear", align_corners=False)
    peaks = fine.flatten(1).argmax(dim=1).numpy()
    return masks.reshape(len(masks), size[0] * size[1])[np.arange(len(masks)), peaks]


def attention_inside(attention: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Σ_p a_p · (the part of grid cell p that the mask covers) for maps (M, h, w) and masks (M, H, W) → (M,) in [0, 1].

    H and W are multiples of h and w. A map is divided by its sum first, so that all of it counts; a map of zeros has
    nothing inside.
    """
    count, height, width = attention.shape
    rows, columns = masks.shape[1] // height, masks.shape[2] // width
    covered = masks.reshape(count, height, rows, width, columns).mean(axis=(2, 4))
    inside, whole = (attention * covered).sum(axis=(1, 2)), attention.sum(axis=(1, 2))
    return np.divide(inside, whole, out=np.zeros(count), where=whole > 0)
