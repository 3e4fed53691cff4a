"""`mlrpl pack`: a trained run as one file with which another machine predicts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option
from mlrpl_cli.core.export.pack_options import PackOptions

if TYPE_CHECKING:
    from mlrpl_cli.core.export.packing import PackedRun


@options.with_flags({"": PackOptions})
def pack(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="Run folder. Default: the newest below ./runs.")
    ] = None,
    overwrite: Annotated[bool, option(None, "Replace a file that mlrpl did not write.", "--overwrite")] = False,
    as_json: options.Json = False,
    **given: Any,
) -> None:
    """Pack a trained run into one file with which mlrpl predicts on another machine, without any of its data.

    It holds the head, its text features, calibration and thresholds, and the backbone's image weights where their
    licence is known to let you pass them on; else their name, address and checksum (docs/deploy.md). mlrpl predict
    --run, visualize --run and export take it in place of a run folder. Files that mlrpl pack wrote are replaced.
    """
    from mlrpl_cli.core.export.packing import pack_run

    chosen = PackOptions(run=run, **given)
    written = pack_run(chosen, console.progress(), overwrite)
    if as_json:
        from mlrpl_cli.commands.results import print_result
        from mlrpl_cli.core.runs.trained import read_run

        settled = vars(chosen) | {"run": written.run, "out": written.path, "overwrite": overwrite}
        provenance = read_run(written.run, chosen.checkpoint).provenance
        print_result("pack", written, settled, provenance, flat=False)
    else:
        _print(written)


def _print(written: PackedRun) -> None:
    if written.weights:
        says = "as you say" if written.licence_by == "packer" else "as their maker says"
        console.print_line(f"it holds the image weights of {written.backbone}, under {written.licence} {says}")
    else:
        console.print_line(f"it holds no weights of {written.backbone}: whoever predicts {_how(written)}")
    console.print_line(f"written: {written.path} ({written.bytes / 1e6:.1f} MB, SHA-256 {written.sha256})")


def _how(written: PackedRun) -> str:
    """What another machine does to come by the weights."""
    if written.file is None:
        return f"downloads them from {written.address}" if written.address else "has them installed"
    return f"gives this file with --backbone, SHA-256 {written.file_sha256 or 'unknown'}"
