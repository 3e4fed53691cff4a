"""Pictures: attention over an image, training curves, average precision per class. Arrays in, an image out.

Drawing writes no file; whoever calls saves the returned PIL image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import IO, Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from mlrpl_cli.core.evaluation.metrics import mean_of_classes
from mlrpl_cli.core.io.errors import printable
from mlrpl_cli.core.reports.names import at_most, elided

COLOR_MAP = "jet"
STRONGEST_TINT = 0.6
INK, ACCENT, MUTED = "#22303c", "#d1495b", "#8d99a6"
ROWS_AT_ONCE = 256
"""Rows of pixels that are tinted at once: in floats they take 24 times their own memory."""
PANEL = 3.0
DPI = 110

MOST_BARS = 200
"""Classes that a figure of bars has room for: of more, it shows those at either end of its order."""
LONGEST_NAME = 60
"""Characters of a class name that are drawn."""
LONGEST_FILE_NAME, LONGEST_TITLE = 32, 40
"""Columns of a file name, and of a title, that have room above an image."""
MOST_MAPS = 190
"""Attention maps that fit beside an image: no side of a PNG that Matplotlib draws may have more than 2^16 pixels."""


def overlay(pixels: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """Tint (H, W, 3) uint8 pixels by a class's attention (h, w) ≥ 0, resized bicubically → (H, W, 3) uint8.

    The map is scaled to its own range, so it shows where a class was looked for, not how probable it is.
    """
    height, width = pixels.shape[:2]
    spread = float(attention.max() - attention.min())
    scaled = (attention - attention.min()) / spread if spread > 0 else np.zeros_like(attention)
    fine = Image.fromarray(scaled.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    strength, tinted = np.clip(np.asarray(fine), 0, 1), np.empty((height, width, 3), np.uint8)
    for top in range(0, height, ROWS_AT_ONCE):
        rows = slice(top, top + ROWS_AT_ONCE)
        tint = colormaps[COLOR_MAP](strength[rows])[..., :3] * 255
        weight = STRONGEST_TINT * (0.25 + 0.75 * strength[rows, :, None])
        tinted[rows] = np.rint((1 - weight) * pixels[rows] + weight * tint)
    return tinted


def draw_attention(
    images: Sequence[np.ndarray], names: Sequence[str], maps: Sequence[np.ndarray], titles: Sequence[Sequence[str]]
) -> Image.Image:
    """A row an image: the image (H, W, 3) uint8 by its name, then an overlay for each of its maps (k, h, w), titled.

    A long name or title has an ellipsis in its middle.
    """
    columns = 1 + max(len(attention) for attention in maps)
    figure, axes = _figure((PANEL * columns, (PANEL + 0.3) * len(images)), len(images), columns)
    for row, pixels, name, attention, of_maps in zip(axes, images, names, maps, titles, strict=True):
        shown = elided(name, at_most(LONGEST_FILE_NAME))
        panels = [(pixels, shown), *zip((overlay(pixels, one) for one in attention), of_maps, strict=False)]
        for axis in row:
            axis.set_axis_off()
        for axis, (panel, title) in zip(row, panels, strict=False):
            axis.imshow(panel)
            axis.set_title(_plain(elided(title, at_most(LONGEST_TITLE))), fontsize=10, color=INK)
    return render(figure, pad=0.4)


def draw_curves(log: Sequence[Mapping[str, Any]]) -> Image.Image:
    """Loss and mAP against the epoch, from the rows of a run's log."""
    figure, (axes,) = _figure((9, 3.4), 1, 2)
    epochs = [row["epoch"] for row in log]
    maps = [np.nan if row["map"] is None else 100 * row["map"] for row in log]
    split = log[-1]["split"] if log else "validation"
    curves = (([row["loss"] for row in log], "training loss", MUTED), (maps, f"{split} mAP (%)", ACCENT))
    for axis, (values, label, color) in zip(axes, curves, strict=True):
        axis.plot(epochs, values, color=color, marker="." if len(epochs) < 40 else None)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        _label(axis, "epoch", label)
    if np.isfinite(maps).any():
        best = int(np.nanargmax(maps))
        axes[1].plot(epochs[best], maps[best], "o", color=ACCENT)
        axes[1].set_title(f"best {maps[best]:.1f} at epoch {epochs[best]}", fontsize=10, color=INK)
    return render(figure)


def draw_average_precision(
    classes: Sequence[str], average_precision: np.ndarray, learnable: Sequence[bool] | None = None
) -> Image.Image:
    """A bar a class (C,), highest first; classes without an AP (NaN) are listed without a bar.

    Those that could not be learned have a star, which the title explains.
    Of more than MOST_BARS classes, the highest and lowest are drawn; those without an AP are counted in the title.
    """
    order = np.argsort(-np.nan_to_num(average_precision, nan=-1.0), kind="stable")
    title = f"average precision (%), mean {100 * mean_of_classes(average_precision):.1f}"
    if len(order) > MOST_BARS:
        without = int(np.isnan(average_precision).sum())
        order = _ends(order[: len(order) - without])
        title += f"\n{len(order)} of {len(classes):,} classes, highest and lowest; {without:,} without an AP"
    values = 100 * average_precision[order]
    names = [f"{classes[c]} *" if learnable and not learnable[c] else classes[c] for c in order]
    if learnable and not all(learnable[c] for c in order):
        title += "\n* could not be learned"
    figure, axis = _bars(names, {"": values}, title)
    for position, value in enumerate(values):
        label = "no AP" if np.isnan(value) else f"{value:.1f}"
        axis.text(1 if np.isnan(value) else value + 0.6, position, label, va="center", fontsize=7, color=INK)
    return render(figure)


