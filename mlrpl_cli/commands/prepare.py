"""`mlrpl prepare`: from a data set to the folder that training reads."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote
from types import NoneType
from typing import Annotated, Any, get_args

import typer
from pydantic.fields import FieldInfo

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option
from mlrpl_cli.core.labels.formats.registry import DATASETS, flag, format_of
from mlrpl_cli.core.labels.records import PrepareOptions

METAVARS: Mapping[type, str | None] = {int: "N", float: "SHARE", Path: "PATH", str: "NAME", bool: None}


def with_format_options(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with a flag for each option of each label format; what is given reaches its `**reading`.

    A flag of one format is listed under it; a flag that several formats share stands among the general ones.
    """
    owners: dict[str, dict[str, FieldInfo]] = {}
    for dataset in DATASETS:
        for name, field in format_of(dataset).model_fields.items():
            owners.setdefault(name, {})[dataset] = field
    signature = inspect.signature(command, eval_str=True)
    *own, _ = signature.parameters.values()
    flags = [_parameter(name, fields) for name, fields in owners.items()]
    command.__signature__ = signature.replace(parameters=[*own, *flags])  # type: ignore[attr-defined]
    return command


def _parameter(name: str, fields: Mapping[str, FieldInfo]) -> inspect.Parameter:
    """A flag whose default is None, "not given", so that the format itself fills its default in."""
    (dataset, field), *others = fields.items()
    kind, meaning = _kind_and_meaning(field)
    shared = "; ".join(f"{dataset}: {_kind_and_meaning(field)[1]}" for dataset, field in fields.items())
    declared = option(
        METAVARS[kind],
        f"{shared if others else meaning[0].upper() + meaning[1:]}.",
        flag(name),
        min=next((bound.ge for bound in field.metadata if hasattr(bound, "ge")), None),
        show_default=str(field.default) if type(field.default) in (str, int, float) else False,
        rich_help_panel=None if others else f"Options of --dataset {dataset}",
    )
    parameter = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
    return parameter.replace(annotation=Annotated[kind | None, declared])


def _kind_and_meaning(field: FieldInfo) -> tuple[type, str]:
    """The type, without None and str for a Literal, and the description with a Literal's choices."""
    kind: Any = field.annotation
    if NoneType in get_args(kind):
        kind = get_args(kind)[0]
    choices = get_args(kind)
    return str if choices else kind, f"{field.description}{': ' if choices else ''}{' or '.join(choices)}"


@with_format_options
def prepare(
    context: typer.Context,
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

    asked = {name: value for name, value in reading.items() if value is not None}
    chosen = PrepareOptions(**options.given(context, PrepareOptions), reading=asked)
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
        _, present, absent, unknown = counts.values()
        rows.append((split, *counts.values(), f"{(present + absent) / (present + absent + unknown):.1%}"))
    title = f"{prepared.dataset}: {len(prepared.classes)} classes, labels that training may see"
    console.print_table(title, ("split", "images", "present", "absent", "unknown", "known"), rows)
    console.print_table("Rarest classes", ("class", "known positives in train"), list(rarest.items()))
    console.print_line(f"mask SHA-256: {prepared.mask_sha256}")
    console.print_line(f"prepared folder: {prepared.folder}")
    console.print_line(f"next: mlrpl train --data {quote(str(prepared.folder))}")
