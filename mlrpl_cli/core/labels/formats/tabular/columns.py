"""What columns are called and what their cells mean, for every format that is a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

from mlrpl_cli.core.io.errors import DataError, first_few
from mlrpl_cli.core.io.reading import short
from mlrpl_cli.core.labels.formats.tabular.sheets import Sheet, key_of
from mlrpl_cli.core.labels.records import TEST, TRAIN, VALIDATION
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN

IMAGE_COLUMNS = (
    *("image", "image_path", "filename", "file_name", "file", "filepath", "file_path", "path", "img", "img_path"),
    *("fname", "image_name", "image_file", "image_id", "img_id", "image_index", "photo", "picture"),
)
"""Names of the image column, however they are spelt; without any of them the first column is it."""
TAG_COLUMNS = (
    *("label", "labels", "tag", "tags", "class", "classes", "category", "categories", "labelname", "class_name"),
    *("image_labels", "finding_labels", "genre", "genres", "attribute", "attributes"),
)
"""Columns whose cells name classes: what `tags` and `long` read."""
CONFIDENCES = ("confidence", "conf", "score", "scores", "probability", "prob", "certainty", "weight", "sample_weight")
SPLIT_COLUMNS = ("split", "subset", "partition", "dataset_split")
FLAGS = {
    **dict.fromkeys(("istest", "test", "testset", "holdout", "isholdout"), TEST),
    **dict.fromkeys(("isvalid", "isval", "isvalidation", "valid", "val", "validation"), VALIDATION),
    **dict.fromkeys(("validset", "valset", "validationset"), VALIDATION),
    **dict.fromkeys(("istrain", "istraining", "trainset", "trainingset"), TRAIN),
}
"""Columns of yes and no that say which images are of a split. Not "train", a class of VOC."""
FOLD_COLUMNS = ("fold", "kfold", "cv_fold")
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
BY_THRESHOLD = "write 1, 0 or nothing instead, by a threshold of yours"
SCORES = f"cells hold a score, no label: {BY_THRESHOLD}"
_SCORED = re.compile(r".+[:=(]\s*\d*\.\d+\s*%?\)?")
MISSING = frozenset(("nan", "<na>", "#n/a", "null"))
"""How programs write a missing value: no label is called so."""
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


def has_tag_column(header: Sequence[str]) -> bool:
    keys = set(map(key_of, TAG_COLUMNS))
    return any(key_of(name) in keys for name in header)


def image_column(sheet: Sheet, ignored: Collection[int] = ()) -> int:
    """The column that names images, none of `ignored`: by its name, else the first that has one and is no index.

    Where that holds yes and no, images are called by their id.
    """
    columns = {key: column for column, key in reversed([*enumerate(sheet.keys)]) if column not in ignored}
    if (found := next((columns[key] for key in map(key_of, IMAGE_COLUMNS) if key in columns), None)) is not None:
        return found
    first = next((column for column in sorted(columns.values()) if not _is_bare(sheet.names[column])), 0)
    by_id = columns.get("id")
    return first if by_id is None or (sheet.codes(first, state_of()) == BAD).any() else by_id


def _is_bare(name: str) -> bool:
    return not name or is_reserved(name)


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


def check_names(lists: Sequence[list[str] | None], what: str) -> None:
    """Raise DataError for what are no names: labels with scores, and nothing but answers.

    Answers are 0 and 1 of each class in turn, or yes and no of one.
    """
    names = {name for listed in lists for name in listed or ()}
    if scored := sorted(filter(_SCORED.fullmatch, names)):
        few = first_few(map(short, scored))
        raise DataError(f"{what} lists labels with scores ({few}); list those that are there, by a threshold of yours")
    if names and set(map(state_of(), names)) <= {PRESENT, ABSENT, MINUS_ONE}:
        raise DataError(
            f"{what} lists {' and '.join(map(short, sorted(names)))}, which are no names of labels; put the names "
            "there, or read columns of answers with --dataset table and --label-columns"
        )


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


def is_index(sheet: Sheet, column: int) -> bool:
    """Whether it is the nameless column of row numbers that pandas writes, also of a table that was filtered.

    Each of several files has its own, or none.
    """
    files = sheet.splits or [""] * sheet.rows
    cells = [(file, cell) for file, cell in zip(files, sheet.column(column), strict=True) if cell or not file]
    return not sheet.names[column] and all(cell.isdigit() for _, cell in cells) and len(set(cells)) == len(cells) > 1
