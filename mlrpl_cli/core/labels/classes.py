"""Class names as CLIP reads them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

# What VOC writes as one word, CLIP's tokenizer and GloVe know as two.
JOINED = {"diningtable": "dining table", "pottedplant": "potted plant", "tvmonitor": "tv monitor"}


def readable(name: str) -> str:
    """The words of a class name: underscores read as spaces, runs of white space as one, VOC's joined words apart."""
    words = " ".join(name.replace("_", " ").split())
    return JOINED.get(words, words)


def same_prompts(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names whose prompts are one to CLIP, which reads lower case only: each with the first of its kind."""
    spelt = defaultdict[str, list[str]](list)
    for name in names:
        spelt[readable(name).lower()].append(name)
    return [(first, other) for first, *others in spelt.values() for other in others]
