"""`mlrpl export-labels`: labels or predictions in a format that other programs read."""

from __future__ import annotations

from typing import Annotated, Any

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option
from mlrpl_cli.core.config import BEST
from mlrpl_cli.core.export.options import ExportOptions
from mlrpl_cli.core.labels.writers.registry import FORMATS


@options.with_flags({"": ExportOptions})
def export_labels(
    format: Annotated[str, option("NAME", f"One of {', '.join(FORMATS)}.", autocompletion=lambda: list(FORMATS))],
    overwrite: Annotated[bool, option(None, "Replace what an earlier export wrote.", "--overwrite")] = False,
    as_json: options.Json = False,
    **given: Any,
) -> None:
    """Write the labels of a prepared folder, or a run's predictions on its images, as a file for other programs.

    It says what the format cannot hold, and the command that reads the file back. table, long and coco hold unknown
    cells; tags, labelstudio, cvat and fiftyone list only what is present.
    """
    from mlrpl_cli.core.export import labels

    chosen = ExportOptions(format=format, **given)
    result = labels.export_labels(chosen, console.progress(), overwrite)
    if as_json:
        from mlrpl_cli.commands.results import print_result
        from mlrpl_cli.core.prepared.folder import read_prepared
        from mlrpl_cli.core.runs.provenance import of_prepared, of_run

        if chosen.run is None:
            provenance = of_prepared(read_prepared(result.data))
        else:
            from mlrpl_cli.core.runs.checkpoint import load_checkpoint

            provenance = of_run(chosen.run, load_checkpoint(chosen.run, chosen.checkpoint or BEST).info)
        print_result("export-labels", result, vars(chosen) | {"data": result.data}, provenance)
        return
    rows = [(result.images, result.classes, *result.states.values())]
    console.print_table(f"Labels as {result.format}", ("images", "classes", *result.states), rows)
    console.print_exported(result)
