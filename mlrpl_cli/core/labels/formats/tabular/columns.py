"""What columns are called and what their cells mean, for every format that is a table."""

from __future__ import annotations

import os
import posixpath
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

from pydantic import Field

from mlrpl_cli.core.io.errors import ConfigError, DataError, Problems, did_you_mean, first_few
from mlrpl_cli.core.io.reading import short
from mlrpl_cli.core.labels.formats.tabular.sheets import Sheet, joined, key_of, read_table, split_in, table_files
from mlrpl_cli.core.labels.formats.tabular.text import SEPARATORS, peek
from mlrpl_cli.core.labels.marks import NOWHERE, Marks
from mlrpl_cli.core.labels.own import Tagged
from mlrpl_cli.core.labels.records import SPLIT_NAMES, TEST, TRAIN, VALIDATION, Reading
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

IMAGE_COLUMNS = (
    *("image", "image_path", "filename", "file_name", "file", "filepath", "file_path", "path", "img", "img_path"),
    *("fname", "image_name", "image_file", "image_id", "img_id", "image_index", "photo", "picture"),
)
"""Names of the image column, however they are spelt; without any of them the first column is it."""
SPLIT_COLUMNS = ("split", "subset", "partition", "dataset_split")
FLAGS = {
    **dict.fromkeys(("istest", "test", "testset", "holdout", "isholdout"), (PRESENT, TEST)),
    **dict.fromkeys(("isvalid", "isval", "isvalidation", "valid", "val", "validation"), (PRESENT, VALIDATION)),
    **dict.fromkeys(("validset", "valset", "validationset"), (PRESENT, VALIDATION)),
    **dict.fromkeys(("istrain", "istraining", "trainset", "trainingset"), (ABSENT, TEST)),
}
"""Columns of yes and no that say which images are of a split: those with this answer. Not "train", a class of VOC."""
FOLD_COLUMNS = ("fold", "kfold", "cv_fold")
TAG_COLUMNS = (
    *("label", "labels", "tag", "tags", "class", "classes", "category", "categories", "labelname", "class_name"),
    *("image_labels", "finding_labels", "genre", "genres", "attribute", "attributes"),
)
"""Columns whose cells name classes: what `tags` and `long` read."""
CONFIDENCES = ("confidence", "conf", "score", "scores", "probability", "prob", "certainty", "weight", "sample_weight")
NEVER_CLASSES = frozenset(
    key_of(name)
    for name in (
        *IMAGE_COLUMNS, *SPLIT_COLUMNS, *FLAGS, *FOLD_COLUMNS, *TAG_COLUMNS, *CONFIDENCES,
        *("id", "uid", "uuid", "index", "idx", "row", "row number", "rownum", "nr", "no.", "#", "number", "level0"),
        *("flag", "flagged", "verified", "reviewed", "checked", "annotated", "duplicate", "skip", "exclude", "ok"),
        *("source", "annotator", "labeler", "worker", "date", "timestamp", "width", "height", "url", "md5", "sha256"),
        *("difficult", "augmented", "crop", "batch", "year", "age", "sex", "gender"),
    )
)  # fmt: skip
"""Columns of these names are classes only when they are named as such."""
_ID = re.compile(r".*[\s_-]id|.*[a-z]ID|unnamed: ?\d+|_*index_level_\d+_*")
_ABOUT_A_CLASS = re.compile(r".*[\s_-](conf|confidence|score|prob|probability|logit)s?")
_DONE = "verified|reviewed|checked|annotated|labell?ed|flagged|duplicate"
_CHECKED = re.compile(rf"(is|has|was)[\s_-](been[\s_-])?({_DONE})")
_UNIT = re.compile(r"\s*[(\[][^)\]]*[)\]]$")

