"""What Open Images' classes are called: files with an id and a name in each row, with or without a header."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from mlrpl_cli.core.io.errors import ConfigError, DataError, Problems, did_you_mean, one_line
from mlrpl_cli.core.io.reading import MIB, is_name, read_text, short
from mlrpl_cli.core.labels.records import Reading

FILES, OF_FIFTYONE = "*class-descriptions*.csv", "metadata/classes.csv"
_MOST_BYTES = 64 * MIB  # a hundred times those of V7, with 20,000 classes


class ClassNames:
    """What classes are called, and which of them count."""

    def __init__(self, described: dict[str, str], reading: Reading) -> None:
        """Puts names where `reading` has ids. Raises ConfigError for a wanted name that no class has."""
        times = Counter(described.values())
        # A name of several classes is followed by the id.
        self._of = {key: f"{name} ({key})" if times[name] > 1 else name for key, name in described.items()}
        self.unnamed = set[str]()
        """Class ids that are not described."""
        reading.merged = {self.named(old): self.named(new) for old, new in reading.merged.items()}
        self.wanted: Iterable[str] = ()
        self._asked = set[str]()
        if reading.classes is not None:
            reading.classes = [*map(self.named, reading.classes)]
            self._asked = {*reading.classes, *reading.merged}
            self.wanted = dict.fromkeys((*self._of.values(), *(name for name in reading.classes if name[:1] == "/")))
            self._check({*self._of.values(), *reading.merged.values()})

    def __bool__(self) -> bool:
        return bool(self._of)

    def _check(self, known: set[str]) -> None:
        unknown = sorted(name for name in self._asked if name not in known and name[:1] != "/")
        if unknown and not self:
            told = f"no {FILES} lies beside the labels to say which class '{unknown[0]}' is"
            raise ConfigError(f"{told}; name the file with --class-descriptions, or give class ids")
        if unknown:
            told_each = (f"no class is called '{name}'; {did_you_mean(name, sorted(known))}" for name in unknown)
            raise ConfigError("; ".join(told_each))

    def named(self, name: str) -> str:
        """What a class is called whose id or name is `name`."""
        return self._of.get(name, name)

    def of(self, identifier: str) -> str | None:
        """The name of a class; None, and remembered, for one that is neither described nor asked for by its id."""
        if self._of and identifier not in self._of and identifier not in self._asked:
            self.unnamed.add(identifier)
            return None
        return self.named(identifier)


def describe(named: Path | None, labels: Iterable[Path], problems: Problems) -> dict[str, str]:
    """The name of each class id, in the order of the file `named`, else of those beside `labels`; {} without any.

    Raises DataError for a file that cannot be read.
    """
    if named is not None:
        return _read(named, problems)
    folders = dict.fromkeys(folder for path in labels for folder in (path.parent, path.parent.parent))
    described = dict[str, str]()
    patterns = [(folder, pattern) for folder in folders for pattern in (FILES, OF_FIFTYONE)]
    for path in (path for folder, pattern in patterns for path in sorted(folder.glob(pattern))):
        for identifier, name in _read(path, problems).items():
            if described.setdefault(identifier, name) != name:
                told = f"{short(identifier)}: {short(described[identifier])}, {short(name)}"
                problems.add("class ids have two names, name one file with --class-descriptions", told)
    return described


def _read(path: Path, problems: Problems) -> dict[str, str]:
    """The name of each class id, in the order of a CSV with or without a header."""
    try:
        read = list(csv.reader(read_text(path, _MOST_BYTES, "utf-8-sig").splitlines()))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the path after --class-descriptions") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no CSV in UTF-8: {one_line(error)}; download it again") from error
    rows = [(number, [cell.strip() for cell in row]) for number, row in enumerate(read, 1) if any(row)]
    described = dict[str, str]()
    for number, row in rows[1:] if rows and not rows[0][1][0].startswith("/") else rows:
        if len(row) != 2 or not is_name(row[1]):
            problems.add(f"rows of {path.name} are no id and name", f"row {number}: {short(','.join(row))}")
        elif described.setdefault(row[0], name := " ".join(row[1].split())) != name:
            problems.add(f"ids have two names in {path.name}", f"row {number}: {short(row[0])}")
    if not described:
        problems.add("files describe no class", path.name)
    return described
