"""JSON files of the formats: one that cannot be read, or holds something else, is a problem among the others."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from mlrpl_cli.core.io.errors import DataError, Problems, one_line
from mlrpl_cli.core.io.reading import GIB, read_json, shown

MOST_BYTES = GIB
"""Ten times the largest published file."""

T = TypeVar("T", list, dict)


def json_of(path: Path, kind: type[T], what: str, problems: Problems) -> T:
    """The list or object in a file, which holds `what`; an empty one, and a problem, for a file that does not."""
    try:
        content = read_json(path, MOST_BYTES)
        if isinstance(content, kind):
            return content
        problems.add(f"files hold no {what}", f"{path.name}: {shown(content)}")
    except FileNotFoundError:
        problems.add("files are missing", path.name)
    except (OSError, ValueError, DataError) as error:
        problems.add("files cannot be read", f"{path.name}: {one_line(error)}")
    return kind()
