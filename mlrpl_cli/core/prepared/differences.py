"""What differs between two prepared folders: their options, and what is in them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mlrpl_cli.core.io.errors import counted, first_few
from mlrpl_cli.core.io.reading import LONGEST_PATH, difference, path_from, short, shown
from mlrpl_cli.core.labels.records import SPLITS
from mlrpl_cli.core.labels.states import STATES
from mlrpl_cli.core.prepared.contents import digests_in, known_again
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.prepared.job import real


def option_differences(old: object, new: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """A phrase for each option of `new` that `old`, of the manifest at `folder`, says otherwise."""
    found = old if isinstance(old, dict) else {}
    for name, value in new.items():
        before = found.get(name, False if isinstance(value, bool) else None)  # it may be too old for an option
        if isinstance(value, dict):
            yield from option_differences(before, value, folder)
        elif before != value and not _is_same_path(before, value, folder):
            yield difference(name, before, value, partial(_told, folder=folder))


def _is_same_path(old: object, new: object, folder: Path) -> bool:
    """Whether both are paths to one place: manifests of mlrpl 0.1.0 hold absolute ones."""
    if not isinstance(old, str) or not isinstance(new, str) or not os.path.isabs(old):
        return False
    return real(Path(old)) == real(path_from(folder, new))


def _told(value: object, folder: Path) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_PATH:
        return shown(value)
    return str(path_from(folder, value)) if value.startswith("../") else value


@dataclass(frozen=True)
class Changes:
    """What is other in a prepared folder than in the one that it was."""

    added: dict[str, int]
    """Images of each split that the old one did not have."""
    removed: dict[str, int]
    """Images of each split that only the old one had."""
    moved: dict[str, int]
    """Images in another split, as "train → test"."""
    flipped: dict[str, int]
    """Published cells, of images and classes of both, with another state, as "absent → present"."""
    renamed: int
    """Of the images added, those whose bytes were there under a name that is removed; without digests, by size."""
    edited: int
    """Images of both with other bytes, as far as both folders have digests (--split-by content)."""
    classes_added: tuple[str, ...]
    classes_removed: tuple[str, ...]
    hidden: int
    """Training cells of both that are hidden in only one of them, while their published state is the same."""
    order: bool
    """Whether the images or classes of both come in another order."""

    def __bool__(self) -> bool:
        return any(vars(self).values())

    def __str__(self) -> str:
        """One line: each kind of change with its number."""
        told = [f"{_number(images, 'image')} {what} ({_listed(images)})" for what, images in self._images() if images]
        if self.renamed:
            told.append(f"{self.renamed} of those added match removed ones")
        if self.edited:
            told.append(f"{counted(self.edited, 'image')} with other bytes")
        if self.flipped:
            told.append(f"{_number(self.flipped, 'cell')} flipped ({_listed(self.flipped)})")
        for what, names in (("added", self.classes_added), ("removed", self.classes_removed)):
            if names:
                told.append(f"{len(names)} of the classes {what} ({first_few(map(short, names))})")
        if self.hidden:
            told.append(f"{counted(self.hidden, 'cell')} hidden in only one, since the mask is drawn by row")
        if not told and self.order:
            told.append("the same in another order")
        return ", ".join(told) or "nothing"

    def _images(self) -> tuple[tuple[str, dict[str, int]], ...]:
        return ("added", self.added), ("removed", self.removed), ("in another split", self.moved)


def changes_between(old: Prepared, new: Prepared) -> Changes:
    """What `new` has other than `old`: images and classes are compared by name."""
    before, after = (dict(zip(one.images, one.splits, strict=True)) for one in (old, new))
    known = set(old.classes)
    both, classes = [name for name in new.images if name in before], [c for c in new.classes if c in known]
    first, second = _cells(old, both, classes), _cells(new, both, classes)
    names = {state: name for name, state in STATES.items()}
    cells = Counter(
        zip(first[0][(differs := first[0] != second[0])].tolist(), second[0][differs].tolist(), strict=True)
    )
    hidden = (first[1] != second[1]) & ~differs
    kept_order = [name for name in old.images if name in after] == both
    return Changes(
        added=_by_split(split for name, split in after.items() if name not in before),
        removed=_by_split(split for name, split in before.items() if name not in after),
        moved=_counts(f"{before[name]} → {after[name]}" for name in both if before[name] != after[name]),
        flipped={f"{names[was]} → {names[now]}": count for (was, now), count in cells.most_common()},
        renamed=known_again(
            _contents(old, [name for name in old.images if name not in after]),
            _contents(new, [name for name in new.images if name not in before]),
        ),
        edited=_edited(old, new, both),
        classes_added=tuple(name for name in new.classes if name not in old.classes),
        classes_removed=tuple(name for name in old.classes if name not in new.classes),
        hidden=int(hidden.sum()),
        order=not kept_order or [name for name in old.classes if name in new.classes] != classes,
    )


def _contents(prepared: Prepared, images: Sequence[str]) -> np.ndarray | None:
    """(M,) of CONTENT of some images; None where nothing is known of any."""
    if prepared.contents is None:
        return None
    row_of = {name: row for row, name in enumerate(prepared.images)}
    return prepared.contents[[row_of[name] for name in images]]


def _edited(old: Prepared, new: Prepared, both: Sequence[str]) -> int:
    digests = [digests_in(_contents(one, both)) for one in (old, new)]
    return 0 if None in digests else sum(first != second for first, second in zip(*digests, strict=True))


def _cells(prepared: Prepared, images: list[str], classes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Published and observed labels of some images and classes."""
    row_of, column_of = ({name: n for n, name in enumerate(names)} for names in (prepared.images, prepared.classes))
    rows = np.array([row_of[name] for name in images], np.intp)
    columns = np.array([column_of[name] for name in classes], np.intp)
    full, observed = (labels[rows][:, columns] for labels in (prepared.full_labels, prepared.observed_labels))
    return full, observed


def _by_split(splits: Iterator[str]) -> dict[str, int]:
    counts = Counter(splits)
    return {split: counts[split] for split in SPLITS if counts[split]}


def _counts(names: Iterator[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _number(counts: Mapping[str, int], noun: str) -> str:
    return counted(sum(counts.values()), noun)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