MINUS_ONE, BAD, EMPTY = 2, 3, 4
BY_THRESHOLD = "write 1, 0 or nothing in their place, by a threshold of yours"
SCORES = f"cells are scores, no labels: {BY_THRESHOLD}"
_PERCENT = re.compile(r"([+-]?[\d.,]+)\s*%")
_WORDS = {
    **dict.fromkeys(("yes", "y", "true", "present", "t", "wahr", "ja", "vrai", "oui", "vero", "verdadero"), PRESENT),
    **dict.fromkeys(("x", "✓", "✔", "☑", "✅", "prawda", "tak", "verdadeiro", "sim", "sí"), PRESENT),
    **dict.fromkeys(("no", "n", "false", "absent", "f", "falsch", "nein", "faux", "non", "falso", "☐"), ABSENT),
    **dict.fromkeys(("waar", "истина", "да", "doğru", "evet"), PRESENT),
    **dict.fromkeys(("nej", "nee", "onwaar", "ложь", "нет", "yanlış", "hayır"), ABSENT),
    **dict.fromkeys(("fałsz", "nie", "não", "nao"), ABSENT),
    **dict.fromkeys(("?", "unknown", "nan", "na", "n/a", "#n/a", "<na>", "none", "null", "-", "–"), UNKNOWN),
    "": EMPTY,
}  # fmt: skip
CODINGS = {None: (MINUS_ONE, ABSENT), "minus-one-absent": (ABSENT, UNKNOWN), "minus-one-unknown": (UNKNOWN, ABSENT)}
"""What the numbers −1 and 0 mean: to the laboratory of HCP-MLR-PL, and to DualCoOp; 1 is present in both."""
ASK_FOR_CODING = (
    "two codings are in use: in HCP-MLR-PL's -1 is absent and 0 unknown, in DualCoOp's -1 is unknown and 0 absent; "
    "choose with --coding minus-one-absent or --coding minus-one-unknown"
)


