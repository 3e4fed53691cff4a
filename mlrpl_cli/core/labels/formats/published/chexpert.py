"""CheXpert and MIMIC-CXR-JPG: 14 findings of chest radiographs, as a labeller found them in the reports.

CheXpert's paper (Irvin et al. 2019) says what cells mean: 1 positive, 0 negative, -1 uncertain, blank not mentioned. It
does not say what the last two are to a classifier, and papers differ: both are asked for. MIMIC-CXR-JPG (Johnson et al.
2019) has the same cells, a row a study; which images a study has and which split is in a file beside it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from mlrpl_cli.core.io.errors import ConfigError, DataError
from mlrpl_cli.core.io.progress import track
from mlrpl_cli.core.io.reading import short
from mlrpl_cli.core.labels.formats.tabular.dialect import peek
from mlrpl_cli.core.labels.formats.tabular.sheets import Sheet, key_of, read_table
from mlrpl_cli.core.labels.marks import NOWHERE, Marks
from mlrpl_cli.core.labels.own import OwnData
from mlrpl_cli.core.labels.records import SPLIT_NAMES, Reading, Records
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, STATES, UNKNOWN

if TYPE_CHECKING:
    import numpy as np

FINDINGS = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture"),
    "Support Devices",
)
"""In CheXpert's order: the order of the label columns."""
FILES = ("train.csv", "valid.csv", "test.csv")
MIMIC, MIMIC_SPLIT = "mimic-cxr-*-chexpert.csv*", "mimic-cxr-*-split.csv*"
UNCERTAIN, BLANK, BAD = 2, 3, 4
_NUMBERS = {1.0: PRESENT, 0.0: ABSENT, -1.0: UNCERTAIN}
_TRIED = 100  # images that are looked for to find the folder that names are relative to


class CheXpert(OwnData):
    """CheXpert (train.csv → train, valid.csv → validation, test.csv → test) or MIMIC-CXR-JPG with its own splits."""

    uncertain: Literal["unknown", "present", "absent"] | None = Field(
        None, description="what a finding means that the report is uncertain of, a cell of -1"
    )
    blank: Literal["unknown", "absent"] | None = Field(
        None, description="what a finding means that the report does not mention, a blank cell"
    )

    holds: ClassVar[str] = "the folder with train.csv and valid.csv or mimic-cxr-2.0.0-chexpert.csv, or such a file"
    reads_tables: ClassVar[bool] = True

    @classmethod
    def recognise(cls, root: Path) -> str | None:
        found = next((path for path in _tables(root) if _fits(path)), None)
        return f"{found.name} has the findings of CheXpert" if found else None

    def read(self, reading: Reading) -> Records:
        """Images in the order of the files; of MIMIC-CXR-JPG in that of the split file, a row an image of a study.

        Raises ConfigError, which asks, for cells that `uncertain` or `blank` has to decide, and DataError, naming
        everything found at once, for wrong data.
        """
        paths = _tables(self.root)
        if not paths:
            wanted = ", ".join((*FILES, MIMIC))
            raise DataError(f"{self.root} has none of {wanted}; name the folder that does with --root")
        problems = reading.problems
        parts = [self._part(path, reading) for path in track(reading.progress, paths, "reading labels", len(paths))]
        folder = paths[0].parent
        root, cut = _place([name for part in parts for name in part.images[:_TRIED]], self.images, folder)
        marks = Marks(root, reading, FINDINGS)
        codes = [_codes(part, marks, reading) for part in parts]
        states = self._states(codes, reading)
        for part, coded in zip(parts, codes, strict=True):
            split_names = zip(part.images, part.splits, strict=True)
            rows = _array(marks.image(_without(name, cut), split) for name, split in split_names)
            for column, cells in coded.items():
                marks.extend(rows, 0 * rows + column, states[cells])
            twice = [short(name) for name, count in Counter(part.images).items() if count > 1]
            problems.extend("images are listed twice", twice)
        return self._placed(root).records(marks, reading, UNKNOWN, self.root)

    def _placed(self, root: Path) -> CheXpert:
        return self.model_copy(update={"images": root})

    def _part(self, path: Path, reading: Reading) -> _Part:
        sheet = read_table(path, reading.problems)
        reading.notes.extend(sheet.notes)
        wanted = [finding for finding in FINDINGS if reading.classes is None or finding in reading.classes]
        lacking = [finding for finding in wanted if sheet.find(finding) is None]
        reading.problems.extend(f"findings have no column in {path.name}", lacking)
        if (column := sheet.find("Path")) is not None:
            split = SPLIT_NAMES.get(path.name.split(".")[0].lower())
            if split is None:
                told = "test images are drawn one by one, so that a patient may be in train and test"
                reading.notes.append(f"{path.name} is called after no split: {told}")
            return _Part(sheet, sheet.column(column), _array(range(sheet.rows)), [split] * sheet.rows)
        return _studies(sheet, reading)

    def _states(self, codes: Sequence[dict[int, np.ndarray]], reading: Reading) -> np.ndarray:
        """(6,) int8: the state of each code. Raises ConfigError, which asks, where an option has to decide it."""
        import numpy as np

        whole = [cells for coded in codes for cells in coded.values()]
        uncertain, blank = (sum(int((cells == code).sum()) for cells in whole) for code in (UNCERTAIN, BLANK))
        asked = [
            *(["--uncertain unknown, present or absent for cells of -1"] if uncertain and not self.uncertain else ()),
            *(["--blank unknown or absent for findings that are not mentioned"] if blank and not self.blank else ()),
        ]
        if asked:
            has = f"{self.root} has {uncertain} uncertain cells, of -1, and {blank} blank ones"
            raise ConfigError(f"{has}, which papers read differently: choose {', and '.join(asked)}")
        if uncertain:
            reading.notes.append(f"uncertain cells, of -1, are {self.uncertain}: {uncertain}")
        if blank:
            reading.unlisted = f"{self.blank}: --blank"
        decided = {UNCERTAIN: STATES[self.uncertain or "unknown"], BLANK: STATES[self.blank or "unknown"]}
        # By code; that of absent is -1, the last.
        return np.array([UNKNOWN, PRESENT, decided[UNCERTAIN], decided[BLANK], UNKNOWN, ABSENT], np.int8)


