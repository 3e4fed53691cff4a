"""Which files of a folder are the tables that are meant, and the splits that their names say."""

from __future__ import annotations

import os
from pathlib import Path

from mlrpl_cli.core.io.errors import DataError, first_few
from mlrpl_cli.core.labels.own import split_in
from mlrpl_cli.core.labels.records import SPLITS, TRAIN

SUFFIXES = (".csv", ".tsv", ".tab", ".csv.gz", ".tsv.gz", ".parquet", ".xlsx")
"""What counts as a table in a folder; a file that is named itself may have any suffix of text."""


def table_files(root: Path) -> dict[Path, str | None]:
    """The tables that `root` means, training first, and the split that each is called after.

    `root` itself, or the only table in it when it is a folder; of several those called after splits, such as train.csv
    and test_labels.csv, if all are but forms of predictions, and one is of training. Raises DataError for others.
    """
    if not os.path.isdir(root):  # unlike Path.is_dir it has an answer for a name that is too long, too
        return {root: None}
    found = tables_in(root)
    labels = [path for path in found if "submission" not in path.name.lower()]
    if len(only := labels if len(labels) == 1 else found) == 1:
        return {only[0]: None}
    named = {path: split for path in found if (split := split_of_file(path))}
    others = [path for path in labels if path not in named]
    if len(named) < 2 or others or TRAIN not in named.values() or len(set(named.values())) < len(named):
        told = first_few(path.name for path in found) or "none"
        raise DataError(f"{root} is a folder with {len(found)} tables ({told}); name the file itself with --root")
    return dict(sorted(named.items(), key=lambda item: SPLITS.index(item[1])))


def split_of_file(path: Path) -> str | None:
    """The split that the name of a table says."""
    return split_in(path.name.split(".")[0])


def tables_in(folder: Path) -> list[Path]:
    """The tables in a folder, sorted; plain text that is called .txt does not count."""
    try:
        return sorted(path for path in folder.iterdir() if path.name.lower().endswith(SUFFIXES))
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror}; name the file itself with --root") from error
