"""`mlrpl prepare`: from a data set to the folder that training reads."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option
from mlrpl_cli.core.io.errors import counted, first_few
from mlrpl_cli.core.labels.formats.registry import DATASETS, formats_with_flags
from mlrpl_cli.core.labels.records import CHECKED, SCENES, VALIDATING

if TYPE_CHECKING:
    from mlrpl_cli.core.prepared.summary import PrepareSummary


def _renaming(text: str) -> tuple[str, str]:
    """ "Car=car" → ("Car", "car")."""
    old, sign, new = text.partition("=")
    if not (sign and old.strip() and new.strip()):
        raise ValueError
    return old.strip(), new.strip()


@options.with_flags(formats_with_flags())
def prepare(
    dataset: Annotated[
        str | None,
        option(
            "NAME",
            f"One of {', '.join(DATASETS)}.",
            autocompletion=lambda: list(DATASETS),
            default=f"what --root is recognised as; {SCENES} without --root",
        ),
    ] = None,
    keep: Annotated[
        float | None, option("X", "Share of the labels that stay known.", default="0.3; 1 for own labels")
    ] = None,
    seed: Annotated[
        int | None, option("N", "Seed of which labels are hidden and which images validate.", default=0)
    ] = None,
    out: Annotated[
        Path | None,
        option(
            "FOLDER",
            "Folder to write.",
            default="prepared/NAME-keepPERCENT-seedN, NAME the data set or the folder or file with your labels",
        ),
    ] = None,
    update: Annotated[
        Path | None,
        option(
            "FOLDER",
            "Prepare this folder again from what its labels are now: its images keep their splits, new ones are added.",
        ),
    ] = None,
    replace: Annotated[
        bool, option(None, "Replace a folder made with other options or from other labels.", "--replace")
    ] = False,
    validation_fraction: Annotated[
        float | None,
        option("X", "Share of the training images set aside for validation; 0 is none.", default=VALIDATING),
    ] = None,
    folds: Annotated[
        int | None,
        option("K", "Divide the training images into K folds: train measures itself on those it leaves out in turn."),
    ] = None,
    classes: options.Classes = None,
    merge_classes: Annotated[
        tuple | None, options.several(_renaming, "A=B,…", "Class A is another name of class B.")
    ] = None,
    download: Annotated[
        bool, option(None, "Fetch VOC 2007 or COCO 2014 first, into --root or ./datasets/NAME.", "--download")
    ] = False,
    check_images: Annotated[
        bool | None,
        option(
            None,
            "Find empty, truncated and other broken images before anything is written.",
            "--check-images/--no-check-images",
            default=f"for at most {CHECKED:,} images",
        ),
    ] = None,
    drop_broken: Annotated[bool, option(None, "Leave broken images out rather than stop.", "--drop-broken")] = False,
    allow_truncated: Annotated[
        bool, option(None, "Take JPEGs that lack only their last bytes.", "--allow-truncated")
    ] = False,
    as_json: options.Json = False,
    **reading: Any,
) -> None:
    """Read a data set, hide part of its labels, and write the prepared folder.

    Without options it renders scenes, a data set that needs no download. The same options give the same bytes.

    Own images without a split are divided by a hash of their names, so a table may grow: --update takes it as it is.
    """
    from mlrpl_cli.commands.results import print_result
    from mlrpl_cli.core.prepared.build import make
    from mlrpl_cli.core.prepared.summary import summary_of
    from mlrpl_cli.core.runs.provenance import of_prepared

    asked = {
        "dataset": dataset, "keep": keep, "seed": seed, "out": out, "validation_fraction": validation_fraction,
        "folds": folds, "classes": classes, "merge_classes": dict(merge_classes or ()) or None,
        "download": download or None,
        "reading": reading or None, "check_images": check_images, "drop_broken": drop_broken or None,
        "allow_truncated": allow_truncated or None, "replace": replace or None,
    }  # fmt: skip
    made = make({name: value for name, value in asked.items() if value is not None}, update, console.progress())
    summary = summary_of(made)
    if as_json:
        print_result("prepare", summary, summary.options, of_prepared(made.prepared))
    else:
        _print_tables(summary)


def _print_tables(summary: PrepareSummary) -> None:
    rows = [(split, *astuple(counts), f"{counts.known_share:.1%}") for split, counts in summary.splits.items()]
    title = f"{summary.dataset}: {counted(len(summary.classes), 'class')}, labels that training may see"
    console.print_table(title, ("split", "images", "present", "absent", "unknown", "known"), rows)
    console.print_table("Rarest classes", ("class", "known positives in train"), list(summary.rarest.items()))
    if summary.changed is not None:
        console.print_line(f"changed: {summary.changed}")
    for note in summary.notes:
        console.print_line(note)
    if summary.unlisted:
        console.print_line(f"a cell that the labels say nothing of is {summary.unlisted}")
    if summary.proposals is not None:
        count = sum(summary.proposals.values())
        console.print_line(f"machines propose labels of {count:,} unverified cells, which are kept apart from labels")
    for state, names in (("absent", summary.without_absent), ("present", summary.without_present)):
        if names:
            of = f"{len(names)} of {len(summary.classes)} classes: {first_few(names, 10)}"
            console.print_line(f"no cell is known to be {state} for {of}")
    console.print_line(f"mask SHA-256: {summary.mask_sha256}")
    console.print_line(f"prepared folder: {summary.folder}")
    console.print_line(f"next: mlrpl train --data {quote(str(summary.folder))}")