class TableOptions(Tagged):
    """What every format that is a table of text may be told."""

    separator: Literal["comma", "semicolon", "tab", "pipe"] | None = Field(
        None, description="what stands between the cells of a table of text, else what fits"
    )
    encoding: str | None = Field(None, description="encoding of a table of text, such as cp1252, else what fits")
    ignore_columns: tuple[str, ...] = Field((), description="columns that are not read, by name")
    test_fold: str | None = Field(None, description="the fold whose images test, where a column numbers folds")
    sheet: str | None = Field(None, description="the sheet of an XLSX file with several, by its title")

    def splits(self, sheet: Sheet, reading: Reading, taken: Collection[int] = ()) -> list[str | None]:
        """The split of each row, by the columns that are not to be ignored, nor `taken`, and the names of files.

        Raises ConfigError where they contradict each other.
        """
        taken = {*taken, *self.ignored(sheet)}
        columns = sorted(split_columns(sheet, taken))
        if sheet.splits is None or not columns:
            return list(sheet.splits or splits_of(sheet, reading, self.test_fold, taken))
        numbers_folds = sheet.keys[columns[0]] in map(key_of, FOLD_COLUMNS)
        told = [] if numbers_folds else splits_of(sheet, reading, None, taken)
        reading.problems.raise_if_any(str(sheet.path), "correct the splits, or leave the column out")
        if told != list(sheet.splits):
            names = ",".join(short(sheet.names[column]) for column in columns)
            raise ConfigError(
                f"column {names} says other splits than the names of the tables in {sheet.path}: "
                f"--ignore-columns {names} takes those of the files, --root one of the files takes the column's"
            )
        return told

    def image_rows(self, sheet: Sheet, splits: Sequence[str | None], marks: Marks, reading: Reading) -> list[int]:
        """The row of the image of each row of `sheet`; a row that names none is a problem.

        Images of files that are called after splits may lie in folders that are, too.
        """
        images = sheet.column(image_column(sheet))
        bare = (f"row {number}" for number, image in zip(sheet.numbers, images, strict=True) if not image)
        reading.problems.extend("rows name no image", bare)
        root = self.image_root(sheet.path)
        folders = {split_in(name): name for name in _folders_in(root)} if sheet.splits else {}
        rows = []
        for image, split in zip(images, splits, strict=True):
            beside = posixpath.join(folders.get(split, ""), image)
            is_beside = bool(image) and split in folders and not marks.has(image) and marks.has(beside)
            rows.append(marks.image(beside if is_beside else image, split) if image else NOWHERE)
        return rows

    def ignored(self, sheet: Sheet) -> set[int]:
        """The columns that are not read."""
        return {column for column, name in enumerate(sheet.names) if name in self.ignore_columns}

    def label_columns_of(self, sheet: Sheet, reading: Reading) -> list[int]:
        """The columns of `sheet` that hold labels, by their names."""
        raise NotImplementedError

    def read_sheet(self, reading: Reading) -> Sheet:
        """The table at `root`, or those called after splits, of which those without a label are left out, and named.

        Raises DataError where these have other columns than the one of training, and ConfigError for an option that is
        of no use.
        """
        files = table_files(self.root)
        if self.sheet is not None and not any(path.suffix.lower() == ".xlsx" for path in files):
            raise ConfigError(f"--sheet names a sheet of an XLSX file, and {next(iter(files))} is none; leave it out")
        separator = self.separator and SEPARATORS[self.separator]
        sheets = [
            read_table(path, reading.problems, separator, self.encoding, title=self.sheet if _is_book(path) else None)
            for path in files
        ]
        reading.notes.extend(dict.fromkeys(note for sheet in sheets for note in sheet.notes))
        if len(sheets) == 1:
            return sheets[0]
        first = sheets[0]
        needed = [first.names[column] for column in self.label_columns_of(first, reading)]
        labelled = [first, *(sheet for sheet in sheets[1:] if _holds_any(sheet, needed))]
        for sheet in sheets:
            if not any(sheet is other for other in labelled):
                reading.notes.append(f"{sheet.path.name} holds no label and is left out")
        for sheet in labelled[1:]:
            own = [sheet.names[column] for column in self.label_columns_of(sheet, reading)]
            _check_columns(first, sheet, needed, own)
        splits = [split for sheet in labelled if (split := files[sheet.path])]
        if len(labelled) == 1:
            return first
        told = ", ".join(f"{sheet.path.name}: {split}" for sheet, split in zip(labelled, splits, strict=True))
        reading.notes.append(f"tables are called after splits and are read as these: {told}")
        return joined(self.root, labelled, splits)


def _folders_in(folder: Path) -> list[str]:
    """The folders in a folder, sorted; none for what cannot be listed."""
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return []


def _is_book(path: Path) -> bool:
    return path.suffix.lower() == ".xlsx"


def _holds_any(sheet: Sheet, names: Collection[str]) -> bool:
    """Whether one of the columns that are called `names` has a cell."""
    return any(name in names and any(sheet.column(column)) for column, name in enumerate(sheet.names))


def _check_columns(first: Sheet, other: Sheet, needed: Sequence[str], own: Sequence[str]) -> None:
    """Raise DataError unless `other` has the columns of images and of labels that the table of training has."""
    wanted = [first.names[image_column(first)], *needed]
    lacks = [name for name in wanted if name not in other.names]
    more = [name for name in own if name not in wanted]
    twice = len(set(first.names)) < len(first.names) or len(set(other.names)) < len(other.names)
    if lacks or more or twice:
        told = (
            *([f"lacks {_listed(lacks)}"] if lacks else ()),
            *([f"has {_listed(more)} beside"] if more else ()),
            *(["has two columns of one name, or the first has"] if twice else ()),
        )
        both = f"{other.path.name} and {first.path.name} in {other.path.parent} need the same columns"
        raise DataError(
            f"{both}: the first {', and '.join(told)}; make the columns the same, or name one of the files with --root"
        )


