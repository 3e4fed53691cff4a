"""Pictures: attention over an image, training curves, average precision per class. Arrays in, an image out.

Drawing writes no file; whoever calls saves the returned PIL image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from mlrpl_cli.core.io.errors import printable

COLOR_MAP = "jet"
STRONGEST_TINT = 0.6
INK, ACCENT, MUTED = "#22303c", "#d1495b", "#8d99a6"
PANEL = 3.0
DPI = 110


def overlay(pixels: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """Tint (H, W, 3) uint8 pixels by a class's attention (h, w) ≥ 0, resized bicubically → (H, W, 3) uint8.

    The map is scaled to its own range, so it shows where a class was looked for, not how probable it is.
    """
    height, width = pixels.shape[:2]
    spread = float(attention.max() - attention.min())
    scaled = (attention - attention.min()) / spread if spread > 0 else np.zeros_like(attention)
    fine = Image.fromarray(scaled.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    strength = np.clip(np.asarray(fine), 0, 1)
    tint = colormaps[COLOR_MAP](strength)[..., :3] * 255
    weight = STRONGEST_TINT * (0.25 + 0.75 * strength[..., None])
    return np.rint((1 - weight) * pixels + weight * tint).astype(np.uint8)


def draw_attention(
    images: Sequence[np.ndarray], maps: Sequence[np.ndarray], titles: Sequence[Sequence[str]]
) -> Image.Image:
    """A row an image: the image (H, W, 3) uint8, then an overlay for each of its maps (k, h, w), titled."""
    columns = 1 + max(len(attention) for attention in maps)
    figure = Figure(figsize=(PANEL * columns, (PANEL + 0.3) * len(images)), dpi=DPI)
    axes = figure.subplots(len(images), columns, squeeze=False)
    for row, pixels, attention, names in zip(axes, images, maps, titles, strict=True):
        _panel(row[0], pixels, "")
        for axis, one, name in zip(row[1:], attention, names, strict=False):
            _panel(axis, overlay(pixels, one), name)
        for axis in row[1 + len(attention) :]:
            axis.set_axis_off()
    figure.tight_layout(pad=0.4)
    return render(figure)


def draw_curves(log: Sequence[Mapping[str, Any]]) -> Image.Image:
    """Loss and mAP against the epoch, from the rows of a run's log."""
    figure = Figure(figsize=(9, 3.4), dpi=DPI)
    loss_axis, map_axis = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in log]
    _curve(loss_axis, epochs, [row["loss"] for row in log], "training loss", MUTED)
    figures = [np.nan if row["map"] is None else 100 * row["map"] for row in log]
    split = log[-1]["split"] if log else "validation"
    _curve(map_axis, epochs, figures, f"{split} mAP (%)", ACCENT)
    if np.isfinite(figures).any():
        best = int(np.nanargmax(figures))
        map_axis.plot(epochs[best], figures[best], "o", color=ACCENT)
        map_axis.set_title(f"best {figures[best]:.1f} at epoch {epochs[best]}", fontsize=10, color=INK)
    figure.tight_layout()
    return render(figure)


