"""How an option is declared, and those that several commands share, each with one name, one meaning and one help text.

`None` always means "not given"; the default then comes from the configuration or from the run itself.
"""

from __future__ import annotations

import csv
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer


def option(metavar: str | None, help: str, *flags: str, **more: Any) -> Any:
    """A Typer option, called like its parameter unless `flags` name it; `more` is what else Typer takes."""
    return typer.Option(*flags, metavar=metavar, help=help, **more)


def several(kind: type, metavar: str, help: str, *flags: str, **more: Any) -> Any:
    """An option for "a, b": (kind("a"), kind("b")), each once, or a usage error for what `kind` does not take.

    A name with a comma is written in double quotes.
    """

    def parse(text: str) -> tuple:
        try:
            parts = next(csv.reader([text], skipinitialspace=True), [])
            return tuple(dict.fromkeys(kind(part.strip()) for part in parts if part.strip()))
        except (ValueError, csv.Error) as error:
            raise typer.BadParameter(f"expected {metavar} separated by commas, got '{text}'") from error

    return option(metavar, help, *flags, parser=parse, **more)


def given(context: typer.Context, kind: Any) -> dict[str, Any]:
    """The options on the command line that are fields of the dataclass `kind`, by name; none that is None."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in context.params.items() if name in names and value is not None}


Data = Annotated[Path | None, option("DIR", "Prepared folder.", show_default="the newest below ./prepared")]
Run = Annotated[Path | None, option("DIR", "Folder of a training run.", show_default="the newest below ./runs")]
Checkpoint = Annotated[str, option("NAME", "best (by the split that selects) or last.")]
Classes = Annotated[tuple | None, several(str, "A,B", "Only these classes.", show_default="all")]
Device = Annotated[str | None, option("NAME", "auto, cpu or cuda; auto takes a GPU if there is one.")]
Precision = Annotated[str | None, option("NAME", "float32, bf16 or auto: what the frozen encoders compute in.")]
BatchSize = Annotated[int | None, option("N", "Images that go through the network together.", min=1)]
Workers = Annotated[int | None, option("N", "Processes that read images; 0 reads in this one.", min=0)]
Json = Annotated[bool, option(None, "Print the result as JSON on stdout instead of tables.", "--json")]