def report_repeated(where: str, rows: Iterable[int], reading: Reading) -> None:
    """A note of the images that come in several rows. What the rows say is joined; contradictions are problems."""
    counts = Counter(row for row in rows if row != NOWHERE)
    if several := sum(count > 1 for count in counts.values()):
        reading.notes.append(f"{several} images of {where} come in several rows, whose labels are joined")


def recognised(root: Path, fits: Callable[[list[str]], bool], what: str) -> str | None:
    """Why `root` is a table of a kind, by the keys of its header; None when it is none."""
    try:
        path, *others = table_files(root)
    except DataError:
        return None
    if path.suffix.lower() in (".parquet", ".xlsx"):
        names = list(_names(path, _state(path)))
        if not names and not (_is_book(path) and zipfile.is_zipfile(path)):  # what a workbook lacks, reading says
            return None
    else:
        beginning = peek(path)
        if len(beginning) < 2 or len(beginning[0]) < 2:
            return None
        names = beginning[0]
    told = ", ".join(found.name for found in (path, *others))
    kind = "are tables" if others else "is a table"
    return f"{told} {kind} with {what}" if fits(names) else None


@lru_cache(maxsize=1)
def _names(path: Path, state: tuple[int, int] | None) -> tuple[str, ...]:
    """The names of the columns of a file that has to be read whole for them; () for what is no table.

    Several formats ask for them. `state` tells the file's content from an earlier one.
    """
    try:
        return read_table(path, Problems()).names
    except DataError:
        return ()


