"""Files beside one another that a format needs: one that cannot be read is a problem among the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from mlrpl_cli.core.io.errors import DataError, Problems, one_line
from mlrpl_cli.core.io.reading import GIB, read_json, read_text, shown

MOST_BYTES = GIB
"""Of JSON, ten times the largest published file."""

T = TypeVar("T", list, dict)


def json_of(path: Path, kind: type[T], what: str, problems: Problems) -> T:
    """The list or object in a file, which holds `what`; an empty one, and a problem, for a file that does not."""
    with _told(path, problems):
        content = read_json(path, MOST_BYTES)
        if isinstance(content, kind):
            return content
        problems.add(f"files hold no {what}", f"{path.name}: {shown(content)}")
    return kind()


def text_of(path: Path, most: int, problems: Problems) -> str:
    """The text of a file of at most `most` bytes in UTF-8; "", and a problem, for one that cannot be read."""
    with _told(path, problems):
        return read_text(path, most, "utf-8-sig")
    return ""


@contextmanager
def _told(path: Path, problems: Problems) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        problems.add("files are missing", path.name)
    except (OSError, ValueError, DataError) as error:
        problems.add("files cannot be read", f"{path.name}: {one_line(error)}")
