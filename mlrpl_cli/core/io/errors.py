"""The errors a user can cause. Each message is one line: what was expected, what was got, what to type next."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

FORMULA_STARTS = tuple("=+-@＝＋－＠")
"""What begins a formula in a spreadsheet; the wide forms do under East Asian settings."""


class MlrplError(Exception):
    """Base of every error that the command line prints as one line and turns into exit code 1."""


class DataError(MlrplError):
    """A data set, an annotation, a prepared folder or an image is not what it has to be."""


class ConfigError(MlrplError):
    """An option or a configuration file asks for something that cannot be."""


class WeightsError(MlrplError):
    """A checkpoint is missing, truncated, of another architecture or not to be trusted."""


class RunError(MlrplError):
    """A run folder is missing, incomplete or does not belong to what is asked of it."""


class OutOfMemoryError(MlrplError):
    """The memory of the machine or of its GPU does not do; the message says what takes less of it."""


@contextmanager
def memory_for(advice: str) -> Iterator[None]:
    """Raise OutOfMemoryError, which ends in `advice`, where Python or PyTorch says that memory ran out."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # By name and text: PyTorch is not imported here, and on a CPU it raises a plain RuntimeError.
        told = "OutOfMemoryError" in type(error).__name__ or "can't allocate memory" in str(error)
        if not told and not isinstance(error, MemoryError):
            raise
        raise OutOfMemoryError(f"out of memory: {one_line(error)}; {advice}") from error


class Problems(defaultdict[str, list[str]]):
    """Collects every problem of one kind of input, so that all are reported together.

    >>> problems = Problems()
    >>> problems.add("images are missing", "a.jpg")
    >>> problems.add("images are missing", "b.jpg")
    >>> print(problems.summary())
    2 images are missing (a.jpg, b.jpg)
    """

    def __init__(self) -> None:
        super().__init__(list)

    def add(self, what: str, name: object) -> None:
        """Note that `name` suffers from `what`, a plural clause that `agreeing` knows, such as "images are missing"."""
        self[what].append(str(name))

    def extend(self, what: str, names: Iterable[object]) -> None:
        for name in names:
            self.add(what, name)

    def summary(self) -> str:
        """One line: each kind of problem with its count and the first few names."""
        return "; ".join(f"{agreeing(len(names), what)} ({first_few(names)})" for what, names in self.items())

    def raise_if_any(self, where: str, advice: str) -> None:
        """Raise one DataError that names everything found, or return when nothing was."""
        if self:
            raise DataError(f"{where}: {self.summary()}; {advice}")


def first_few(names: Iterable[object], shown: int = 3) -> str:
    """`a, b, c, …`: the first `shown` names, and an ellipsis when there are more."""
    listed = [str(name) for name in names]
    return ", ".join(listed[:shown]) + (", …" if len(listed) > shown else "")


def counted(number: int, noun: str) -> str:
    """ "1 view", "2000 views", "3 classes": `noun` is one that gets an s, or es after an s or an x."""
    ending = "es" if noun.endswith(("s", "x")) else "s"
    return f"{number} {noun}{'' if number == 1 else ending}"


VERBS = {"are": "is", "have": "has", "do": "does", "cannot": "cannot"} | {
    verb: f"{verb}s"
    for verb in ["begin", "describe", "differ", "fit", "hold", "lack", "lead", "list", "name", "say", "show", "stand"]
}
"""The verbs of clauses, in the plural and in the singular."""


def agreeing(number: int, clause: str) -> str:
    """A plural clause, such as "images are missing", said of so many.

    Its nouns come first, then one of VERBS, whose subject may also have another after "and".

    >>> agreeing(2, "images are missing"), agreeing(1, "categories of a file have no name and are left out")
    ('2 images are missing', '1 category of a file has no name and is left out')
    """
    if number != 1:
        return f"{number} {clause}"
    words = clause.split(" ")
    verb = next((place for place, word in enumerate(words) if word in VERBS), len(words))
    nouns = next((place for place, word in enumerate(words[:verb]) if word in ("of", "in", "that", "without")), verb)
    said = [*map(_singular, words[:nouns]), *words[nouns:verb], *(VERBS[word] for word in words[verb : verb + 1])]
    rest = re.sub(r"\b(and|or) (are|have)\b", lambda two: f"{two[1]} {VERBS[two[2]]}", " ".join(words[verb + 1 :]))
    return " ".join(["1", *said, *([rest] if rest else [])])


def _singular(noun: str) -> str:
    for plural, singular in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ss", "ss"), ("s", "")):
        if noun.endswith(plural):
            return noun.removesuffix(plural) + singular
    return noun


def did_you_mean(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """The sentence that helps after a misspelt name: the closest known one, or else the known ones, or `otherwise`."""
    known = list(known)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else otherwise or f"known: {first_few(known, 30)}"


def printable(text: object) -> str:
    """`text` on one line with every control character escaped, so that a name cannot steer a terminal."""
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in str(text))


def csv_text(text: object) -> str:
    """A name as it may stand in a CSV file, which is for people: as `printable` makes it, and never a formula.

    What a spreadsheet would compute, a text that starts with = + - or @ (also after spaces), gets a single quote in
    front, which spreadsheets take for the mark of a text. Numbers are not names and go without it. Programs read
    JSON, where every name is as it is.
    """
    shown = printable(text)
    return f"'{shown}" if shown.lstrip().startswith(FORMULA_STARTS) else shown


def one_line(reason: object) -> str:
    """What another library says of its error, without line breaks."""
    return " ".join(str(reason).split())


def in_words(size: float) -> str:
    """A number of bytes as people read it: 1000 bytes, 3.42 KiB, 270 MiB."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if size >= 100 else f"{size:.3g} {unit}"


def duration(seconds: float) -> str:
    """Seconds as people read them: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
