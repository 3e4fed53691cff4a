"""How the tests of the label formats read, and what they ask of a refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from mlrpl_cli.core.io.errors import MlrplError
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.records import Format, Reading, Records


def reading_of(
    kind: type[Format],
    root: Path,
    classes: Sequence[str] | None = None,
    merged: Mapping[str, str] | None = None,
    **options: Any,
) -> tuple[Records, Reading]:
    """What a format makes of the files at `root`, and what it said on the way."""
    reading = Reading(root, Silent(), classes, merged or {})
    return kind(root=root, **options).read(reading), reading


def read(kind: type[Format], root: Path, **options: Any) -> Records:
    """What a format makes of the files at `root`."""
    return reading_of(kind, root, **options)[0]


def problem(kind: type[Format], root: Path, **options: Any) -> str:
    """The one line with which it refuses them."""
    with pytest.raises(MlrplError) as caught:
        read(kind, root, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)
