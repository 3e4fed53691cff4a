"""What the file of a run says beside what a checkpoint says of itself."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pydantic.dataclasses
from pydantic import ConfigDict, Field

from mlrpl_cli import __version__
from mlrpl_cli.core.config import Which
from mlrpl_cli.core.io import schema
from mlrpl_cli.core.io.reading import shown

FORMAT = 1
Text = Annotated[str, Field(max_length=schema.LONGEST_TEXT)]


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class PackInfo:
    """Where the head and the backbone's weights come from, and by which right the weights are here."""

    checkpoint: Which
    """Which of the run's it is."""
    run_sha256: Text
    """Of the content of that checkpoint in the run folder."""
    seed: int | None
    """Of the training; null where it is not known."""
    family: Text | None
    """That builds the backbone of the weights in the file; null where none are in it."""
    licence: Text | None
    """Of the backbone's weights; null where it is not known."""
    licence_by: Literal["maker", "packer"] | None
    """Who says that: the weights' maker, or whoever packed the run."""
    address: Text | None
    """Where the weights can be had; null where that is not known."""
    file: Text | None
    """What the backbone's file or folder was called; null for a backbone that is known by name."""
    file_sha256: Text | None
    """Of that file; null for a folder."""
    left_out: Text | None
    """Why the weights are not in the file; null where they are."""
    config: dict[str, Any] | None
    """The options of the training but for places and what depends on a machine; null where they are not known."""
    mlrpl: Text = __version__
    """The version that wrote the file."""
    format: int = FORMAT


def info_in(text: str) -> PackInfo:
    """What `PackInfo` is as JSON. Raises ValueError for anything else."""
    values = json.loads(text)
    if isinstance(values, dict) and values.get("format") != FORMAT:
        raise ValueError(f"expected format {FORMAT} of packed runs, got {shown(values.get('format'))}; update mlrpl")
    return schema.validated(PackInfo, values)
