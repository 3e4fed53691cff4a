"""`mlrpl backbones`: the backbones that --backbone takes by name, and which of them are on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option

if TYPE_CHECKING:
    from mlrpl_cli.core.backbones.listing import BackboneEntry

COLUMNS = ("name", "pretraining", "grid", "D", "E", "licence", "downloaded")


def backbones(
    everything: Annotated[bool, option(None, "List all that open_clip knows, too.", "--all")] = False,
    find: Annotated[str | None, option("TEXT", "List those whose names hold this, such as siglip2.")] = None,
    as_json: options.Json = False,
) -> None:
    """List the backbones that --backbone takes by name.

    Files, and hf-hub:ORG/NAME and local-dir:FOLDER as open_clip writes them, are backbones as well (docs/backbones.md).
    The grid is that of the default image size; D and E are the channels of a position and of the joint space.
    """
    from mlrpl_cli.core.backbones.listing import list_backbones

    listing = list_backbones(everything, find)
    for problem in listing.problems:
        console.print_warning(problem)
    if as_json:
        from mlrpl_cli.commands.results import print_result

        print_result("backbones", listing, {"all": everything, "find": find}, flat=False)
        return
    if listing.backbones:
        console.print_table("Backbones", COLUMNS, [_row(entry) for entry in listing.backbones])
    else:
        console.print_line(f"no backbone's name holds '{find}'; mlrpl backbones --all lists them")
    if listing.more:
        console.print_line("More with --all, or --find TEXT: what open_clip knows and is not downloaded.")


def _row(entry: BackboneEntry) -> tuple[object, ...]:
    told = (entry.pretraining, f"{entry.grid} x {entry.grid}", entry.channels, entry.embed_dim, entry.licence)
    there = {True: "yes", False: "no", None: None}[entry.downloaded]
    return entry.name, *(console.MISSING if value is None else value for value in (*told, there))
