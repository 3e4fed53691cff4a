"""Which files of a folder are the tables that are meant, and the splits that their names say."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mlrpl_cli.core.io.errors import DataError, first_few
from mlrpl_cli.core.labels.records import SPLIT_NAMES, SPLITS, TRAIN

TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".csv.gz", ".tsv.gz")


SUFFIXES = (*TEXT_SUFFIXES, ".parquet", ".xlsx")
"""What counts as a table in a folder; a file that is named itself may have any suffix of text."""


def table_file(root: Path) -> Path:
    """`root` itself, or the only table in it when it is a folder. Raises DataError when there is not just one."""
    if not os.path.isdir(root):  # unlike Path.is_dir it has an answer for a name that is too long, too
        return root
    tables = tables_in(root)
    if len(tables) != 1:
        found = first_few(path.name for path in tables) or "none"
        raise DataError(f"{root} is a folder with {len(tables)} tables ({found}); name the file itself with --root")
    return tables[0]


def table_files(root: Path) -> dict[Path, str | None]:
    """The tables that `root` means, training first, and the split that each is called after.

    A folder of several means those called after splits, such as train.csv and test_labels.csv, if all are but forms of
    predictions, and one is of training; else they are not clear. Raises DataError unless they are.
    """
    found = tables_in(root) if os.path.isdir(root) else []
    named = {path: split for path in found if (split := split_in(path.name))}
    labels = [path for path in found if "submission" not in path.name.lower()]
    others = [path for path in labels if path not in named]
    if len(labels) == 1:
        return {labels[0]: None}
    if len(named) < 2 or others or TRAIN not in named.values() or len(set(named.values())) < len(named):
        return {table_file(root): None}
    return dict(sorted(named.items(), key=lambda item: SPLITS.index(item[1])))


def split_in(name: str) -> str | None:
    """The split of the only word in the name of a file that says one."""
    words = re.split(r"[^a-z]+", name.lower().split(".")[0])
    told = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
    return told.pop() if len(told) == 1 else None


def tables_in(folder: Path) -> list[Path]:
    """The tables in a folder, sorted; plain text that is called .txt does not count."""
    suffixes = tuple(suffix for suffix in SUFFIXES if suffix != ".txt")
    try:
        return sorted(path for path in folder.iterdir() if path.name.lower().endswith(suffixes))
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror}; name the file itself with --root") from error
