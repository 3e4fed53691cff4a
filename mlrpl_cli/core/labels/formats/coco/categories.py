"""From the categories of a set of annotation files to the classes of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mlrpl_cli.core.io.errors import Problems, first_few
from mlrpl_cli.core.io.reading import short, shown
from mlrpl_cli.core.labels.formats.coco.instances import Categories, Identifier, Part
from mlrpl_cli.core.labels.marks import NOWHERE, Marks
from mlrpl_cli.core.labels.records import Reading


def columns_of(parts: Sequence[Part], marks: Marks, reading: Reading, keep_unused: bool) -> dict[Identifier, int]:
    """The column of each category of a set of files, made classes of `marks` in ascending id, text after numbers.

    Without `keep_unused`, categories that are only the supercategory of others and have no annotation are left out.
    Problems are ids of several names and, unless they are merged, names of several ids.
    """
    categories = _union(parts, reading.problems)
    left = {} if keep_unused else _unused_parents(categories, parts, reading)
    if left:
        told = first_few((f"'{short(name)}' (id {shown(identifier)})" for identifier, name in left.items()), 6)
        what = "only supercategories of others without any annotation"
        reading.notes.append(f"categories left out, {what}: {told}; --keep-unused keeps them")
        reading.seen.update(left.values())
    ids = sorted(categories.keys() - left.keys(), key=lambda identifier: (isinstance(identifier, str), identifier))
    columns = {identifier: marks.label(categories[identifier][0]) for identifier in ids}
    alike = Counter(categories[identifier][0] for identifier in ids if columns[identifier] != NOWHERE)
    for name in (name for name, count in alike.items() if count > 1 and name not in reading.merged):
        same = " and ".join(shown(identifier) for identifier in ids if categories[identifier][0] == name)
        told = f"'{short(name)}' with ids {same}: --merge-classes '{short(name)}={short(name)}' makes one class of them"
        reading.problems.add("category names are repeated", told)
    return columns


def _union(parts: Sequence[Part], problems: Problems) -> Categories:
    """The categories of all files; a problem for ids that are not the same category in all that have them."""
    union: Categories = {}
    differing = []
    for part in parts:
        for identifier, (name, parent) in part.categories.items():
            if union.setdefault(identifier, (name, parent))[0] != name:
                both = f"'{short(union[identifier][0])}' and '{short(name)}'"
                differing.append(f"{shown(identifier)} is {both} in {part.file.path.name}")
    if differing:
        problems.add("files differ in categories", first_few(differing))
    return union


def _unused_parents(categories: Categories, parts: Sequence[Part], reading: Reading) -> dict[Identifier, str]:
    """The names of categories that others name as supercategory and no annotation has, unless they are asked for."""
    used = {identifier for part in parts for identifier in part.shown}
    asked = {*(reading.classes or ()), *reading.merged}
    parents = Counter(parent for _, parent in categories.values() if isinstance(parent, str))

    def is_parent(name: str, parent: object) -> bool:
        return parents[name] > (parent == name)

    unused = ((identifier, *entry) for identifier, entry in categories.items() if identifier not in used)
    return {identifier: name for identifier, name, parent in unused if is_parent(name, parent) and name not in asked}
