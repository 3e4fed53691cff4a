"""A file of answers read as anybody's: nothing is written, and who writes to it meanwhile is not disturbed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.labels.answers.contents import Contents, read_contents
from mlrpl_cli.core.labels.answers.database import ANOTHER, check_file, check_kind, connect, told
from mlrpl_cli.core.labels.answers.records import DataSet, Standing


def read_answers(path: Path) -> tuple[DataSet, list[Standing]]:
    """What the file is about, and the answers that stand, in the order in which they were given.

    Raises what `read_file` raises.
    """
    found = read_file(path)
    return found.data, found.ledger.standing


def read_file(path: Path) -> Contents:
    """All of the file. Raises DataError for one that is missing, damaged, of others or of another version."""
    try:
        check_file(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; {ANOTHER}") from error
    with told(path), closing(connect(path, "ro")) as connection:
        check_kind(connection, path)
        return read_contents(connection, path)