def draw_average_precision(classes: Sequence[str], average_precision: np.ndarray) -> Image.Image:
    """A bar a class (C,), highest first; classes without a positive (NaN) are listed without a bar."""
    order = np.argsort(-np.nan_to_num(average_precision, nan=-1.0), kind="stable")
    values = 100 * average_precision[order]
    figure = Figure(figsize=(7, 0.9 + 0.24 * len(classes)), dpi=DPI)
    axis = figure.subplots()
    axis.barh(range(len(order)), np.nan_to_num(values), color=ACCENT, height=0.72)
    axis.set_yticks(range(len(order)), [_plain(classes[c]) for c in order], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(0, 100)
    for position, value in enumerate(values):
        label = "no positive" if np.isnan(value) else f"{value:.1f}"
        axis.text(1 if np.isnan(value) else value + 0.6, position, label, va="center", fontsize=7, color=INK)
    mean = np.nanmean(values) if np.isfinite(values).any() else np.nan
    axis.set_title(f"average precision (%), mean {mean:.1f}", fontsize=10, color=INK)
    _bare(axis)
    figure.tight_layout()
    return render(figure)


def draw_map_against_keep(keeps: Sequence[float], maps: Mapping[str, np.ndarray], emphasis: str) -> Figure:
    """mAP (%) against the proportion of known labels (%), a line a method: means of (K, S), bands of one std."""
    figure = Figure(figsize=(7, 4.6), dpi=DPI)
    axis = figure.subplots()
    for color, (method, values) in zip(cycle(colormaps["tab10"].colors), maps.items()):  # type: ignore[attr-defined]
        mean, spread = np.nanmean(values, axis=1), _spread(values)
        chosen = method == emphasis
        axis.plot(keeps, mean, marker="o", ms=4, lw=2.6 if chosen else 1.3, color=color, label=method)
        axis.fill_between(keeps, mean - spread, mean + spread, color=color, alpha=0.15, lw=0)
    axis.set_xlabel("known labels (%)", fontsize=9)
    axis.set_ylabel("test mAP (%)", fontsize=9)
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    _bare(axis)
    figure.tight_layout()
    return figure


def _spread(values: np.ndarray) -> np.ndarray:
    """Standard deviation (n - 1) over the known of each row's values; 0 where there is one."""
    known = np.isfinite(values).sum(axis=1)
    squares = np.nansum((values - np.nanmean(values, axis=1, keepdims=True)) ** 2, axis=1)
    return np.asarray(np.sqrt(squares / np.maximum(known - 1, 1)))


def draw_paired_bars(classes: Sequence[str], values: Mapping[str, np.ndarray], title: str) -> Figure:
    """Horizontal bars (%) of two methods for each of C classes, in the order of the first method's lead."""
    (first, one), (second, other) = values.items()
    order = np.argsort(np.nan_to_num(other - one))
    figure = Figure(figsize=(7, 1.1 + 0.3 * len(classes)), dpi=DPI)
    axis = figure.subplots()
    places = np.arange(len(classes))
    axis.barh(places - 0.2, np.nan_to_num(one[order]), height=0.38, color=ACCENT, label=first)
    axis.barh(places + 0.2, np.nan_to_num(other[order]), height=0.38, color=MUTED, label=second)
    axis.set_yticks(places, [_plain(classes[c]) for c in order], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(0, 100)
    axis.set_title(title, fontsize=10, color=INK)
    axis.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1, 1))
    _bare(axis)
    figure.tight_layout()
    return figure


def save_figure(figure: Figure, path: Path, kind: str) -> None:
    """Write a figure as "png" or "svg", the same bytes each time."""
    metadata = {"Date": None} if kind == "svg" else None
    with rc_context({"svg.hashsalt": "mlrpl"}):
        figure.savefig(path, format=kind, metadata=metadata)


def render(figure: Figure) -> Image.Image:
    """A figure as an RGB image."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _panel(axis: Axes, pixels: np.ndarray, title: str) -> None:
    axis.imshow(pixels)
    axis.set_title(_plain(title), fontsize=10, color=INK)
    axis.set_axis_off()


def _curve(axis: Axes, epochs: Sequence[int], values: Sequence[float], label: str, color: str) -> None:
    axis.plot(epochs, values, color=color, marker="." if len(epochs) < 40 else None)
    axis.set_xlabel("epoch", fontsize=9)
    axis.set_ylabel(label, fontsize=9)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _bare(axis)


def _bare(axis: Axes) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.tick_params(labelsize=8)


def _plain(text: str) -> str:
    """Class names are the user's: a dollar sign in one is no formula, and no SVG may hold a control character."""
    return printable(text).replace("$", r"\$")
