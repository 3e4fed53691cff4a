"""What `review` may be asked for. Help reads it: no numpy, no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from mlrpl_cli.core.io.schema import Folder, Name
from mlrpl_cli.core.labels.answers.records import Disagreements
from mlrpl_cli.core.runs.selection import RunOnDataOptions

ANSWERS, SUFFIX = Path("answers"), ".sqlite"
"""Where answers are kept when nothing else is said, below the current folder."""
PORTS = 65535


@dataclass(frozen=True)
class ReviewOptions(RunOnDataOptions):
    """What is asked about, by what, and where answers go."""

    data: Folder | None = Field(default=None, description="Prepared folder. Default: the newest below ./prepared")
    run: Folder | None = Field(
        None,
        description="Run whose backbone describes the images, and whose attention is shown. Default: the zero-shot "
        "scores of --backbone",
    )
    backbone: Name | None = Field(
        default=None, description="Without --run: what describes the images. Default: that of mlrpl train"
    )
    answers: Path | None = None
    """File of answers, which are added to those in it. Default: answers/NAME.sqlite below the current folder"""
    disagreements: Disagreements = "unknown"
    """What a cell counts as that some say is present and others say is absent: unknown, newest or majority"""
    person: Name | None = None
    """Who answers, unless a page is told another name. Default: each browser asks"""
    port: Annotated[int | None, Field(ge=0, le=PORTS)] = None
    """Port of 127.0.0.1. Default: that of the last time where it is free, else any free one"""
