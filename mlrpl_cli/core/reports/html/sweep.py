"""The page of a sweep: its comparison with intervals and figures, as `mlrpl sweep` reports it."""

from __future__ import annotations

import io
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.progress import Progress
from mlrpl_cli.core.prepared.folder import is_prepared
from mlrpl_cli.core.reports.figures import save_figure
from mlrpl_cli.core.reports.html.options import ReportOptions
from mlrpl_cli.core.reports.html.page import image_uri, render_html
from mlrpl_cli.core.reports.html.results import Page
from mlrpl_cli.core.reports.sweep_page import figures_of
from mlrpl_cli.core.runs.provenance import of_folder
from mlrpl_cli.core.sweep.data import read_data
from mlrpl_cli.core.sweep.plan import DATA, SweepOptions
from mlrpl_cli.core.sweep.report import make_report
from mlrpl_cli.core.sweep.results import RESULTS
from mlrpl_cli.core.sweep.runner import stored

TEMPLATE = "report-sweep.html.j2"


def is_sweep(folder: Path) -> bool:
    """Whether a sweep writes to `folder`."""
    return (folder / RESULTS).is_file()


def page_of_sweep(options: ReportOptions, folder: Path, progress: Progress) -> tuple[str, Page]:
    """The page's text, and what is in it; nothing is trained.

    Raises DataError where it is not known which data the sweep is over, and as `runner.stored` and `make_report` do.
    """
    asked = SweepOptions(_data(options, folder), folder, folds=options.folds)
    shown, read = stored(asked), read_data(asked.data, asked.config, asked.folds)
    report = make_report(folder, read.measured, shown.rows, progress)
    figures = {name: _svg(figure) for name, figure in figures_of(report).items()}
    values = {
        "name": folder.absolute().name,
        "report": report,
        "figures": figures,
        "notes": [*read.notes, *shown.notes],
        "settings_notes": shown.settings,
        "data_sha256": read.sha256,
        "counts": {split: read.prepared.splits.count(split) for split in dict.fromkeys(read.prepared.splits)},
    }
    page = Page("sweep", report.images, len(report.classes), len(figures), {}, [], of_folder(asked.data))
    return render_html(TEMPLATE, values), page


def _data(options: ReportOptions, folder: Path) -> Path:
    """What the sweep is over: its own folder of data, unless another is named. Stored rows of other data are told."""
    if options.data is not None:
        return options.data
    if not is_prepared(folder / DATA):
        raise DataError(f"{folder} has no prepared data of its own; name what it is over with --data")
    return folder / DATA


def _svg(figure: Figure) -> Markup:
    content = io.BytesIO()
    save_figure(figure, content, "svg")
    return image_uri("svg+xml", content.getvalue())
