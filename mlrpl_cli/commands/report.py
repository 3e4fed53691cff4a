"""`mlrpl report`: a run or a sweep as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option
from mlrpl_cli.core.reports.html.options import ReportOptions


@options.with_flags({"": ReportOptions})
def report(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="RUN|SWEEP", help="Folder of a run or a sweep. Default: the newest run below ./runs."),
    ] = None,
    overwrite: Annotated[bool, option(None, "Replace a file that mlrpl did not write.", "--overwrite")] = False,
    as_json: options.Json = False,
    **given: Any,
) -> None:
    """Write one HTML file that opens from disk and can be mailed: nothing in it is fetched from anywhere.

    Of a run: its test figures with intervals, a table of classes, their curves, which classes are taken for which, a
    gallery of what it is sure of and what not, and the data, settings and checksums behind it. Of a sweep: the
    comparison of its methods. Reports that mlrpl wrote are replaced.
    """
    from mlrpl_cli.core.reports.html.report import write_report

    chosen = ReportOptions(run=run, **given)
    written = write_report(chosen, console.progress(), overwrite)
    page = written.page
    for error in page.errors:
        console.print_error(f"mlrpl: error: {error['error']}")
    if as_json:
        from mlrpl_cli.commands.results import print_result

        told = {"path": str(written.path), "bytes": written.bytes}
        counts = {name: getattr(page, name) for name in ("of", "images", "classes", "curves", "pictures", "errors")}
        settled = vars(chosen) | {"run": written.folder, "out": written.path, "overwrite": overwrite}
        print_result("report", told | counts, settled, page.provenance, flat=False)
    else:
        console.print_line(f"written: {written.path} ({written.bytes / 1e6:.1f} MB)")
    if page.errors:
        raise typer.Exit(1)
