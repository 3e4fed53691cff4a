"""`mlrpl export`: a trained run as one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option
from mlrpl_cli.core.export.model_options import ModelOptions

if TYPE_CHECKING:
    from mlrpl_cli.core.export.models import ExportedModel


@options.with_flags({"": ModelOptions})
def export(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="RUN", help="Run folder, or file of pack. Default: the newest below ./runs."),
    ] = None,
    overwrite: Annotated[bool, option(None, "Replace a file that mlrpl did not write.", "--overwrite")] = False,
    as_json: options.Json = False,
    **given: Any,
) -> None:
    """Write a trained run as one file that needs neither the run nor its backbone nor mlrpl.

    Images of the run's size go in as uint8 RGB, and calibrated probabilities, decisions and attention maps come out;
    normalisation, the frozen image encoder, calibration and thresholds are inside. Classes, thresholds, the input rule
    and checksums stand in the file's metadata (docs/deploy.md). mlrpl predict --model takes an ONNX file. Files that
    mlrpl export wrote are replaced.
    """
    from mlrpl_cli.core.export.models import export_model
    from mlrpl_cli.core.runs.trained import read_run

    chosen = ModelOptions(run=run, **given)
    if "checkpoint" in given and run is not None and run.is_file():
        read_run(run).check_which(given["checkpoint"])
    written = export_model(chosen, console.progress(), overwrite)
    if as_json:
        from mlrpl_cli.commands.results import print_result

        trained = read_run(written.run, chosen.checkpoint)
        settled = vars(chosen) | {"run": written.run, "checkpoint": trained.which}
        settled |= {"out": written.path, "overwrite": overwrite}
        print_result("export", written, settled, trained.provenance, flat=False)
    else:
        _print(written)


def _print(written: ExportedModel) -> None:
    if written.map_before is not None:
        console.print_line(
            f"mAP on the validation images: {console.percent(written.map_before)} in float32, "
            f"{console.percent(written.map_after)} in 8 bits"
        )
    if not written.calibrated:
        told = "no threshold was chosen for this run"
        console.print_line(f"{told}: probabilities are uncalibrated, and decisions all unsure")
    licence = written.licence or "a licence that is not known here"
    console.print_line(f"it holds the image weights of {written.backbone}, under {licence}")
    console.print_line(f"written: {written.path} ({written.bytes / 1e6:.1f} MB)")
