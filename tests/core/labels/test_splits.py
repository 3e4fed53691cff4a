from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlrpl_cli.core.io.errors import Problems
from mlrpl_cli.core.labels.masks import drawn_rows
from mlrpl_cli.core.labels.splits import (
    MOVED,
    TWO_SIDES,
    Shares,
    Unit,
    by_hash,
    check_sides,
    divide,
    divide_by_row,
    place,
    units_of,
)
from mlrpl_cli.core.labels.stratify import stratified
from tests import reference

SHARES = Shares(0.2, 0, 0.1, 0)


def split(said: list[str], images: list[str], groups: dict[str, str], **more: Any) -> tuple[str, ...]:
    return divide(said, units_of(images, groups), SHARES, **more)


def test_the_place_of_an_image_is_a_digest_of_its_name() -> None:
    """Written down once, so that no version moves an image; a file name beyond UTF-8 has one, too."""
    assert place("test", 0, "a.jpg") == 0.8466836079485234
    for seed, key in ((0, "a.jpg"), (7, "ä/é.png"), (2**32 - 1, "")):
        assert place("validation", seed, key) == reference.hash_place("validation", seed, key)
    assert 0 <= place("test", 0, "\udcff.jpg") <= 1


def test_the_share_is_binomial() -> None:
    """Of 10,000 images 2,000 test on average, with a standard deviation of 40; validation is drawn apart from that."""
    images = [f"{n}.jpg" for n in range(10_000)]
    splits = split([""] * 10_000, images, {})
    assert abs(splits.count("test") - 2000) < 4 * 40
    assert abs(splits.count("validation") - 800) < 4 * 27


def grown(draw: random.Random) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """Images, the groups of some, and the splits that the table names for some, one for a group."""
    images = [f"{n}.jpg" for n in range(60)]
    groups = {image: f"p{draw.randrange(9)}" for image in images if draw.random() < 0.5}
    side = {key: draw.choice(["", "", "train", "test", "validation"]) for key in {*groups.values(), *images}}
    said = {image: side[groups.get(image, image)] if draw.random() < 0.7 else "" for image in images}
    return images, groups, said


def by_reference(images: list[str], groups: dict[str, str], said: dict[str, str]) -> list[str]:
    sides = {groups[image]: said[image] for image in images if image in groups and said[image]}
    names_validation = "validation" in (said[image] for image in images)
    return [
        reference.hash_split(
            image, groups.get(image, ""), sides.get(groups.get(image, ""), said[image]), 0.2, 0.1, names_validation
        )
        for image in images
    ]


@pytest.mark.parametrize("seed", range(20))
def test_each_image_is_divided_by_itself_and_its_group_alone(seed: int) -> None:
    """Reference: the rule for one image, written from the equation."""
    images, groups, said = grown(random.Random(seed))
    assert list(split([said[image] for image in images], images, groups)) == by_reference(images, groups, said)


@pytest.mark.parametrize("seed", range(40))
def test_no_image_changes_sides_when_others_come_go_or_move(seed: int) -> None:
    """Random growth of a table: with and without groups, with a split column that is partly filled.

    What a table says of an image, and whether it names validation images at all, stays as it is.
    """
    draw = random.Random(seed)
    images, groups, said = grown(draw)
    groups = groups if seed % 2 else {}
    if not groups:
        said = {image: draw.choice(["", "train", "test"]) for image in images}
    always = {image for image in images if said[image]}  # what says the side of a group does not go
    first = [image for image in images if image in always or draw.random() < 0.6]
    second = [image for image in images if image in always or draw.random() < 0.6]
    draw.shuffle(second)
    found = [dict(zip(names, split([said[n] for n in names], names, groups), strict=True)) for names in (first, second)]
    assert all(found[0][image] == found[1][image] for image in set(first) & set(second))
    for names, own in zip((first, second), found, strict=True):
        for group in set(groups.values()):
            assert len({own[image] for image in names if groups.get(image) == group}) <= 1


@pytest.mark.parametrize("seed", range(20))
def test_what_is_kept_stays_and_draws_its_group(seed: int) -> None:
    draw = random.Random(seed)
    images, groups, _ = grown(draw)
    before = {group: draw.choice(["train", "validation", "test"]) for group in {*groups.values(), *images}}
    kept = {row: before[groups.get(image, image)] for row, image in enumerate(images) if draw.random() < 0.5}
    found = split([""] * 60, images, groups, kept=kept)
    sides = {groups.get(images[row], images[row]): own for row, own in kept.items()}
    for row, image in enumerate(images):
        key = groups.get(image, image)
        assert found[row] == sides.get(key, reference.hash_split(image, groups.get(image, ""), "", 0.2, 0.1, False))


def test_no_share_takes_no_image() -> None:
    units = units_of([f"{n}" for n in range(100)], {})
    assert set(divide([""] * 100, units, Shares(0, 0, 0, 0))) == {"train"}
    assert set(divide_by_row(["train"] * 9 + [""], Shares(0, 0, 0, 0))) == {"train"}
    assert stratified(np.ones((100, 1), bool))("test", 0, units, 0) == set()