class _Part(NamedTuple):
    """What one file says, an image a row."""

    sheet: Sheet
    images: Sequence[str]
    rows: np.ndarray
    """(N,) int64: the row of `sheet` that has the image's cells."""
    splits: Sequence[str | None]


def _studies(sheet: Sheet, reading: Reading) -> _Part:
    """The images of the studies of MIMIC-CXR-JPG."""
    folder = sheet.path.parent
    path = next(iter(sorted(folder.glob(MIMIC_SPLIT))), None)
    if path is None:
        what = "which says which images a study has and which of them test"
        raise DataError(f"{folder} needs mimic-cxr-2.0.0-split.csv beside {sheet.path.name}, {what}; download it")
    splits = read_table(path, reading.problems)
    subjects, studies = _columns(sheet, "subject_id", "study_id")
    row_of = {key: row for row, key in enumerate(zip(subjects, studies, strict=True))}
    twice = [short(study) for study, count in Counter(studies).items() if count > 1]
    reading.problems.extend("studies are listed twice", twice)
    images, rows, named = list[str](), list[int](), list[str | None]()
    unlabelled = 0
    listed = _columns(splits, "subject_id", "study_id", "dicom_id", "split")
    for subject, study, image, split in zip(*listed, strict=True):
        if split.lower() not in SPLIT_NAMES:
            reading.problems.add(f"splits of {path.name} are none of train, validate, test", f"'{short(split)}'")
        elif (row := row_of.get((subject, study))) is None:
            unlabelled += 1
        else:
            images.append(f"files/p{subject[:2]}/p{subject}/s{study}/{image}.jpg")
            rows.append(row)
            named.append(SPLIT_NAMES[split.lower()])
    if unlabelled:
        reading.notes.append(f"images of studies that {sheet.path.name} does not have are left out: {unlabelled}")
    return _Part(sheet, images, _array(rows), named)


def _columns(sheet: Sheet, *names: str) -> Iterator[list[str]]:
    """Raises DataError for a column that is not there."""
    for name in names:
        if (column := sheet.find(name)) is None:
            found = ", ".join(map(short, sheet.names[:8]))
            raise DataError(f"{sheet.path} has no column {name}, only {found}; download it again")
        yield sheet.column(column)


def _codes(part: _Part, marks: Marks, reading: Reading) -> dict[int, np.ndarray]:
    """(N,) int8 by label column: the codes of the cells of the findings that count."""
    coded: dict[int, np.ndarray] = {}
    sheet = part.sheet
    for finding in FINDINGS:
        column = sheet.find(finding)
        if column is None or (at := marks.label(finding)) == NOWHERE:
            continue
        codes = sheet.codes(column, _code)
        for row in (codes == BAD).nonzero()[0].tolist():
            told = f"row {sheet.numbers[row]} '{finding}': '{short(sheet.column(column)[row])}'"
            reading.problems.add(f"cells of {sheet.path.name} are none of 1, 0, -1 and blank", told)
        coded[at] = codes[part.rows]
    return coded


def _code(cell: str) -> int:
    try:
        return _NUMBERS.get(float(cell), BAD) if cell else BLANK
    except ValueError:
        return BAD


def _tables(root: Path) -> list[Path]:
    """`root` itself, else the files of labels in it."""
    if not os.path.isdir(root):
        return [root]
    try:
        mimic = sorted(root.glob(MIMIC))
    except OSError:
        return []
    return mimic[:1] or [root / name for name in FILES if os.path.isfile(root / name)]


def _fits(path: Path) -> bool:
    names = set(map(key_of, next(iter(peek(path, 1)), [])))
    findings = names & set(map(key_of, FINDINGS))
    return len(findings) > len(FINDINGS) / 2 and bool({"path", "studyid"} & names)


def _place(names: Iterable[str], images: Path | None, folder: Path) -> tuple[Path, int]:
    """The folder that names are relative to, and how many of their first parts are to be left out for that.

    Names begin with the folder of the release, such as CheXpert-v1.0-small, which may be called otherwise by now.
    """
    bases = [images] if images else [folder, folder.parent]
    listed = [PurePosixPath(name.replace("\\", "/")).parts for name in names]
    for base in bases:
        for cut in (0, 1):
            if any(os.path.isfile(base.joinpath(*parts[cut:])) for parts in listed):
                return base, cut
    return bases[0], 0


def _without(name: str, cut: int) -> str:
    return "/".join(name.replace("\\", "/").split("/")[cut:])


def _array(values: Iterable[int]) -> np.ndarray:
    import numpy as np

    return np.fromiter(values, np.int64)
