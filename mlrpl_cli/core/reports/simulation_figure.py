"""What asking is worth, drawn: curves in, a picture beside the figures out."""

from __future__ import annotations

from itertools import cycle

from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from mlrpl_cli.core.curation.asking.curves import Simulated
from mlrpl_cli.core.io.files import atomic_file
from mlrpl_cli.core.reports.figures import DPI, MUTED, render


def draw_simulation(found: Simulated) -> Image.Image:
    """mAP and right cells (%) against answers, a line a strategy; the band is the interval of its gain over random."""
    figure = Figure(figsize=(10, 3.8), dpi=DPI)
    of_map, of_cells = figure.subplots(1, 2)
    colors = cycle(colormaps["tab10"].colors)  # type: ignore[attr-defined]
    for number, curve in enumerate(found.curves):
        color = MUTED if number == 0 else next(colors)
        answers = [point.answers for point in curve.points]
        of_map.plot(answers, [100 * point.map for point in curve.points], marker=".", color=color, label=curve.strategy)
        of_cells.plot(answers, [100 * point.complete for point in curve.points], marker=".", color=color)
        if number:
            low, high = (
                [100 * (point.map - point.difference + end) for point, end in zip(curve.points, ends, strict=True)]
                for ends in ([p.low for p in curve.points], [p.high for p in curve.points])
            )
            of_map.fill_between(answers, low, high, color=color, alpha=0.12, lw=0)
    for axis, what in ((of_map, "test mAP (%)"), (of_cells, "training cells that are right (%)")):
        axis.set_xlabel("answers", fontsize=9)
        axis.set_ylabel(what, fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    of_map.legend(fontsize=8, frameon=False)
    return render(figure)


def save_simulation(found: Simulated) -> None:
    """Write the picture to the place that `found` names, whole or not at all."""
    with atomic_file(found.figure) as temporary:
        draw_simulation(found).save(temporary, format="png")