def test_a_group_on_two_sides_and_a_moved_image_are_told() -> None:
    images, groups = ["a", "b", "c", "d"], {"a": "p1", "b": "p1"}
    units, problems = units_of(images, groups), Problems()
    check_sides(["train", "test", "", ""], units, images, problems)
    assert problems == {TWO_SIDES: ["p1: b test, a train"]}
    problems = Problems()
    check_sides(
        ["", "", "test", "train"], units, images, problems, {0: "train", 1: "test", 2: "train", 3: "validation"}
    )
    assert problems == {TWO_SIDES: ["p1: b test, a train"], MOVED: ["c: train, not test"]}


def test_images_of_one_content_are_one_unit() -> None:
    assert units_of(["a", "b", "c"], {}, ["x", "y", "x"]) == [Unit("x", (0, 2)), Unit("y", (1,))]


@pytest.mark.parametrize("seed", range(30))
def test_neither_copies_nor_groups_are_on_two_sides(seed: int) -> None:
    """Reference: images are of one unit where a walk over common groups and contents leads from one to the other."""
    draw = random.Random(seed)
    images = [f"{n}" for n in range(40)]
    groups = {image: draw.choice("pqrstuvw") + draw.choice("12") for image in images if draw.random() < 0.5}
    digests = [draw.choice("0123456789abcdef") * 2 + str(n % 3) for n in range(40)]
    units = units_of(images, groups, digests)
    assert sorted(row for unit in units for row in unit.rows) == list(range(40))
    of = {row: unit for unit in units for row in unit.rows}
    for start in range(40):
        reached, left = {start}, [start]
        while left:
            row = left.pop()
            near = {
                other
                for other in range(40)
                if digests[other] == digests[row]
                or (images[row] in groups and groups.get(images[other]) == groups[images[row]])
            }
            left += near - reached
            reached |= near
        assert set(of[start].rows) == reached
        own = sorted(groups[images[row]] for row in reached if images[row] in groups)
        assert of[start].key == (own[0] if own else digests[start])


@pytest.mark.parametrize("seed", [0, 7])
def test_published_sets_are_drawn_by_row_as_ever(seed: int) -> None:
    """Reference: numpy's stream, test images first, then validation images of a stream of its own."""
    splits = divide_by_row([""] * 30, Shares(0.2, seed, 0.1, seed))
    test = set(np.random.RandomState(seed).permutation(30)[:6].tolist())
    assert {row for row, own in enumerate(splits) if own == "test"} == test == drawn_rows(30, 0.2, seed)
    learning = [row for row in range(30) if row not in test]
    aside = np.random.RandomState([seed, 1]).permutation(24)[:2]
    assert [row for row, own in enumerate(splits) if own == "validation"] == sorted(learning[n] for n in aside)
    assert divide_by_row(["validation", "train", "test"], SHARES) == ("validation", "train", "test")


def made_up(draw: np.random.RandomState, images: int, classes: int) -> tuple[np.ndarray, list[Unit]]:
    present = draw.random_sample((images, classes)) < draw.random_sample(classes) * 0.6
    names = [f"{n}.jpg" for n in range(images)]
    groups = {name: f"p{draw.randint(8)}" for name in names if draw.random_sample() < 0.4}
    return present, units_of(names, groups)


@pytest.mark.parametrize("seed", range(12))
def test_stratification_is_that_of_the_reference(seed: int) -> None:
    present, units = made_up(np.random.RandomState(seed), 50, 1 + seed % 6)
    labels = {
        unit.key: {str(c): int(n) for c, n in enumerate(present[list(unit.rows)].sum(axis=0)) if n} for unit in units
    }
    sizes = {unit.key: len(unit.rows) for unit in units}
    classes = [str(c) for c in range(present.shape[1])]
    expected = reference.iterative_stratification(labels, sizes, classes, 0.25, seed)
    assert {unit.key for unit in stratified(present)("test", seed, units, 0.25)} == expected


@pytest.mark.parametrize("seed", range(12))
def test_stratification_gives_each_class_its_share_where_it_can(seed: int) -> None:
    """Where images are of one class each it always can: within one image, whatever the order of the rows."""
    draw = np.random.RandomState(seed)
    label, names = draw.randint(0, 7, 90), [f"{n}.jpg" for n in range(90)]
    taken = stratified(np.eye(7, dtype=bool)[label])("test", seed, units_of(names, {}), 0.3)
    for own in range(7):
        assert abs(sum(label[unit.rows[0]] == own for unit in taken) - 0.3 * (label == own).sum()) <= 1
    order = draw.permutation(90)
    again = stratified(np.eye(7, dtype=bool)[label[order]])("test", seed, units_of([names[n] for n in order], {}), 0.3)
    assert {unit.key for unit in again} == {unit.key for unit in taken}


def error(choose: Callable[..., Any], present: np.ndarray, units: list[Unit]) -> float:
    """Mean distance of a class's test images to its share of them."""
    rows = [row for unit in choose("test", 0, units, 0.2) for row in unit.rows]
    return float(np.abs(present[rows].sum(axis=0) - 0.2 * present.sum(axis=0)).mean())


def test_stratification_is_nearer_than_the_hash() -> None:
    present = np.random.RandomState(3).random_sample((400, 20)) < 0.08
    units = units_of([f"{n}" for n in range(400)], {})
    assert error(stratified(present), present, units) < 1 < error(by_hash, present, units)
