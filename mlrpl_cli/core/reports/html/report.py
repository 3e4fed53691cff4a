"""`report`: one page of a run or of a sweep, written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from mlrpl_cli.core.config import BEST, LAST
from mlrpl_cli.core.io.errors import ConfigError, RunError
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.reports.html.options import ReportOptions
from mlrpl_cli.core.reports.html.page import out_path, write_page
from mlrpl_cli.core.reports.html.results import Written
from mlrpl_cli.core.reports.html.run import page_of_run
from mlrpl_cli.core.reports.html.sweep import is_sweep, page_of_sweep
from mlrpl_cli.core.runs.folder import checkpoint_path, newest_run


def write_report(options: ReportOptions, progress: Progress | None = None, overwrite: bool = False) -> Written:
    """Write the page of `options.run`, a run or a sweep (None: the newest run).

    A file that mlrpl did not write is replaced only to `overwrite` it. Raises RunError for a folder that is neither,
    ConfigError for an option that the other kind has, and DataError as `page.out_path`.
    """
    progress, folder = progress or Silent(), options.run or newest_run()
    swept = is_sweep(folder)
    _check(options, folder, swept)
    path = out_path(options.out, folder, overwrite)
    text, page = (page_of_sweep if swept else page_of_run)(options, folder, progress)
    return Written(folder, path, write_page(text, path), page)


def _check(options: ReportOptions, folder: Path, swept: bool) -> None:
    if swept and options.check:
        raise ConfigError(f"--check is for a run, and {folder} is a sweep; leave it out")
    if not swept and options.folds is not None:
        raise ConfigError(f"--folds is for a sweep, and {folder} is none; leave it out")
    if not swept and not any(checkpoint_path(folder, which).is_file() for which in (BEST, LAST)):
        told = f"{folder} is neither a run nor a sweep (it has no checkpoint and no results.jsonl)"
        raise RunError(f"{told}; name a folder that `mlrpl train` or `mlrpl sweep` wrote")
