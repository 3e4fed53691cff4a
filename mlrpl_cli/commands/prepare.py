"""`mlrpl prepare`: from a data set to the folder that training reads."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Any

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option
from mlrpl_cli.core.labels.formats.registry import DATASETS, format_of
from mlrpl_cli.core.labels.records import PrepareOptions


@options.with_flags({name: format_of(name) for name in DATASETS})
def prepare(
    dataset: Annotated[
        str, option("NAME", f"One of {', '.join(DATASETS)}.", autocompletion=lambda: list(DATASETS))
    ] = PrepareOptions.dataset,
    keep: Annotated[
        float | None, option("SHARE", "Share of the labels that stay known.", show_default="0.3; 1 for a table")
    ] = None,
    seed: Annotated[int, option("N", "Seed of which labels are hidden and which images validate.")] = 0,
    out: Annotated[
        Path | None, option("DIR", "Folder to write.", show_default="prepared/NAME-keepPERCENT-seedN")
    ] = None,
    validation_fraction: Annotated[
        float, option("SHARE", "Share of the training images set aside for validation.")
    ] = PrepareOptions.validation_fraction,
    classes: options.Classes = None,
    download: Annotated[
        bool, option(None, "Fetch VOC 2007 or COCO 2014 first, into --root or ./datasets/NAME.", "--download")
    ] = False,
    as_json: options.Json = False,
    **reading: Any,
) -> None:
    """Read a data set, hide part of its labels, and write the prepared folder.

    Without options it renders scenes, a data set that needs no download. The same options give the same bytes.
    """
    from mlrpl_cli.core.prepared.build import prepare as prepare_data
    from mlrpl_cli.core.prepared.build import rarest_classes, states_of_splits

    chosen = PrepareOptions(dataset, keep, seed, out, validation_fraction, classes, download, reading)
    prepared = prepare_data(chosen, console.progress())
    rarest = rarest_classes(prepared)
    splits = {
        split: {"images": prepared.splits.count(split), **states}
        for split, states in states_of_splits(prepared).items()
    }
    if as_json:
        data = {"folder": prepared.folder, "dataset": prepared.dataset, "classes": prepared.classes, "splits": splits}
        labels = {"rarest": rarest, "mask_sha256": prepared.mask_sha256, "options": prepared.options}
        console.print_json(data | labels)
        return
    rows = []
    for split, counts in splits.items():
        cells = counts["present"] + counts["absent"] + counts["unknown"]
        rows.append((split, *counts.values(), f"{1 - counts['unknown'] / cells:.1%}"))
    title = f"{prepared.dataset}: {len(prepared.classes)} classes, labels that training may see"
    console.print_table(title, ("split", "images", "present", "absent", "unknown", "known"), rows)
    console.print_table("Rarest classes", ("class", "known positives in train"), list(rarest.items()))
    console.print_line(f"mask SHA-256: {prepared.mask_sha256}")
    console.print_line(f"prepared folder: {prepared.folder}")
    console.print_line(f"next: mlrpl train --data {quote(str(prepared.folder))}")
