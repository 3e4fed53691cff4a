"""`mlrpl prepare`: from a data set to the folder that training reads."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.core.labels.formats.registry import DATASETS, DEFAULT_DATASET
from mlrpl_cli.core.labels.records import PrepareOptions, ReadOptions

if TYPE_CHECKING:
    from mlrpl_cli.core.prepared.build import PreparedSummary
    from mlrpl_cli.core.prepared.folder import Prepared

VOC, COCO, TABLE, SCENES = "VOC", "COCO", "Table", "Scenes"


def prepare(
    dataset: Annotated[
        str,
        typer.Option(metavar="NAME", help=f"One of {', '.join(DATASETS)}.", autocompletion=lambda: list(DATASETS)),
    ] = DEFAULT_DATASET,
    root: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The data set's folder, or the table's file.")
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Share of the labels that stay known.", show_default="0.3; 1 for a table"),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Seed of which labels are hidden and which images validate.")
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder to write.", show_default="prepared/NAME-keepPERCENT-seedN"),
    ] = None,
    validation_fraction: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the training images set aside for validation.")
    ] = PrepareOptions.validation_fraction,
    classes: options.Classes = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch VOC 2007 or COCO 2014 first, into --root or ./datasets/NAME.")
    ] = False,
    year: Annotated[
        str | None,
        typer.Option(
            metavar="YEAR", help="Release: 2007 or 2012 (VOC), 2014 or 2017 (COCO).", rich_help_panel="VOC, COCO"
        ),
    ] = None,
    difficult: Annotated[
        str,
        typer.Option(metavar="STATE", help="What a difficult object means: absent or unknown.", rich_help_panel=VOC),
    ] = ReadOptions.difficult,
    annotated_only: Annotated[
        bool, typer.Option("--annotated-only", help="Leave out images without annotation.", rich_help_panel=COCO)
    ] = False,
    coding: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What cells of -1 and 0 mean: minus-one-absent (0 unknown) or minus-one-unknown (0 absent).",
            rich_help_panel=TABLE,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where the images are.", show_default="the table's folder", rich_help_panel=TABLE
        ),
    ] = None,
    test_fraction: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Share of the test images, without a split column.", rich_help_panel=TABLE),
    ] = ReadOptions.test_fraction,
    train_images: Annotated[
        int, typer.Option(metavar="N", min=2, help="Training images to render.", rich_help_panel=SCENES)
    ] = ReadOptions.train_images,
    test_images: Annotated[
        int, typer.Option(metavar="N", min=0, help="Test images to render.", rich_help_panel=SCENES)
    ] = ReadOptions.test_images,
    scenes_seed: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Seed of the images (of a table: of its test split).", rich_help_panel=SCENES
        ),
    ] = ReadOptions.seed,
    as_json: options.Json = False,
) -> None:
    """Read a data set, hide part of its labels, and write the prepared folder.

    Without options it renders scenes, a data set that needs no download. The same options give the same bytes.
    """
    from mlrpl_cli.core.prepared.build import prepare as prepare_data
    from mlrpl_cli.core.prepared.build import summarize

    prepared = prepare_data(
        PrepareOptions(
            dataset=dataset,
            keep=keep,
            seed=seed,
            out=out,
            validation_fraction=validation_fraction,
            classes=None if classes is None else tuple(options.names(classes)),
            download=download,
            reading=ReadOptions(
                root=root,
                year=year,
                difficult=difficult,
                annotated_only=annotated_only,
                coding=coding,
                image_folder=images,
                test_fraction=test_fraction,
                seed=scenes_seed,
                train_images=train_images,
                test_images=test_images,
            ),
        ),
        console.progress(),
    )
    (_print_json if as_json else _print_tables)(prepared, summarize(prepared))


def _print_tables(prepared: Prepared, summary: PreparedSummary) -> None:
    console.print_table(
        f"{prepared.dataset}: {len(prepared.classes)} classes, labels that training may see",
        ("split", "images", "present", "absent", "unknown", "known"),
        [
            (
                part.split,
                part.images,
                part.states.present,
                part.states.absent,
                part.states.unknown,
                f"{part.states.known_share:.1%}",
            )
            for part in summary.splits
        ],
    )
    console.print_table("Rarest classes", ("class", "known positives in train"), summary.rarest)
    console.print_line(f"mask SHA-256: {summary.mask_sha256}")
    console.print_line(f"prepared folder: {prepared.folder}")
    console.print_line(f"next: mlrpl train --data {quote(str(prepared.folder))}")


def _print_json(prepared: Prepared, summary: PreparedSummary) -> None:
    console.print_json(
        {
            "folder": prepared.folder,
            "dataset": prepared.dataset,
            "classes": prepared.classes,
            "splits": {part.split: {"images": part.images, **asdict(part.states)} for part in summary.splits},
            "rarest": dict(summary.rarest),
            "mask_sha256": summary.mask_sha256,
            "options": prepared.options,
        }
    )
