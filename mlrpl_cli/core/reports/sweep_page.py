"""A sweep's report as a page: Markdown tables, CSV, and the figures beside them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mlrpl_cli.core.evaluation.comparison import LEVEL, Interval
from mlrpl_cli.core.io.files import atomic_file, make_folder, write_text
from mlrpl_cli.core.reports.figures import draw_map_against_keep, draw_paired_bars, save_figure
from mlrpl_cli.core.sweep.report import PAPER, MethodReport, SweepReport

PAGE, TABLE = "comparison.md", "comparison.csv"
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


def write_report(report: SweepReport, folder: Path) -> list[Path]:
    """Write page, table and figures (PNG and SVG) to `folder`; returns what was written."""
    make_folder(folder)
    write_text(folder / PAGE, "\n".join(page(report)) + "\n")
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


def page(report: SweepReport, figures: str = "") -> Iterator[str]:
    """The lines of the Markdown page; `figures` is what leads from it to the folder of the figures."""
    yield "## Mean average precision"
    yield ""
    yield (
        f"Test mAP (%) on {report.images} images of {report.dataset}: mean ± standard deviation over seeds "
        f"{', '.join(map(str, report.seeds))}. The last column averages the proportions."
    )
    yield ""
    yield from table(["method", *(f"{keep:.0%}" for keep in report.keeps), "average"], map_cells(report))
    yield ""
    yield f"![mAP against the proportion of known labels]({figures}{AGAINST_KEEP}.svg)"
    yield ""
    yield "## Leads"
    yield ""
    yield (
        f"Average mAP of the method at the head of the column minus that of the method of the row, in points, with the "
        f"{LEVEL:.0%} interval of {report.resamples} paired bootstrap resamples of the test images; all proportions "
        "and seeds together, then the lowest proportion alone."
    )
    yield ""
    over = ("average", f"at {min(report.keeps):.0%}")
    yield from table(
        ["method", *(f"`{name}`, {what}" for name in report.references for what in over)], _lead_cells(report)
    )
    yield ""
    yield "## Settings"
    yield ""
    yield (
        "The grid's choice on validation labels (without tuning, what was asked for), and test mAP (%), averaged, at "
        "the last epoch, which is what counts, and at the epoch with the highest validation mAP."
    )
    yield ""
    header = ["method", "lr", "epochs", "loss", "learned parameters", "last epoch", "selected epoch"]
    yield from table(header, _setting_cells(report))
    yield ""
    if any(each.pointing is not None for each in report.methods):
        yield "## Where attention looks"
        yield ""
        yield "Present classes of test images whose attention peaks in their object, and the share of it inside (%)."
        yield ""
        rows = [[f"`{m.method}`", _percent(m.pointing), _percent(m.attention_inside)] for m in report.methods]
        yield from table(["method", "pointing game", "attention inside"], rows)
        yield ""
    yield "## Semantic confusion"
    yield ""
    yield "How often (%) an absent class outscores a present one of the same image."
    yield ""
    rows = [[f"`{m.method}`", _percent(m.confused_alike), _percent(m.confused_other)] for m in report.methods]
    yield from table(["method", "made to look alike", "others"], rows)
    if _pair(report):
        yield ""
        yield f"![average precision of each class]({figures}{PER_CLASS}.svg)"
    if report.dataset in _PUBLISHED_COLUMN:
        yield ""
        yield from _published(report)


def map_cells(report: SweepReport) -> list[list[str]]:
    """A row a method: its name, mAP (%) at each proportion, and the average."""
    return [
        [f"`{each.method}`", *(_spread(of_keep) for of_keep in each.maps), _spread(each.average)]
        for each in report.methods
    ]


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


def _lead_cells(report: SweepReport) -> list[list[str]]:
    return [
        [
            f"`{each.method}`",
            *(points(leads.get(name)) for name in report.references for leads in (each.leads, each.leads_at_fewest)),
        ]
        for each in report.methods
    ]


def _setting_cells(report: SweepReport) -> list[list[str]]:
    rows = []
    for each in report.methods:
        lr, epochs, loss = each.setting
        averages = [_spread(maps.mean(axis=0)) for maps in (each.maps, each.selected_maps)]
        rows.append([f"`{each.method}`", f"{lr:g}", str(epochs), loss, f"{each.learned_parameters:,}", *averages])
    return rows


def points(lead: Interval | None) -> str:
    """A difference of mAP in points with its interval; a dash for none."""
    return "–" if lead is None else f"{100 * lead.value:+.2f} ({100 * lead.low:+.2f} to {100 * lead.high:+.2f})"


def _published(report: SweepReport) -> Iterator[str]:
    column = _PUBLISHED_COLUMN[report.dataset]
    yield "## Published figures"
    yield ""
    yield "Average mAP (%) over 10–90 %, copied from the papers and not measured here."
    yield ""
    yield from table(["method (published)", "backbone", "average"], [[r[0], r[1], f"{r[column]}"] for r in PUBLISHED])


def _pair(report: SweepReport) -> list[MethodReport]:
    """The paper's method and the one beside it; empty when one is missing."""
    found = [each for name in (PAPER, BESIDE) for each in report.methods if each.method == name]
    return found if len(found) == 2 else []


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _spread(values: np.ndarray) -> str:
    known = 100 * values[np.isfinite(values)]
    if not len(known):
        return "–"
    return f"{known.mean():.1f} ± {known.std(ddof=1):.1f}" if len(known) > 1 else f"{known.mean():.1f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"
