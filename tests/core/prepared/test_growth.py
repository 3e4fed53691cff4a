"""A table that grows: prepared again, updated, and never replaced unasked."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlrpl_cli.core.images.check import Checked
from mlrpl_cli.core.io.errors import ConfigError, DataError, MlrplError
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.masks import observe
from mlrpl_cli.core.prepared import content
from mlrpl_cli.core.prepared.build import make, update
from mlrpl_cli.core.prepared.folder import Prepared, read_prepared, write_manifest
from tests import reference


@pytest.fixture(autouse=True)
def _images_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "check_files", lambda *given: Checked())  # those of these tests are their names


Rows = dict[str, tuple[str, ...]]
"""Of each image the cells of a table."""


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)

    warn = note


def write(folder: Path, rows: Mapping[str, tuple[str, ...]], header: str = "dog,cat") -> Path:
    folder.mkdir(exist_ok=True)
    for name in rows:
        (folder / name).write_bytes(name.encode())
    text = "".join(f"{name},{','.join(cells)}\n" for name, cells in rows.items())
    (folder / "labels.csv").write_text(f"image,{header}\n{text}")
    return folder / "labels.csv"


def plain(count: int) -> Rows:
    return {f"{n}.jpg": (str(n % 2), str(n // 2 % 2)) for n in range(count)}


def asked(out: Path, path: Path, **reading: Any) -> dict[str, Any]:
    return {"dataset": "table", "out": out, "reading": {"root": path, **reading}}


def make_it(out: Path, path: Path, **reading: Any) -> Prepared:
    return make(asked(out, path, **reading)).prepared


def sides(prepared: Prepared) -> dict[str, str]:
    return dict(zip(prepared.images, prepared.splits, strict=True))


def refusal(out: Path, path: Path, **given: Any) -> str:
    with pytest.raises(MlrplError) as caught:
        make(asked(out, path) | given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_each_image_is_where_its_name_says(tmp_path: Path) -> None:
    """Reference: the rule for one image; the seed of the split is not that of the mask."""
    found = sides(make_it(tmp_path / "out", write(tmp_path / "in", plain(40))))
    assert found == {name: reference.hash_split(name, "", "", 0.2, 0.1, False) for name in plain(40)}


@pytest.mark.parametrize("seed", range(8))
def test_growth_moves_no_image_by_preparing_or_updating(tmp_path: Path, seed: int) -> None:
    """Rows are added, removed and put in another order, with groups and a column of splits that is partly filled."""
    draw = random.Random(seed)
    names = [f"{n}.jpg" for n in range(60)]
    group = {name: draw.choice(["", "p1", "p2", "p3"]) if seed % 2 else "" for name in names}
    side = {key: draw.choice(["", "train", "test"]) for key in ("p1", "p2", "p3", *names)}
    rows = {name: ("1" if n % 3 else "0", group[name], side[group[name] or name]) for n, name in enumerate(names)}
    reading = {"group_column": "patient"} if seed % 2 else {"ignore_columns": ("patient",)}
    found = []
    for kept in (draw.sample(names, 40), draw.sample(names, 40)):
        path = write(tmp_path / "in", {name: rows[name] for name in kept}, "dog,patient,split")
        found.append(sides(make_it(tmp_path / f"{len(found)}", path, **reading)))
        expected = {n: reference.hash_split(n, group[n], side[group[n] or n], 0.2, 0.1, False) for n in kept}
        assert found[-1] == expected
    assert sides(update(tmp_path / "0").prepared) == found[1]


def test_the_same_again_is_up_to_date_and_writes_nothing(tmp_path: Path) -> None:
    path, notes = write(tmp_path / "in", plain(20)), Notes()
    make_it(tmp_path / "out", path)
    before = (tmp_path / "out").stat().st_ino, bytes_of(tmp_path / "out")
    made = make(asked(tmp_path / "out", path), progress=notes)
    assert not made.is_written
    assert notes.said[-1] == f"{tmp_path / 'out'} is up to date: nothing was written"
    assert ((tmp_path / "out").stat().st_ino, bytes_of(tmp_path / "out")) == before
    assert not update(tmp_path / "out").is_written
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_other_content_is_told_in_numbers_and_replaced_only_where_asked(tmp_path: Path) -> None:
    rows = plain(20)
    path, out = write(tmp_path / "in", rows), tmp_path / "out"
    first = make_it(out, path)
    before = bytes_of(out)
    del rows["0.jpg"]
    rows |= {"1.jpg": ("0", "0"), "2.jpg": ("", "1"), "new.jpg": ("1", "1")}
    write(tmp_path / "in", rows)
    added, removed = reference.hash_split("new.jpg", "", "", 0.2, 0.1, False), sides(first)["0.jpg"]
    told = (
        f"{out} was prepared from other content than there is now: 1 image added (1 {added}), 1 image removed "
        f"(1 {removed}), 2 cells flipped (1 present → absent, 1 absent → unknown); mlrpl prepare --update {out} "
        "takes it and keeps the splits, --replace divides anew, --out keeps both"
    )
    assert refusal(out, path) == told
    assert bytes_of(out) == before
    make(asked(out, path) | {"replace": True})
    assert read_prepared(out).images == tuple(rows)
    assert make_it(out, path).images == tuple(rows)


def test_other_options_are_named(tmp_path: Path) -> None:
    path, out = write(tmp_path / "in", plain(20)), tmp_path / "out"
    make_it(out, path)
    before = bytes_of(out)
    advice = "--out names another folder, and --replace replaces this one"
    assert refusal(out, path, seed=3) == f"{out} was prepared with other options: seed was 0, not 3; {advice}"
    told = "group_column was not given, now it is dog"
    assert told in refusal(out, path, reading={"root": path, "group_column": "dog"})
    assert bytes_of(out) == before


def test_an_update_says_what_changed(tmp_path: Path) -> None:
    rows = plain(30)
    path, out = write(tmp_path / "in", rows), tmp_path / "out"
    old = make_it(out, path)
    for name in ("3.jpg", "4.jpg"):
        del rows[name]
    write(
        tmp_path / "in",
        {n: (*c[:1], "1") for n, c in (rows | plain(33)).items() if n not in ("3.jpg", "4.jpg")},
        "dog,cow",
    )
    made = update(out)
    changes, new = made.changes, made.prepared
    assert changes is not None
    assert made.is_written
    before, after = sides(old), sides(new)
    assert {name: after[name] for name in before if name in after} == {n: before[n] for n in before if n in after}
    for split in ("train", "validation", "test"):
        assert changes.added.get(split, 0) == sum(own == split and n not in before for n, own in after.items())
        assert changes.removed.get(split, 0) == sum(own == split and n not in after for n, own in before.items())
    assert (changes.moved, changes.flipped, changes.hidden) == ({}, {}, 0)
    assert (changes.classes_added, changes.classes_removed) == (("cow",), ("cat",))
    assert "3 images added" in str(changes)
    assert "1 of the classes added (cow), 1 of the classes removed (cat)" in str(changes)
    assert read_prepared(out).images == new.images


def test_an_update_keeps_splits_that_no_hash_gives(tmp_path: Path) -> None:
    """Those of a stratified table, and of a folder of mlrpl 0.1.0, whose test images were drawn by row."""
    rows, out = plain(40), tmp_path / "out"
    path = write(tmp_path / "in", rows)
    first = make_it(out, path, stratify=True)
    assert any("--stratify" in note for note in first.notes)
    labels = np.array(list(rows.values()), int)
    test = first.rows("test")
    assert np.abs(labels[test].sum(axis=0) - 0.2 * labels.sum(axis=0)).max() <= 1
    write(tmp_path / "in", {"new.jpg": ("1", "1"), **dict(reversed(rows.items()))})
    new = sides(update(out).prepared)
    assert new == sides(first) | {"new.jpg": reference.hash_split("new.jpg", "", "", 0.2, 0.1, False)}
    manifest = json.loads((out / "manifest.json").read_text())
    for name in ("split_by", "stratify", "group_column"):
        del manifest["options"]["reading"][name]
    manifest["options"]["reading"] |= {"seed": 0, "image_folder": None, "year": None}
    (out / "manifest.json").write_text(json.dumps(manifest))
    write(tmp_path / "in", plain(45))
    again = sides(update(out).prepared)
    assert all(again[name] == own for name, own in new.items() if name in again)
    assert "45.jpg" not in again


def test_splits_that_were_drawn_otherwise_are_told_and_kept_only_by_update(tmp_path: Path) -> None:
    """As those of mlrpl 0.1.0: the same options and the same table, whose images were divided by row."""
    path, out = write(tmp_path / "in", plain(20)), tmp_path / "out"
    splits = ("test",) * 5 + ("validation",) + ("train",) * 14
    old = make_it(out, path)
    old = replace(old, splits=splits, mask_sha256=observe(old.full_labels, splits, 1, 0)[1])
    write_manifest(out, old)
    told = refusal(out, path)
    expected = [(own, reference.hash_split(n, "", "", 0.2, 0.1, False)) for n, own in sides(old).items()]
    moved = [pair for pair in expected if pair[0] != pair[1]]
    assert f"{len(moved)} images in another split (" in told
    assert f"{moved.count(('test', 'train'))} test → train" in told
    assert not update(out).is_written
    assert read_prepared(out).splits == old.splits


def test_a_new_image_is_on_the_side_of_its_group(tmp_path: Path) -> None:
    rows = {f"{n}.jpg": ("1" if n % 2 else "0", f"p{n % 7}") for n in range(35)}
    path, out = write(tmp_path / "in", rows, "dog,patient"), tmp_path / "out"
    first = sides(make_it(out, path, group_column="patient", stratify=True))
    assert {len({first[n] for n, cells in rows.items() if cells[1] == p}) for p in {c[1] for c in rows.values()}} == {1}
    more = {f"n{n}.jpg": ("1", f"p{n}") for n in range(7)}
    write(tmp_path / "in", rows | more, "dog,patient")
    again = sides(update(out).prepared)
    assert all(again[f"n{n}.jpg"] == first[f"{n}.jpg"] for n in range(7))


def test_a_group_on_two_sides_is_refused(tmp_path: Path) -> None:
    rows = {"a.jpg": ("1", "p1", "train"), "b.jpg": ("0", "p1", "test"), "c.jpg": ("1", "", "train")}
    path = write(tmp_path / "in", rows, "dog,patient,split")
    told = refusal(tmp_path / "out", path, reading={"root": path, "group_column": "patient"})
    assert "1 group is on two sides of a split (p1: b.jpg test, a.jpg train)" in told


def test_a_table_that_moves_an_image_is_refused_by_update(tmp_path: Path) -> None:
    rows: Rows = {f"{n}.jpg": ("1", "train" if n else "test") for n in range(9)}
    path, out = write(tmp_path / "in", rows, "dog,split"), tmp_path / "out"
    make_it(out, path)
    write(tmp_path / "in", rows | {"3.jpg": ("1", "test")}, "dog,split")
    with pytest.raises(DataError, match=r"1 image is of another split than the prepared .*\(3.jpg: train, not test\)"):
        update(out)


def test_content_decides_where_names_change(tmp_path: Path) -> None:
    path, out = write(tmp_path / "in", plain(40)), tmp_path / "out"
    first = sides(make_it(out, path, split_by="content"))
    renamed = {f"x{name}": cells for name, cells in plain(40).items()}
    write(tmp_path / "in", renamed)
    for name in plain(40):
        (tmp_path / "in" / f"x{name}").write_bytes(name.encode())
    again = sides(update(out).prepared)
    assert again == {f"x{name}": own for name, own in first.items()}
    assert sides(make_it(tmp_path / "other", path, split_by="content")) == again


def with_contents(folder: Path, contents: Mapping[str, str], cells: Mapping[str, tuple[str, ...]], header: str) -> Path:
    path = write(folder, cells, header)
    for name, text in contents.items():
        (folder / name).write_text(text)
    return path


@pytest.mark.parametrize("seed", range(6))
def test_where_content_decides_an_update_keeps_every_split_whatever_the_names(tmp_path: Path, seed: int) -> None:
    """Names are shuffled among the images, some go and others come, and no split is the one that a hash gives."""
    draw = random.Random(seed)
    names = [f"{n}.jpg" for n in range(40)]
    first = {name: f"photograph {n}" for n, name in enumerate(names)}
    path, out = with_contents(tmp_path / "in", first, plain(40), "dog,cat"), tmp_path / "out"
    old = make_it(out, path, split_by="content")
    splits = tuple(draw.choice(["train", "train", "validation", "test"]) for _ in names)
    write_manifest(out, replace(old, splits=splits, mask_sha256=observe(old.full_labels, splits, 1, 0)[1]))
    was = dict(zip(first.values(), splits, strict=True))
    texts = [*draw.sample([*first.values()], 30), *(f"new {n}" for n in range(10))]
    draw.shuffle(texts)
    with_contents(tmp_path / "in", second := dict(zip(names, texts, strict=True)), plain(40), "dog,cat")
    made = update(out)
    assert made.is_written
    found = {second[name]: split for name, split in sides(made.prepared).items()}
    assert {text: found[text] for text in found if text in was} == {text: was[text] for text in found if text in was}
    assert made.changes is not None
    assert made.changes.edited == sum(first[name] != second[name] for name in names)
    assert not update(out).is_written


def test_where_content_decides_an_edited_image_of_the_same_name_stays_where_it_was(tmp_path: Path) -> None:
    path, out = write(tmp_path / "in", plain(40)), tmp_path / "out"
    first = sides(make_it(out, path, split_by="content"))
    for name in plain(40):
        (tmp_path / "in" / name).write_bytes(name.encode() + b" turned upright")
    told = refusal(out, path, reading={"root": path, "split_by": "content"})
    assert "40 images with other bytes" in told
    made = update(out)
    assert sides(made.prepared) == first
    assert str(made.changes) == "40 images with other bytes"


def test_a_folder_of_an_older_mlrpl_is_divided_by_content_as_it_was_and_says_it_from_then_on(tmp_path: Path) -> None:
    path, out = write(tmp_path / "in", plain(40)), tmp_path / "out"
    old = make_it(out, path, split_by="content")
    (out / "contents.npy").unlink()
    write_manifest(out, replace(old, contents=None))
    assert read_prepared(out).contents is None
    assert not make(asked(out, path, split_by="content")).is_written
    made = update(out)
    assert made.is_written
    assert sides(made.prepared) == sides(old)
    assert read_prepared(out).contents is not None


def test_a_copy_outside_its_group_is_on_the_side_of_the_group(tmp_path: Path) -> None:
    rows = {f"{n}.jpg": ("1" if n % 2 else "0", f"p{n % 20}" if n < 40 else "") for n in range(80)}
    texts = {f"{n}.jpg": f"photograph {n % 40}" for n in range(80)}
    path = with_contents(tmp_path / "in", texts, rows, "dog,patient")
    found = sides(make_it(tmp_path / "out", path, split_by="content", group_column="patient"))
    assert all(found[f"{n}.jpg"] == found[f"{n + 40}.jpg"] == found[f"{n % 20}.jpg"] for n in range(40))
    assert len(set(found.values())) > 1


def test_an_update_hints_at_content_where_images_were_renamed(tmp_path: Path) -> None:
    path, out, notes = write(tmp_path / "in", plain(20)), tmp_path / "out", Notes()
    for n in range(20):
        (tmp_path / "in" / f"{n}.jpg").write_bytes(b"x" * (n + 1))
    make_it(out, path)
    write(tmp_path / "in", {(f"{n}.jpg" if n < 15 else f"renamed{n}.jpg"): c for n, c in enumerate(plain(20).values())})
    for n in range(15, 20):
        (tmp_path / "in" / f"{n}.jpg").rename(tmp_path / "in" / f"renamed{n}.jpg")
    made = make({}, out, notes)
    assert made.changes is not None
    assert made.changes.renamed == 5
    assert "5 of those added match removed ones" in str(made.changes)
    assert notes.said == [
        "5 images added, and as many removed, of the same sizes in bytes: if those were renamed, some may have changed "
        "sides, since names decide; --split-by content, with another --out, keeps renamed images where they are"
    ]
    notes.said.clear()
    (tmp_path / "in" / "new.jpg").write_bytes(b"x" * 99)
    rows = {(f"{n}.jpg" if n < 15 else f"renamed{n}.jpg"): c for n, c in enumerate(plain(20).values())}
    del rows["0.jpg"]
    write(tmp_path / "in", rows | {"new.jpg": ("1", "0")})
    (tmp_path / "in" / "new.jpg").write_bytes(b"x" * 99)
    assert make({}, out, notes).changes.renamed == 0
    assert notes.said == []


def test_options_beside_update_are_refused_by_name(tmp_path: Path) -> None:
    path, out = write(tmp_path / "in", plain(20)), tmp_path / "out"
    make_it(out, path)
    with pytest.raises(ConfigError) as caught:
        make({"seed": 0, "keep": 0.5, "reading": {"root": path}, "check_images": False}, out)
    assert "beside which --seed, --keep, --root cannot be given" in str(caught.value)
    write(tmp_path / "in", plain(21))
    made = make({"out": tmp_path / "new", "check_images": False}, out)
    assert (made.prepared.folder, len(read_prepared(out).images)) == (tmp_path / "new", 20)
    assert made.prepared.options["reading"]["root"] == "../in/labels.csv"


def test_an_update_needs_the_recorded_options(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a prepared folder"):
        update(tmp_path / "nothing")
    path, out = write(tmp_path / "in", plain(20)), tmp_path / "out"
    make_it(out, path)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["options"]["seed"] = "x"
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"manifest\.json does not say its options"):
        update(out)


def test_a_damaged_folder_of_the_same_options_is_prepared_again(tmp_path: Path) -> None:
    path, out, notes = write(tmp_path / "in", plain(20)), tmp_path / "out", Notes()
    make_it(out, path)
    before = bytes_of(out)
    (out / "images.csv").write_text("")
    assert make(asked(out, path), progress=notes).is_written
    assert notes.said[0] == f"{out} is damaged, or of another version, and is prepared again"
    assert bytes_of(out) == before


@pytest.mark.parametrize("share", ["test", "validation"])
def test_no_share_takes_no_image_and_says_what_that_leaves(tmp_path: Path, share: str) -> None:
    path, notes = write(tmp_path / "in", plain(20)), Notes()
    given = asked(tmp_path / "out", path, **({"test_fraction": 0} if share == "test" else {}))
    made = make(given | ({"validation_fraction": 0} if share == "validation" else {}), progress=notes)
    assert share not in made.prepared.splits
    assert notes.said == [
        "there are no test images: mlrpl eval will have nothing to measure"
        if share == "test"
        else "there are no validation images: mlrpl train keeps its last epoch, since it cannot choose the best"
    ]


def test_a_split_that_few_images_leave_empty_is_told(tmp_path: Path) -> None:
    """By chance no image of these tests or validates, or none trains."""
    names = [n for n in plain(200) if reference.hash_split(n, "", "", 0.2, 0.1, False) == "train"][:4]
    path, notes = write(tmp_path / "in", dict.fromkeys(names, ("1", "0"))), Notes()
    make(asked(tmp_path / "out", path), progress=notes)
    by_chance = "by the hash a share of {} of few images can be none: another {}, or --stratify, gives some"
    assert [note.partition("; ")[2] for note in notes.said] == [
        by_chance.format(0.2, "--split-seed"),
        by_chance.format(0.1, "--seed"),
    ]
    names = [n for n in plain(200) if reference.hash_split(n, "", "", 0.2, 0.1, False) == "test"][:4]
    told = refusal(tmp_path / "none", write(tmp_path / "in", dict.fromkeys(names, ("1", "0"))))
    assert told.startswith("table: 0 training images, at least 1 needed; divide them otherwise")


def test_blank_splits_are_assigned_and_counted(tmp_path: Path) -> None:
    rows = {f"{n}.jpg": ("1" if n % 2 else "0", ("train", "test", "")[n % 3]) for n in range(30)}
    prepared = make_it(tmp_path / "out", write(tmp_path / "in", rows, "dog,split"))
    assert sides(prepared) == {n: reference.hash_split(n, "", c[1], 0.2, 0.1, False) for n, c in rows.items()}
    assert "10 of 30 images are of no split yet and are divided by the hash of their name (or group)" in prepared.notes


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("birds/labels.csv", "birds-labels"),
        ("birds/_classes.csv", "birds-classes"),
        ("birds/train.csv.gz", "birds-train"),
        ("birds/owls.csv", "owls"),
        ("birds/owls_2024.labels.csv", "owls_2024"),
        ("birds", "birds"),
        ("birds/.", "birds"),
    ],
)
def test_a_prepared_folder_is_called_after_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "birds", plain(20))
    if not (tmp_path / place).is_dir() and tmp_path / place != path:
        import gzip

        content = path.read_bytes()
        (tmp_path / place).write_bytes(gzip.compress(content) if place.endswith(".gz") else content)
        path.unlink()
    given = asked(Path("unused"), tmp_path / place)
    del given["out"]
    assert make(given).prepared.folder == Path(f"prepared/{name}-keep100-seed0")


def test_a_published_set_takes_no_other_split(tmp_path: Path) -> None:
    for option, flags in (({"stratify": True}, "--stratify"), ({"split_by": "name"}, "--split-by")):
        with pytest.raises(ConfigError) as caught:
            make({"dataset": "voc", "reading": {"root": tmp_path, **option}})
        assert str(caught.value) == (f"{flags} is for images of your own, and voc has a published split; leave it out")
    with pytest.raises(ConfigError, match="--stratify divides by classes"):
        make(asked(tmp_path / "out", tmp_path, stratify=True, split_by="content"))


def test_scenes_are_updated_by_their_protocol(tmp_path: Path) -> None:
    given = {"out": tmp_path / "out", "reading": {"train_images": 6, "test_images": 2}}
    make(given)
    assert not update(tmp_path / "out").is_written
    assert not make(given).is_written


def test_an_interruption_keeps_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the last moment before the new one takes its place."""
    path, out = write(tmp_path / "in", plain(20)), tmp_path / "out"
    make_it(out, path)
    before = bytes_of(out)
    write(tmp_path / "in", plain(25))

    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mlrpl_cli.core.io.files._exchange", interrupted)
    with pytest.raises(KeyboardInterrupt):
        update(out)
    assert bytes_of(out) == before
