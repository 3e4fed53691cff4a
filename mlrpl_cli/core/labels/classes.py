"""Class names as CLIP reads them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

# What VOC writes as one word, CLIP's tokenizer and GloVe know as two.
JOINED = {"diningtable": "dining table", "pottedplant": "potted plant", "tvmonitor": "tv monitor"}


def readable(name: str) -> str:
    """The words of a class name: underscores read as spaces, runs of white space as one, VOC's joined words apart."""
    words = " ".join(name.replace("_", " ").split())
    return JOINED.get(words, words)


_CODE = re.compile(r".*___\d+|(class|label|category|tag|id|code|column|col|field|feature|unnamed)[\W_]*\d+", re.I)
_MONTH = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_DATE = re.compile(rf"\d{{1,4}}\W({_MONTH})[a-z]*(\W\d{{1,4}})?|({_MONTH})[a-z]*\W\d{{1,4}}", re.I)

_MISSING = re.compile("nan|null|<na>", re.I)


def says_nothing(name: str) -> bool:
    """Whether a class name has no word that CLIP could know: a number, a date, a missing value, a field's number."""
    return not any(map(str.isalpha, name)) or any(kind.fullmatch(name) for kind in (_CODE, _DATE, _MISSING))


def same_prompts(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names whose prompts are one to CLIP, which reads lower case only: each with the first of its kind."""
    spelt = defaultdict[str, list[str]](list)
    for name in names:
        spelt[readable(name).lower()].append(name)
    return [(first, other) for first, *others in spelt.values() for other in others]
