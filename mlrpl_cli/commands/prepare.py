"""`mlrpl prepare`: from a data set to the folder that training reads."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Any

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option
from mlrpl_cli.core.io.errors import first_few
from mlrpl_cli.core.labels.formats.registry import DATASETS, formats_with_flags
from mlrpl_cli.core.labels.records import CHECKED, SCENES, VALIDATING
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, classes_without


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
    from mlrpl_cli.core.prepared.build import make, rarest_classes, states_of_splits
    from mlrpl_cli.core.runs.provenance import of_prepared

    asked = {
        "dataset": dataset, "keep": keep, "seed": seed, "out": out, "validation_fraction": validation_fraction,
        "folds": folds, "classes": classes, "merge_classes": dict(merge_classes or ()) or None,
        "download": download or None,
        "reading": reading or None, "check_images": check_images, "drop_broken": drop_broken or None,
        "allow_truncated": allow_truncated or None, "replace": replace or None,
    }  # fmt: skip
    made = make({name: value for name, value in asked.items() if value is not None}, update, console.progress())
    prepared = made.prepared
    rarest = rarest_classes(prepared)
    splits = {
        split: {"images": prepared.splits.count(split), **states}
        for split, states in states_of_splits(prepared).items()
    }
    states = {"absent": ABSENT, "present": PRESENT}
    without = {name: classes_without(state, prepared.classes, prepared.full_labels) for name, state in states.items()}
    if as_json:
        data = {"folder": prepared.folder, "dataset": prepared.dataset, "classes": prepared.classes, "splits": splits}
        labels = {"rarest": rarest, "mask_sha256": prepared.mask_sha256, "options": prepared.options}
        told = {"unlisted": prepared.unlisted, "notes": prepared.notes, "proposals": prepared.proposals}
        became = {"written": made.is_written} | ({"changed": vars(made.changes)} if made.changes is not None else {})
        lacking = {f"without_{state}": names for state, names in without.items()}
        print_result("prepare", data | labels | told | lacking | became, prepared.options, of_prepared(prepared))
        return
    rows = []
    for split, counts in splits.items():
        cells = counts["present"] + counts["absent"] + counts["unknown"]
        rows.append((split, *counts.values(), f"{1 - counts['unknown'] / cells:.1%}"))
    title = f"{prepared.dataset}: {len(prepared.classes)} classes, labels that training may see"
    console.print_table(title, ("split", "images", "present", "absent", "unknown", "known"), rows)
    console.print_table("Rarest classes", ("class", "known positives in train"), list(rarest.items()))
    if made.changes is not None:
        console.print_line(f"changed: {made.changes}")
    for note in prepared.notes:
        console.print_line(note)
    if prepared.unlisted:
        console.print_line(f"a cell that the labels say nothing of is {prepared.unlisted}")
    if prepared.proposals is not None:
        count = sum(prepared.proposals.values())
        console.print_line(f"machines propose labels of {count:,} unverified cells, which are kept apart from labels")
    for state, names in without.items():
        if names:
            of = f"{len(names)} of {len(prepared.classes)} classes: {first_few(names, 10)}"
            console.print_line(f"no cell is known to be {state} for {of}")
    console.print_line(f"mask SHA-256: {prepared.mask_sha256}")
    console.print_line(f"prepared folder: {prepared.folder}")
    console.print_line(f"next: mlrpl train --data {quote(str(prepared.folder))}")
