"""Options that several commands share, so that each has one name, one meaning and one help text.

`None` always means "not given"; the default then comes from the configuration or from the run itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Prepared folder.", show_default="the newest below ./prepared"),
]
Run = Annotated[
    Path | None,
    typer.Option("--run", metavar="DIR", help="Folder of a training run.", show_default="the newest below ./runs"),
]
Checkpoint = Annotated[
    str,
    typer.Option("--checkpoint", metavar="NAME", help="best (by the split that selects) or last."),
]
Classes = Annotated[
    str | None,
    typer.Option("--classes", metavar="A,B", help="Only these classes.", show_default="all"),
]
Device = Annotated[
    str | None,
    typer.Option("--device", metavar="NAME", help="auto, cpu or cuda; auto takes a GPU if there is one."),
]
Precision = Annotated[
    str | None,
    typer.Option("--precision", metavar="NAME", help="float32, bf16 or auto: what the frozen encoders compute in."),
]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", metavar="N", min=1, help="Images that go through the network together."),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", min=0, help="Processes that read images; 0 reads in this one."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout instead of tables.")]


def names(text: str | None) -> list[str]:
    """ "a, b" → ["a", "b"]; nothing given → []."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]