def _state(path: Path) -> tuple[int, int] | None:
    """Size and time of change; None for what is not there."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def has_tag_column(header: Sequence[str]) -> bool:
    keys = set(map(key_of, TAG_COLUMNS))
    return any(key_of(name) in keys for name in header)


def image_column(sheet: Sheet) -> int:
    """The column that names images: by its name, else the first that has one and is no index.

    Where that holds yes and no, images are called by their id.
    """
    named = (sheet.find(name) for name in IMAGE_COLUMNS)
    if (found := next((column for column in named if column is not None), None)) is not None:
        return found
    first = next((column for column, name in enumerate(sheet.names) if name and not is_reserved(name)), 0)
    by_id = sheet.find("id")
    return first if by_id is None or (sheet.codes(first, state_of()) == BAD).any() else by_id


def is_reserved(name: str) -> bool:
    """Whether a column of this name is no class, unless it is named as one."""
    name = _UNIT.sub("", name)
    folded = name.casefold()
    patterns = (_ID, _ABOUT_A_CLASS, _CHECKED)
    return key_of(name) in NEVER_CLASSES or bool(_ID.fullmatch(name)) or any(p.fullmatch(folded) for p in patterns)


def state_of(coding: str | None = None) -> Callable[[str], int]:
    """Cell → state."""
    minus_one, zero = CODINGS[coding]
    numbers = {1.0: PRESENT, 0.0: zero, -1.0: minus_one}

    def state(cell: str) -> int:
        cell = cell.casefold()
        if cell in _WORDS:
            return _WORDS[cell]
        value = _number(cell)
        return BAD if value is None else numbers.get(value, BAD)

    return state


def spelling(word: str) -> str:
    """What is compared of a cell: 1, 1.0 and 100 % are one."""
    value = _number(word)
    return word if value is None else str(value)


def is_score(cell: str) -> bool:
    """Whether it is a percentage or a number between 0 and 1, and neither of them. 100 % is 1, and 0 % is 0."""
    value = _number(cell)
    return value is not None and 0 < value != 1 and (value < 1 or bool(_PERCENT.fullmatch(cell)))


def _number(cell: str) -> float | None:
    """The number in a cell, with either decimal mark; None for what is none."""
    percent = _PERCENT.fullmatch(cell)
    try:
        value = float((percent[1] if percent else cell).replace("−", "-").replace(",", "."))
    except ValueError:
        return None
    return value / 100 if percent else value


def split_columns(sheet: Sheet, taken: Collection[int] = ()) -> set[int]:
    """The columns that `splits_of` reads, of those that are not `taken` for something else."""
    kinds = (set(map(key_of, SPLIT_COLUMNS)), set(FLAGS), set(map(key_of, FOLD_COLUMNS)))
    found = ({c for c, key in enumerate(sheet.keys) if key in kind and c not in taken} for kind in kinds)
    return next(filter(None, found), set())


def splits_of(sheet: Sheet, reading: Reading, test_fold: str | None, taken: Collection[int] = ()) -> list[str | None]:
    """The split of each row, None where the table does not say: by a column of splits, else by flags, else by folds."""
    columns = sorted(split_columns(sheet, taken))
    if not columns:
        return [None] * sheet.rows
    if sheet.keys[columns[0]] in FLAGS:
        return _flagged(sheet, columns, reading)
    read = named_splits if sheet.keys[columns[0]] in map(key_of, SPLIT_COLUMNS) else partial(_folds, test_fold)
    return read(sheet, columns[0], reading)


def _flagged(sheet: Sheet, columns: Sequence[int], reading: Reading) -> list[str | None]:
    splits: list[str | None] = [TRAIN] * sheet.rows
    for column in columns:
        (answer, split), name = FLAGS[sheet.keys[column]], short(sheet.names[column])
        states = sheet.codes(column, state_of()).tolist()
        wrong = [row for row, state in enumerate(states) if state not in (PRESENT, ABSENT)]
        told = (f"row {sheet.numbers[row]}: '{short(sheet.column(column)[row])}'" for row in wrong)
        reading.problems.extend(f"cells of {name} are neither yes nor no", told)
        splits = [split if state == answer else old for old, state in zip(splits, states, strict=True)]
        reading.notes.append(f"column {name} says which images are of {split}{', by a no' * (answer == ABSENT)}")
    return splits


def named_splits(sheet: Sheet, column: int, reading: Reading) -> list[str | None]:
    cells = sheet.column(column)
    for number, cell in zip(sheet.numbers, cells, strict=True):
        if cell.casefold() not in SPLIT_NAMES:
            reading.problems.add("splits are none of train, validation, test", f"row {number}: '{short(cell)}'")
    reading.notes.append(f"column {short(sheet.names[column])} says which images are of which split")
    return [SPLIT_NAMES.get(cell.casefold(), TRAIN) for cell in cells]


def _folds(test_fold: str | None, sheet: Sheet, column: int, reading: Reading) -> list[str | None]:
    name = short(sheet.names[column])
    cells = [cell.removesuffix(".0") for cell in sheet.column(column)]  # as pandas writes whole numbers
    if all(cell.casefold() in SPLIT_NAMES for cell in cells):
        return named_splits(sheet, column, reading)
    folds = sorted(set(filter(None, cells)))
    if test_fold is None:
        raise ConfigError(
            f"column {name} of {sheet.path} numbers folds ({_listed(folds)}) and does not say which one tests: "
            f"--test-fold {folds[-1]}, or --ignore-columns {name} to draw test images"
        )
    if test_fold not in folds:
        raise ConfigError(f"no row of {sheet.path} is of fold '{test_fold}'; {did_you_mean(test_fold, folds)}")
    reading.notes.append(f"column {name} says which images test: fold {test_fold}")
    return [(TEST if cell == test_fold else TRAIN) if cell else None for cell in cells]


def _listed(values: Iterable[str]) -> str:
    return first_few(map(short, values), 6)


def is_index(sheet: Sheet, column: int) -> bool:
    """Whether it is the nameless column of row numbers that pandas writes, also of a table that was filtered."""
    cells = sheet.column(column)
    return not sheet.names[column] and all(map(str.isdigit, cells)) and len(set(cells)) == len(cells) > 1
