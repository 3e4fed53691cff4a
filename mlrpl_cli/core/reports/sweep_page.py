"""A sweep's report as a page: Markdown tables, CSV, and the figures beside them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mlrpl_cli.core.io.errors import csv_text
from mlrpl_cli.core.io.files import atomic_file, write_text
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.reports.figures import draw_map_against_keep, draw_paired_bars, save_figure
from mlrpl_cli.core.reports.pages import render_page
from mlrpl_cli.core.sweep.data import read_data
from mlrpl_cli.core.sweep.plan import SweepOptions
from mlrpl_cli.core.sweep.report import PAPER, SweepReport, make_report
from mlrpl_cli.core.sweep.stored import Shown

PAGE, TABLE, RARE, TEMPLATE = "comparison.md", "comparison.csv", "rare-classes.csv", "comparison.md.j2"
AGAINST_KEEP, PER_CLASS = "map-against-proportion", "per-class-ap"
BESIDE = "baseline"
"""The method whose classes are drawn beside the paper's."""


def report_sweep(options: SweepOptions, shown: Shown, progress: Progress) -> Path:
    """Write what rows of the sweep of `options` tell to out/report; returns the page.

    A note on copies among the images comes first. Raises RunError when a run's scores are damaged.
    """
    read, folder = read_data(options.data, options.config, options.folds), options.out / "report"
    report = make_report(options.out, read.measured, shown.rows, progress)
    write_report(report, folder, [*read.notes, *shown.notes], shown.settings)
    return folder / PAGE


def write_report(
    report: SweepReport, folder: Path, notes: Sequence[str] = (), settings_notes: Sequence[str] = ()
) -> None:
    """Write page, table and figures (PNG and SVG) to `folder`.

    The page has `settings_notes` below its settings, and `notes` at its end.
    """
    figures = write_figures(report, folder)
    values = {"report": report, "figures": figures, "notes": notes, "settings_notes": settings_notes}
    write_text(folder / PAGE, render_page(TEMPLATE, values))


def write_figures(report: SweepReport, folder: Path, way: str = "") -> dict[str, str]:
    """Write the table as CSV, and the figures; returns each figure's file by its name.

    `way` leads from the page to `folder`. The bars of each class need the runs of two methods.
    """
    write_text(folder / TABLE, table_csv(report))
    (folder / RARE).unlink(missing_ok=True)
    if report.rare:
        write_text(folder / RARE, rare_csv(report))
    figures = figures_of(report)
    for name, figure in figures.items():
        for kind in ("png", "svg"):
            with atomic_file(folder / f"{name}.{kind}") as temporary:
                save_figure(figure, temporary, kind)
    return {name: f"{way}{name}.svg" for name in figures}


def figures_of(report: SweepReport) -> dict[str, Figure]:
    """mAP against the proportion, and where two methods have runs the bars of each class, by their names."""
    keeps = [100 * keep for keep in report.keeps]
    curves = {each.method: 100 * each.maps for each in report.methods}
    figures = {AGAINST_KEEP: draw_map_against_keep(keeps, curves, report.references[0])}
    lowest = int(np.argmin(report.keeps))
    aps = {each.method: 100 * each.average_precision[lowest, report.counted] for each in report.methods}
    classes = [report.classes[column] for column in report.counted]
    if {PAPER, BESIDE} <= aps.keys():
        title = f"average precision (%) with {report.keeps[lowest]:.0%} of the labels known"
        figures[PER_CLASS] = draw_paired_bars(classes, {name: aps[name] for name in (PAPER, BESIDE)}, title)
    return figures


def table_csv(report: SweepReport) -> str:
    """method, keep, seed, map (in [0, 1]) of every run."""
    runs = ((each, *cell) for each in report.methods for cell in np.ndenumerate(each.maps) if np.isfinite(cell[1]))
    rows = ([each.method, f"{report.keeps[k]:g}", report.seeds[s], f"{value:.6f}"] for each, (k, s), value in runs)
    return _csv(["method", "keep", "seed", "map"], rows)


def rare_csv(report: SweepReport) -> str:
    """class, positives, method, keep, average_precision (in [0, 1], averaged over seeds, empty where there is none)."""
    cells = product(report.rare.items(), report.methods, enumerate(report.keeps))
    rows = (
        [
            csv_text(report.classes[column]),
            positives,
            each.method,
            f"{keep:g}",
            _figure(each.average_precision[k, column]),
        ]
        for (column, positives), each, (k, keep) in cells
    )
    return _csv(["class", "positives", "method", "keep", "average_precision"], rows)


def _figure(share: float) -> str:
    return f"{share:.6f}" if np.isfinite(share) else ""


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")  # a variant of two options has a comma in its name
    writer.writerow(header)
    writer.writerows(rows)
    return table.getvalue()
