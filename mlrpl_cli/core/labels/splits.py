"""Which images test, validate and train where a source does not say: by name for images that may grow in number.

An image is on the side of a split that a hash of its name and the seed gives, whatever other images there are:

    u(purpose, seed, key) = (first 8 bytes of SHA-256("purpose\\0seed\\0key"), big-endian) / 2^64
    test:        u("test", split seed, key) < test fraction
    validation:  of the others, u("validation", seed, key) < validation fraction
    fold of K:   floor(K u("fold", seed, key))

The key is the image's group where it has one, else its name, or the SHA-256 of its bytes; where copies of an image join
groups, the first of their names in order. The number of test images
among N units is therefore binomial: its mean is N · fraction, its variance N · fraction · (1 - fraction).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from mlrpl_cli.core.io.errors import Problems
from mlrpl_cli.core.io.reading import short
from mlrpl_cli.core.labels.masks import drawn_rows
from mlrpl_cli.core.labels.records import TEST, TRAIN, UNASSIGNED, VALIDATION

FOLD = "fold"
TWO_SIDES = "groups are on two sides of a split"
MOVED = "images are of another split than the prepared folder has them in"


class Shares(NamedTuple):
    """How much is set aside, and by which seeds."""

    test: float
    """Share of the test images among those of no split, in [0, 1)."""
    test_seed: int
    validation: float
    """Share of the validation images among the training images, in [0, 1)."""
    validation_seed: int


class Unit(NamedTuple):
    """Images that stay together: those of a group, those of one content, or a single one."""

    key: str
    rows: tuple[int, ...]


Choice = Callable[[str, int, Sequence[Unit], float], Collection[Unit]]
"""(purpose, seed, units, fraction) → the units that are set aside."""


def place(purpose: str, seed: int, key: str) -> float:
    """u(purpose, seed, key) of this module, in [0, 1]; `key` may be a file name beyond UTF-8."""
    digest = hashlib.sha256(f"{purpose}\0{seed}\0{key}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def by_hash(purpose: str, seed: int, units: Sequence[Unit], fraction: float) -> set[Unit]:
    """The units whose `place` is below `fraction`: no unit depends on another."""
    return {unit for unit in units if place(purpose, seed, unit.key) < fraction}


def units_of(images: Sequence[str], groups: Mapping[str, str], digests: Sequence[str] | None = None) -> list[Unit]:
    """The units of `images`: groups, and images of no group; with `digests`, copies are one with all that is theirs.

    A unit's key is the first in order of its groups, else the name or digest of its image.
    """
    joined: dict[tuple[str, str], tuple[str, str]] = {}  # a group or an image, and what it is part of

    def whole(part: tuple[str, str]) -> tuple[str, str]:
        while joined.setdefault(part, part) != part:
            part = joined[part]
        return part

    own = [("image", name) for name in digests or images]
    for part, image in zip(own, images, strict=True):
        if image in groups:
            first, second = sorted((whole(part), whole(("group", groups[image]))))  # groups come before images
            joined[second] = first
    rows = defaultdict[tuple[str, str], list[int]](list)
    for row, part in enumerate(own):
        rows[whole(part)].append(row)
    return [Unit(key, tuple(own)) for (_, key), own in rows.items()]


def divide(
    said: Sequence[str], units: Sequence[Unit], shares: Shares, choose: Choice = by_hash, kept: Mapping[int, str] = {}
) -> tuple[str, ...]:
    """The split of each image, none UNASSIGNED.

    `said` is what the source says, which stays; `kept` the splits of the rows that had one before, which stay too. An
    unassigned image is on the side of its unit, if that has one. Training images that the source names give validation
    images only where it names none of these. `check_sides` has found nothing wrong.
    """
    side = {unit: _side(unit, said, kept) for unit in units}
    free = [unit for unit in units if not side[unit]]
    testing = choose(TEST, shares.test_seed, free, shares.test)
    side |= {unit: TEST if unit in testing else TRAIN for unit in free}
    named = () if VALIDATION in said else (unit for unit in units if not kept.keys() & set(unit.rows))
    learning = [unit for unit in dict.fromkeys((*free, *named)) if side[unit] == TRAIN]
    side |= dict.fromkeys(choose(VALIDATION, shares.validation_seed, learning, shares.validation), VALIDATION)
    split = {row: side[unit] for unit in units for row in unit.rows}
    return tuple(split[row] for row in range(len(said)))


def check_sides(
    said: Sequence[str], units: Sequence[Unit], images: Sequence[str], problems: Problems, kept: Mapping[int, str] = {}
) -> None:
    """Problems are units that the source, or what is kept, has on two sides, and images that it has moved."""
    for unit in units:
        told = {said[row] for row in unit.rows} - {UNASSIGNED}
        before = {kept[row] for row in unit.rows if row in kept}
        if len(told) > 1 or len(before) > 1:
            some = {said[row] or kept.get(row, ""): images[row] for row in reversed(unit.rows)}
            if len(before) > 1:
                some = {kept[row]: images[row] for row in reversed(unit.rows) if row in kept}
            shown = ", ".join(f"{short(some[split])} {split}" for split in sorted(filter(None, some)))
            problems.add(TWO_SIDES, f"{short(unit.key)}: {shown}")
        elif told and before and told != before and (told, before) != ({TRAIN}, {VALIDATION}):
            (new,), (old,) = told, before
            problems.add(MOVED, f"{short(images[unit.rows[0]])}: {old}, not {new}")


def _side(unit: Unit, said: Sequence[str], kept: Mapping[int, str]) -> str:
    """The split that is settled for a unit; UNASSIGNED for none."""
    before = (kept.get(row, UNASSIGNED) for row in unit.rows)
    return next(filter(None, (*before, *(said[row] for row in unit.rows))), UNASSIGNED)


def folds_of(units: Sequence[Unit], folds: int, seed: int, choose: Choice = by_hash) -> dict[Unit, int]:
    """The fold of each unit, from 0: no unit depends on another, unless `choose` lets it.

    Another choice than the hash takes fold after fold out of what is left.
    """
    if choose is by_hash:
        return {unit: min(int(folds * place(FOLD, seed, unit.key)), folds - 1) for unit in units}
    found, left = dict[Unit, int](), list(units)
    for fold in range(folds):
        taken = left if fold == folds - 1 else choose(f"{FOLD} {fold}", seed, left, 1 / (folds - fold))
        found |= dict.fromkeys(taken, fold)
        left = [unit for unit in left if unit not in found]
    return found


def divide_by_row(said: Sequence[str], shares: Shares) -> tuple[str, ...]:
    """As the published protocols divide: `masks.drawn_rows` of the unassigned images, then of the training images.

    At least one is drawn and one is not, unless the share is 0; validation images that the source names stay alone.
    """
    testing = _drawn(said, UNASSIGNED, shares.test, shares.test_seed)
    splits = [TEST if row in testing else split or TRAIN for row, split in enumerate(said)]
    # A stream apart from the mask's, so that which image is set aside says nothing about which cells are known.
    aside = set[int]() if VALIDATION in said else _drawn(splits, TRAIN, shares.validation, [shares.validation_seed, 1])
    return tuple(VALIDATION if row in aside else split for row, split in enumerate(splits))


def _drawn(splits: Sequence[str], split: str, fraction: float, seed: int | list[int]) -> set[int]:
    rows = [row for row, own in enumerate(splits) if own == split]
    return {rows[position] for position in drawn_rows(len(rows), fraction, seed)} if fraction else set()
