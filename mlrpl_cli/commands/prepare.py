"""`mlrpl prepare`: from a data set to the folder that training reads."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, astuple
from pathlib import Path
from shlex import quote
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option
from mlrpl_cli.core.io.errors import first_few
from mlrpl_cli.core.labels.formats.registry import DATASETS, flag, format_of
from mlrpl_cli.core.labels.records import SCENES, PrepareOptions
from mlrpl_cli.core.labels.states import ABSENT, PRESENT

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from mlrpl_cli.core.prepared.folder import Prepared

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
    told = {dataset: _kind_and_meaning(field) for dataset, field in fields.items()}
    (dataset, field), *others = fields.items()
    kind, meaning = told[dataset]
    if len(set(told.values())) > 1:
        meaning = "; ".join(f"{owner}: {meaning}" for owner, (_, meaning) in told.items())
    elif 1 < len(fields) < len(DATASETS) / 2:
        meaning += f" ({', '.join(fields)})"
    more = {
        "min": next((bound.ge for bound in field.metadata if hasattr(bound, "ge")), None),
        "show_default": str(field.default) if type(field.default) in (str, int, float) else False,
        "rich_help_panel": None if others else f"Options of --dataset {dataset}",
    }
    meaning = f"{meaning[0].upper()}{meaning[1:]}."
    if kind is tuple:
        declared = options.several(str, "A,B", meaning, flag(name), **more)
    else:
        declared = option(METAVARS[kind], meaning, flag(name), **more)
    parameter = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
    return parameter.replace(annotation=Annotated[kind | None, declared])


def _kind_and_meaning(field: FieldInfo) -> tuple[type, str]:
    """The type, without None and str for a Literal, and the description with a Literal's choices."""
    kind: Any = field.annotation
    if NoneType in get_args(kind):
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        return str, f"{field.description}: {' or '.join(get_args(kind))}"
    return get_origin(kind) or kind, str(field.description)


def _renaming(text: str) -> tuple[str, str]:
    """ "Car=car" → ("Car", "car")."""
    old, sign, new = text.partition("=")
    if not (sign and old.strip() and new.strip()):
        raise ValueError
    return old.strip(), new.strip()


@with_format_options
def prepare(
    context: typer.Context,
    dataset: Annotated[
        str | None,
        option(
            "NAME",
            f"One of {', '.join(DATASETS)}.",
            autocompletion=lambda: list(DATASETS),
            show_default=f"what --root is recognised as; {SCENES} without --root",
        ),
    ] = None,
    keep: Annotated[
        float | None,
        option(
            "SHARE",
            "Share of the labels that stay known.",
            show_default="0.3 for scenes, voc and coco; 1 for own labels",
        ),
    ] = None,
    seed: Annotated[int, option("N", "Seed of which labels are hidden and which images validate.")] = 0,
    out: Annotated[
        Path | None, option("DIR", "Folder to write.", show_default="prepared/NAME-keepPERCENT-seedN")
    ] = None,
    validation_fraction: Annotated[
        float, option("SHARE", "Share of the training images set aside for validation.")
    ] = PrepareOptions.validation_fraction,
    classes: options.Classes = None,
    merge_classes: Annotated[
        tuple | None, options.several(_renaming, "A=B", "Class A is another name of class B; several by commas.")
    ] = None,
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

    asked = {name: value for name, value in reading.items() if value is not None}
    own = options.given(context, PrepareOptions) | {"merge_classes": dict(merge_classes or ())}
    chosen = PrepareOptions(**own, reading=asked)
    (_print_json if as_json else _print_tables)(prepare_data(chosen, console.progress()))


def _print_tables(prepared: Prepared) -> None:
    from mlrpl_cli.core.prepared.build import classes_without, rarest_classes, states_of_splits

    columns = ("split", "images", "present", "absent", "unknown", "known")
    rows = [
        (split, prepared.splits.count(split), *astuple(states), f"{states.known_share:.1%}")
        for split, states in states_of_splits(prepared).items()
    ]
    title = f"{prepared.dataset}: {len(prepared.classes)} classes, labels that training may see"
    console.print_table(title, columns, rows)
    console.print_table("Rarest classes", ("class", "known positives in train"), list(rarest_classes(prepared).items()))
    for note in prepared.notes:
        console.print_line(note)
    if prepared.unlisted:
        console.print_line(f"a cell that the labels say nothing of is {prepared.unlisted}")
    for state, what in ((ABSENT, "absent"), (PRESENT, "present")):
        if missing := classes_without(prepared, state):
            told = f"no cell is known to be {what}"
            console.print_line(
                f"{told} for {len(missing)} of {len(prepared.classes)} classes: {first_few(missing, 10)}"
            )
    console.print_line(f"mask SHA-256: {prepared.mask_sha256}")
    console.print_line(f"prepared folder: {prepared.folder}")
    console.print_line(f"next: mlrpl train --data {quote(str(prepared.folder))}")


def _print_json(prepared: Prepared) -> None:
    from mlrpl_cli.core.prepared.build import classes_without, rarest_classes, states_of_splits

    states = states_of_splits(prepared).items()
    shown = {
        "folder": prepared.folder,
        "dataset": prepared.dataset,
        "classes": prepared.classes,
        "splits": {split: {"images": prepared.splits.count(split), **asdict(counts)} for split, counts in states},
        "rarest": rarest_classes(prepared),
        "mask_sha256": prepared.mask_sha256,
        "options": prepared.options,
        "unlisted": prepared.unlisted,
        "notes": prepared.notes,
        "without_absent": classes_without(prepared, ABSENT),
        "without_present": classes_without(prepared, PRESENT),
    }
    console.print_json(shown)