def draw_reliability(bins: Mapping[str, np.ndarray], title: str) -> Image.Image:
    """A panel a name: the share of cells that is present against their mean p, from (B, 3) mean, share and number.

    The bars hold nine tenths of the shares that true probabilities would give: ±1.64 sqrt(p (1 - p) / n).
    """
    figure, (axes,) = _figure((4 * len(bins), 4.2), 1, len(bins))
    for axis, (name, of) in zip(axes, bins.items(), strict=True):
        mean, share, cells = of.T
        axis.plot((0, 1), (0, 1), color=MUTED, lw=1, ls="--")
        axis.errorbar(mean, mean, 1.64 * np.sqrt(mean * (1 - mean) / cells), fmt="none", color=MUTED, lw=1)
        axis.plot(mean, share, color=ACCENT, marker="o", ms=4)
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axis.set_title(name, fontsize=10, color=INK)
        _label(axis, "mean probability", "share present")
    figure.suptitle(title, fontsize=10, color=INK)
    return render(figure)


def draw_map_against_keep(keeps: Sequence[float], maps: Mapping[str, np.ndarray], emphasis: str) -> Figure:
    """mAP (%) against the proportion of known labels (%), a line a method: means of (K, S), bands of one std."""
    figure, ((axis,),) = _figure((7, 4.6))
    for color, (method, values) in zip(cycle(colormaps["tab10"].colors), maps.items()):  # type: ignore[attr-defined]
        mean = np.nanmean(values, axis=1)
        spread = np.ma.masked_invalid(values).std(axis=1, ddof=1).filled(0)  # 0 where only one run is known
        axis.plot(keeps, mean, marker="o", ms=4, lw=2.6 if method == emphasis else 1.3, color=color, label=method)
        axis.fill_between(keeps, mean - spread, mean + spread, color=color, alpha=0.15, lw=0)
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    _label(axis, "known labels (%)", "test mAP (%)")
    figure.tight_layout()
    return figure


def draw_paired_bars(classes: Sequence[str], values: Mapping[str, np.ndarray], title: str) -> Figure:
    """Horizontal bars (%) of two methods for each of C classes, in the order of the first's minus the second's.

    Of more than MOST_BARS classes, those with the largest differences either way are drawn.
    """
    one, other = values.values()
    order = np.argsort(np.nan_to_num(other - one))
    if len(order) > MOST_BARS:
        order = _ends(order)
        title += f"\n{len(order)} of {len(classes):,} classes, the largest differences either way"
    drawn = {method: of_classes[order] for method, of_classes in values.items()}
    figure, axis = _bars([classes[c] for c in order], drawn, title)
    axis.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1, 1))
    figure.tight_layout()
    return figure


def _ends(order: np.ndarray) -> np.ndarray:
    """The first and the last MOST_BARS / 2, or all where there are no more."""
    half = MOST_BARS // 2
    return np.concatenate([order[:half], order[half:][-half:]])


def _bars(names: Sequence[str], values: Mapping[str, np.ndarray], title: str) -> tuple[Figure, Axes]:
    """Horizontal bars (%), one a name and label of `values`, from the top down."""
    figure, ((axis,),) = _figure((7, 1.1 + (0.18 + 0.06 * len(values)) * len(names)))
    places, step = np.arange(len(names)), 0.8 / len(values)
    for n, (label, of_names) in enumerate(values.items()):
        shift = (n - (len(values) - 1) / 2) * step
        color = (ACCENT, MUTED)[n]
        axis.barh(places + shift, np.nan_to_num(of_names), height=0.95 * step, color=color, label=label)
    axis.set_yticks(places, [_plain(name) for name in names], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(0, 100)
    axis.set_title(title, fontsize=10, color=INK)
    _label(axis)
    return figure, axis


def save_figure(figure: Figure, path: Path | IO[bytes], kind: str) -> None:
    """Write a figure as "png" or "svg", the same bytes each time."""
    with rc_context({"svg.hashsalt": "mlrpl"}):
        figure.savefig(path, format=kind, metadata={"Date": None} if kind == "svg" else None)


def render(figure: Figure, pad: float = 1.08) -> Image.Image:
    """A figure as an RGB image; `pad` is the space around it, in font sizes."""
    figure.tight_layout(pad=pad)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _figure(size: tuple[float, float], rows: int = 1, columns: int = 1) -> tuple[Figure, np.ndarray]:
    """A figure of `size` inches and its axes (rows, columns)."""
    figure = Figure(figsize=size, dpi=DPI)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _label(axis: Axes, across: str = "", up: str = "") -> None:
    axis.set_xlabel(across, fontsize=9)
    axis.set_ylabel(up, fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def _plain(text: str) -> str:
    """Class names are the user's: a dollar sign in one is no formula, and no SVG may hold a control character."""
    shown = printable(text)
    shown = shown if len(shown) <= LONGEST_NAME else f"{shown[: LONGEST_NAME - 1]}…"
    return shown.replace("$", r"\$")
