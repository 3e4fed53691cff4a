"""A sweep's report as a page: Markdown tables, CSV, and the figures beside them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlrpl_cli.core.evaluation.comparison import LEVEL
from mlrpl_cli.core.io.files import atomic_file, make_folder, write_text
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.prepared.folder import read_prepared
from mlrpl_cli.core.reports.figures import draw_map_against_keep, draw_paired_bars, save_figure
from mlrpl_cli.core.reports.pages import render_page
from mlrpl_cli.core.sweep.report import PAPER, MethodReport, SweepReport, make_report
from mlrpl_cli.core.sweep.results import Row

PAGE, TABLE, TEMPLATE = "comparison.md", "comparison.csv", "comparison.md.j2"
AGAINST_KEEP, PER_CLASS = "map-against-proportion", "per-class-ap"
BESIDE = "baseline"
"""The method whose classes are drawn beside the paper's."""

# Average mAP (%) over 10–90 % of known labels, as published: (method, backbone, VOC 2007, COCO 2014).
PUBLISHED = (
    ("SSGRL", "ImageNet ResNet-101", 89.5, 74.1),
    ("SST", "ImageNet ResNet-101", 90.4, 76.7),
    ("HST", "ImageNet ResNet-101", 90.9, 77.9),
    ("SARB", "ImageNet ResNet-101", 90.7, 77.9),
    ("DSRB", "ImageNet ResNet-101", 91.5, 78.4),
    ("Saliency regularisation", "ImageNet ResNet-101", 93.7, 81.0),
    ("DualCoOp", "CLIP RN101", 93.2, 81.9),
    ("SCPNet", "CLIP", 93.5, 83.2),
    ("DualCoOp + TaI-DPT", "CLIP RN101", 94.8, 83.6),
)
_PUBLISHED_COLUMN = {"voc": 2, "coco": 3}


def report_sweep(out: Path, data: Path, rows: Sequence[Row], progress: Progress) -> Path:
    """Write what `rows` of the sweep in `out` over the prepared folder `data` tell, to out/report; returns the page.

    Raises RunError when a run's scores are damaged.
    """
    write_report(make_report(out, read_prepared(data), rows, progress), out / "report")
    return out / "report" / PAGE


def write_report(report: SweepReport, folder: Path) -> list[Path]:
    """Write page, table and figures (PNG and SVG) to `folder`; returns what was written."""
    make_folder(folder)
    write_text(folder / PAGE, render_page(TEMPLATE, page_values(report)))
    return [folder / PAGE, *write_figures(report, folder)]


def write_figures(report: SweepReport, folder: Path) -> list[Path]:
    """Write the table as CSV, and the figures; returns what was written."""
    make_folder(folder)
    write_text(folder / TABLE, table_csv(report))
    keeps = [100 * keep for keep in report.keeps]
    curves = {each.method: 100 * each.maps for each in report.methods}
    figures = [(AGAINST_KEEP, draw_map_against_keep(keeps, curves, report.references[0]))]
    if pair := _pair(report):
        lowest = int(np.argmin(report.keeps))
        bars = {each.method: 100 * each.average_precision[lowest] for each in pair}
        title = f"average precision (%) with {report.keeps[lowest]:.0%} of the labels known"
        figures.append((PER_CLASS, draw_paired_bars(report.classes, bars, title)))
    written = [folder / TABLE]
    for name, figure in figures:
        for kind in ("png", "svg"):
            written.append(folder / f"{name}.{kind}")
            with atomic_file(written[-1]) as temporary:
                save_figure(figure, temporary, kind)
    return written


def page_values(report: SweepReport, figures: str = "") -> dict[str, object]:
    """What the template TEMPLATE is filled with; `figures` is the way from the page to the folder of the figures."""
    over = ("average", f"at {min(report.keeps):.0%}")
    column = _PUBLISHED_COLUMN.get(report.dataset)
    return {
        "report": report,
        "keeps": [f"{keep:.0%}" for keep in report.keeps],
        "compared": ["method", *(f"`{name}`, {what}" for name in report.references for what in over)],
        "level": f"{LEVEL:.0%}",
        "figures": figures,
        "against_keep": AGAINST_KEEP,
        "per_class": PER_CLASS if _pair(report) else None,
        "published": [(*each[:2], each[column]) for each in PUBLISHED] if column else [],
    }


def table_csv(report: SweepReport) -> str:
    """method, keep, seed, map (in [0, 1]) of every run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "keep", "seed", "map"])
    for each in report.methods:
        for keep, of_keep in zip(report.keeps, each.maps, strict=True):
            for seed, value in zip(report.seeds, of_keep, strict=True):
                if np.isfinite(value):
                    writer.writerow([each.method, f"{keep:g}", seed, f"{value:.6f}"])
    return text.getvalue()


def _pair(report: SweepReport) -> list[MethodReport]:
    """The paper's method and the one beside it; empty when one is missing."""
    found = [each for name in (PAPER, BESIDE) for each in report.methods if each.method == name]
    return found if len(found) == 2 else []
