from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from mlrpl_cli.core.images.check import Checked
from mlrpl_cli.core.io.errors import ConfigError, DataError
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.formats.registry import DATASETS
from mlrpl_cli.core.labels.formats.tabular.table import Table
from mlrpl_cli.core.labels.records import Format, Reading, Records
from mlrpl_cli.core.labels.sources import SOURCES
from mlrpl_cli.core.prepared import content
from mlrpl_cli.core.prepared.build import PrepareOptions, prepare, prepare_once
from mlrpl_cli.core.prepared.folder import Prepared, read_prepared
from mlrpl_cli.core.prepared.summary import counts_of_splits, rarest_classes

CLASSES = ("cat", "cow", "dog", "horse", "pig", "sheep")


class Toy(Format):
    """Made-up records, with labels that are all known."""

    root: Path | None = None
    difficult: str = "absent"

    images: ClassVar[Path]
    splits: ClassVar[tuple[str, ...]]
    labels: ClassVar[np.ndarray]
    seen: ClassVar[Toy]

    @classmethod
    def use(cls, splits: tuple[str, ...]) -> None:
        cls.splits = splits
        cls.labels = np.random.default_rng(0).choice([-1, 1], (len(splits), len(CLASSES))).astype(np.int8)

    def read(self, reading: Reading) -> Records:
        Toy.seen = self
        names = tuple(f"{row}.jpg" for row in range(len(self.splits)))
        return Records(CLASSES, self.images, names, self.labels, self.splits)


class Certain(Toy):
    """One whose labels are all kept by default."""

    default_keep: ClassVar[float] = 1.0


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Toy]:
    """The registry with the data set `toy`, in an empty current folder."""
    Toy.images = tmp_path / "photos"
    Toy.images.mkdir()
    Toy.use(("train",) * 40 + ("test",) * 10)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setitem(DATASETS, "toy", f"{__name__}:Toy")
    monkeypatch.setattr(content, "check_files", lambda *given: Checked())  # there are no images
    return Toy


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_training_labels_are_masked_and_test_labels_whole(toy: type[Toy]) -> None:
    """Reference: the protocol's own expression, over the training rows in the publisher's order."""
    prepared = prepare(PrepareOptions("toy", keep=0.4, seed=2))
    mask = np.random.RandomState(2).random_sample((40, 6)) < 0.4
    assert (prepared.full_labels == toy.labels).all()
    assert (prepared.observed_labels[:40] == toy.labels[:40] * mask).all()
    assert (prepared.observed_labels[40:] == toy.labels[40:]).all()


def test_the_mask_ignores_where_test_images_stand(toy: type[Toy]) -> None:
    plain = prepare(PrepareOptions("toy", keep=0.4))
    toy.use(("test",) * 10 + ("train",) * 40)
    moved = prepare(PrepareOptions("toy", keep=0.4, replace=True))
    assert moved.mask_sha256 == plain.mask_sha256
    assert ((moved.observed_labels[10:] == 0) == (plain.observed_labels[:40] == 0)).all()


def test_validation_is_a_seeded_tenth_of_the_training_images(toy: type[Toy]) -> None:
    splits = [prepare(PrepareOptions("toy", seed=seed)).splits for seed in (0, 0, 1)]
    assert [splits[0].count(name) for name in ("train", "validation", "test")] == [36, 4, 10]
    assert splits[0] == splits[1] != splits[2]
    assert splits[0][40:] == ("test",) * 10


@pytest.mark.parametrize(("fraction", "counts"), [(0.001, (1, 1)), (0.999, (1, 1))])
def test_training_and_validation_each_have_an_image(toy: type[Toy], fraction: float, counts: tuple[int, int]) -> None:
    toy.use(("train",) * 2)
    splits = prepare(PrepareOptions("toy", validation_fraction=fraction)).splits
    assert (splits.count("train"), splits.count("validation")) == counts


def test_validation_images_of_the_data_set_stay(toy: type[Toy]) -> None:
    toy.use(("train", "validation") * 20 + ("test",) * 10)
    assert prepare(PrepareOptions("toy")).splits == toy.splits


def test_too_few_training_images_are_told(toy: type[Toy]) -> None:
    toy.use(("train",))
    with pytest.raises(DataError, match=r"^toy: 1 training image, at least 2 needed$"):
        prepare(PrepareOptions("toy"))


def test_chosen_classes_keep_the_order_of_the_data_set(toy: type[Toy]) -> None:
    prepared = prepare(PrepareOptions("toy", keep=1, classes=("pig", "cat")))
    assert prepared.classes == ("cat", "pig")
    assert (prepared.observed_labels == toy.labels[:, [0, 4]]).all()


def test_names_that_say_nothing_to_clip_are_told(toy: type[Toy], monkeypatch: pytest.MonkeyPatch) -> None:
    assert prepare(PrepareOptions("toy")).notes == []
    monkeypatch.setattr(f"{__name__}.CLASSES", ("cat", "labels___1", "dog", "3", "pig", "sheep"))
    (note,) = prepare(PrepareOptions("toy", replace=True)).notes
    assert note.startswith("names that say nothing to CLIP, of 2 classes: labels___1, 3; --merge-classes 'labels___1=")


def test_every_unknown_class_is_told(toy: type[Toy]) -> None:
    with pytest.raises(ConfigError) as error:
        prepare(PrepareOptions("toy", classes=("hors", "cat", "zebra")))
    known = "cat, cow, dog, horse, pig, sheep"
    first, second = "no class is called 'hors'; did you mean 'horse'?", f"no class is called 'zebra'; known: {known}"
    assert str(error.value) == f"{first}; {second}"


def test_bad_options_are_told_together(toy: type[Toy]) -> None:
    wrong = PrepareOptions("toi", keep=1.2, validation_fraction=1)
    with pytest.raises(ConfigError) as error:
        prepare(wrong)
    assert str(error.value).split("; ") == [
        "no data set is called 'toi'",
        "did you mean 'toy'?",
        "the keep proportion must be above 0 and at most 1, not 1.2",
        "for 30% type --keep 0.3",
        "the validation fraction must be from 0 to below 1, not 1",
    ]


@pytest.mark.parametrize(("keep", "name"), [(None, "30"), (0.3, "30"), (0.125, "12.5"), (1, "100"), (0.07, "7")])
def test_default_folder_says_what_is_in_it(toy: type[Toy], keep: float | None, name: str) -> None:
    assert prepare(PrepareOptions("toy", keep=keep, seed=4)).folder == Path(f"prepared/toy-keep{name}-seed4")


def test_the_format_says_what_is_kept_by_default(toy: type[Toy], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "certain", f"{__name__}:Certain")
    prepared = prepare(PrepareOptions("certain"))
    assert prepared.folder.name == "certain-keep100-seed0"
    assert (prepared.observed_labels == toy.labels).all()
    assert Table.default_keep == 1


def test_what_is_returned_is_what_is_read_back(toy: type[Toy]) -> None:
    prepared = prepare(PrepareOptions("toy", classes=("cat", "dog"), reading={"root": Path("data")}))
    read = read_prepared(prepared.folder)
    for name in ("dataset", "classes", "image_root", "images", "splits", "options", "mask_sha256"):
        assert getattr(read, name) == getattr(prepared, name)
    assert prepared.image_root == toy.images
    assert prepared.options["reading"]["root"] == "../../data"


def test_the_same_options_give_the_same_bytes(toy: type[Toy]) -> None:
    first, second = (prepare(PrepareOptions("toy", out=Path(name))) for name in ("first", "second"))
    assert bytes_of(first.folder) == bytes_of(second.folder)


def test_preparing_again_replaces_the_folder_where_asked(toy: type[Toy]) -> None:
    prepare(PrepareOptions("toy", keep=0.2, out=Path("data")))
    again = prepare(PrepareOptions("toy", keep=0.9, out=Path("data"), replace=True))
    assert read_prepared(Path("data")).mask_sha256 == again.mask_sha256
    assert "replace" not in again.options


def test_a_failure_leaves_the_old_folder_and_nothing_else(toy: type[Toy]) -> None:
    folder = prepare(PrepareOptions("toy", out=Path("data"))).folder
    before = bytes_of(folder)
    with pytest.raises(ConfigError):
        prepare(PrepareOptions("toy", out=Path("data"), classes=("unicorn",)))
    assert bytes_of(folder) == before
    assert [path.name for path in Path().iterdir()] == ["data"]


def test_a_folder_of_the_same_options_is_prepared_once(toy: type[Toy]) -> None:
    options = PrepareOptions("toy", keep=1, out=Path("data"), reading={"root": Path("one")})
    prepare_once(options, dry_run=True)
    assert not Path("data").exists()
    prepare_once(options)
    before = bytes_of(Path("data"))
    toy.use(("train",) * 3)  # would give other bytes
    prepare_once(options)
    prepare_once(options, dry_run=True)
    assert bytes_of(Path("data")) == before


def test_scenes_of_mlrpl_0_1_0_are_the_same_options_by_other_names(tmp_path: Path) -> None:
    options = PrepareOptions(out=tmp_path / "out", reading={"train_images": 3, "test_images": 2})
    prepare(options)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["options"]["reading"].pop("scenes_seed") == 0
    manifest["options"]["reading"] |= {"seed": 0, "image_folder": None, "year": None, "root": None}
    (tmp_path / "out/manifest.json").write_text(json.dumps(manifest))
    prepare_once(options)
    assert read_prepared(tmp_path / "out").options["reading"]["scenes_seed"] == 0


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_folder_of_other_options_is_not_taken_over(toy: type[Toy], dry_run: bool) -> None:
    """Rows of one root must not go for rows of another."""
    options = PrepareOptions("toy", keep=1, out=Path("data"), reading={"root": Path("one")})
    prepare_once(options)
    before = bytes_of(Path("data"))
    with pytest.raises(ConfigError) as error:
        prepare_once(replace(options, seed=3, reading={"root": Path("two")}), dry_run=dry_run)
    differing = f"seed was 0, not 3; root was {Path('one').absolute()}, not {Path('two').absolute()}"
    advice = "name another folder with --out, or remove this one to prepare it again"
    assert str(error.value) == f"data was prepared with other options: {differing}; {advice}"
    assert bytes_of(Path("data")) == before


def refuse(options: PrepareOptions) -> str:
    with pytest.raises(DataError) as error:
        prepare(options)
    return str(error.value)


def test_a_folder_that_is_not_ours_is_refused(toy: type[Toy]) -> None:
    Path("thesis").mkdir()
    Path("thesis/manifest.json").write_text("{}")
    message = refuse(PrepareOptions("toy", out=Path("thesis")))
    assert message == "thesis is not empty and not a prepared folder; name another one with --out"


def test_a_prepared_folder_with_something_of_the_user_is_refused(toy: type[Toy]) -> None:
    prepare(PrepareOptions("toy", out=Path("data")))
    Path("data/run-1").mkdir()
    message = refuse(PrepareOptions("toy", out=Path("data")))
    expected = "data holds more than mlrpl prepare wrote (run-1); move that away, or name another folder with --out"
    assert message == expected


def test_a_file_is_refused(toy: type[Toy]) -> None:
    Path("notes").write_text("mine")
    assert refuse(PrepareOptions("toy", out=Path("notes"))) == "notes is a file; name a folder with --out"


def test_a_folder_that_holds_the_data_set_is_refused(toy: type[Toy]) -> None:
    prepare(PrepareOptions("toy", out=Path("data")))
    message = refuse(PrepareOptions("toy", out=Path("data"), reading={"root": Path("data/images")}))
    assert message == "data holds the data set data/images itself; name another folder with --out"


def test_an_empty_folder_is_filled_and_a_link_is_followed(toy: type[Toy]) -> None:
    Path("real").mkdir()
    Path("link").symlink_to("real")
    prepare(PrepareOptions("toy", out=Path("link")))
    assert Path("link").is_symlink()
    assert read_prepared(Path("real")).dataset == "toy"


def test_an_existing_folder_is_checked_before_anything_is_read(toy: type[Toy], monkeypatch: pytest.MonkeyPatch) -> None:
    def never(source: Toy, reading: Reading) -> Records:
        raise AssertionError("read although the target cannot be written")

    monkeypatch.setattr(Toy, "read", never)
    Path("file").write_text("")
    refuse(PrepareOptions("toy", out=Path("file")))


@pytest.mark.parametrize(("root", "expected"), [(None, Path("datasets/toy")), (Path("mine"), Path("mine"))])
def test_the_reader_gets_what_was_downloaded(
    toy: type[Toy], monkeypatch: pytest.MonkeyPatch, root: Path | None, expected: Path
) -> None:
    monkeypatch.setitem(SOURCES, "toy", ())
    prepare(PrepareOptions("toy", download=True, reading={} if root is None else {"root": root}))
    assert toy.seen.root == expected


def test_masks_of_different_seeds_share_the_rendered_scenes(tmp_path: Path) -> None:
    small = {"train_images": 4, "test_images": 2}
    folders = [tmp_path / "zero", tmp_path / "one"]
    prepared = [
        prepare(PrepareOptions("scenes", seed=seed, out=out, reading=small)) for seed, out in enumerate(folders)
    ]
    assert prepared[0].mask_sha256 != prepared[1].mask_sha256
    assert bytes_of(folders[0] / "images") == bytes_of(folders[1] / "images")
    assert all(path.is_file() for path in read_prepared(folders[0]).paths(np.arange(6)))


def count_by_hand(prepared: Prepared, split: str, state: int) -> int:
    rows = [row for row, name in enumerate(prepared.splits) if name == split]
    return sum(int(label) == state for row in rows for label in prepared.observed_labels[row])


def test_summary_counts_observed_labels_of_each_split(toy: type[Toy]) -> None:
    """Reference: cells counted one by one."""
    prepared = prepare(PrepareOptions("toy", keep=0.5))
    counts = counts_of_splits(prepared)
    assert list(counts) == ["train", "validation", "test"]
    for split, found in counts.items():
        counted = [count_by_hand(prepared, split, state) for state in (1, -1, 0)]
        assert [found.present, found.absent, found.unknown] == counted
        assert found.images == prepared.splits.count(split)


def test_summary_names_the_five_rarest_classes(toy: type[Toy]) -> None:
    toy.use(("train",) * 39 + ("validation",) + ("test",) * 10)
    toy.labels[:] = -1
    for positives, column in enumerate((3, 1, 0, 5, 2, 4)):
        toy.labels[:positives, column] = 1
    rarest = rarest_classes(prepare(PrepareOptions("toy", keep=1)))
    assert list(rarest.items()) == [("horse", 0), ("cow", 1), ("cat", 2), ("sheep", 3), ("dog", 4)]


def test_missing_test_images_are_noted(toy: type[Toy]) -> None:
    said: list[str] = []

    class Listener:
        def note(self, message: str) -> None:
            said.append(message)

        warn = note

    toy.use(("train",) * 50)
    assert list(counts_of_splits(prepare(PrepareOptions("toy"), Listener()))) == ["train", "validation"]  # type: ignore[arg-type]
    assert said == ["there are no test images: mlrpl eval will have nothing to measure"]


def test_a_root_of_links_in_a_circle_is_left_to_the_reader(toy: type[Toy]) -> None:
    Path("one").symlink_to("two")
    Path("two").symlink_to("one")
    assert prepare(PrepareOptions("toy", reading={"root": Path("one")})).dataset == "toy"


def test_a_folder_that_cannot_be_made_or_listed_is_told(toy: type[Toy], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "File name too long" in refuse(PrepareOptions("toy", out=Path("a" * 300)))
    assert "cannot be the name of a file" in refuse(PrepareOptions("toy", out=Path("a\0b"), reading={"root": Path()}))

    def deny(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    Path("closed").mkdir()
    monkeypatch.setattr(Path, "iterdir", deny)
    message = "cannot list closed: Permission denied; name another folder with --out"
    assert refuse(PrepareOptions("toy", out=Path("closed"))) == message


def write_photos(folder: Path, count: int = 12) -> None:
    """A table of images beside it: 3 is empty, 4 a page, and 5 lacks its last bytes."""
    folder.mkdir(parents=True)
    for row in range(count):
        Image.new("RGB", (16, 16), (row * 9, 0, 0)).save(folder / f"{row}.jpg")
    (folder / "3.jpg").write_bytes(b"")
    (folder / "4.jpg").write_bytes(b"<html>")
    (folder / "5.jpg").write_bytes((folder / "5.jpg").read_bytes()[:-4])
    rows = "".join(f"{row}.jpg,{row % 2},{'test' if row > 8 else 'train'}\n" for row in range(count))
    (folder / "labels.csv").write_text("image,cat,split\n" + rows)


def test_broken_images_are_found_together_and_nothing_is_written(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    reading = {"root": tmp_path / "photos" / "labels.csv"}
    with pytest.raises(DataError) as caught:
        prepare(PrepareOptions("table", out=tmp_path / "out", reading=reading))
    expected = "1 image is empty (3.jpg); 1 file holds no image (4.jpg); 1 image is truncated or damaged (5.jpg)"
    assert expected in str(caught.value)
    assert "--drop-broken" in str(caught.value)
    assert "--allow-truncated" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_broken_images_are_left_out_and_truncated_ones_taken_when_asked(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    reading = {"root": tmp_path / "photos" / "labels.csv"}
    options = PrepareOptions("table", out=tmp_path / "out", reading=reading, drop_broken=True)
    prepare(options)
    read = read_prepared(tmp_path / "out")
    assert set(read.images) == {f"{row}.jpg" for row in range(12)} - {"3.jpg", "4.jpg", "5.jpg"}
    assert len(read.full_labels) == len(read.splits) == 9
    assert any(note.startswith("3 broken images are left out: 1 image is empty (3.jpg)") for note in read.notes)
    assert not read.allow_truncated
    prepare(replace(options, allow_truncated=True, replace=True))
    read = read_prepared(tmp_path / "out")
    assert "5.jpg" in read.images
    assert read.allow_truncated
    assert any("1 JPEG lacks the last bytes" in note and "5.jpg" in note for note in read.notes)


def test_many_images_are_checked_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photos(tmp_path / "photos")
    monkeypatch.setattr(content, "CHECKED", 11)
    said = []

    class Listener(Silent):
        def note(self, message: str) -> None:
            said.append(message)

        warn = note

    options = PrepareOptions("table", out=tmp_path / "out", reading={"root": tmp_path / "photos" / "labels.csv"})
    assert len(prepare(options, Listener()).images) == 12
    assert any("12 images are not checked, since they are more than 11; --check-images" in note for note in said)
    with pytest.raises(DataError, match="1 image is empty"):
        prepare(replace(options, check_images=True))
    with pytest.raises(ConfigError, match="--drop-broken needs the images to be checked"):
        prepare(replace(options, check_images=False, drop_broken=True))


def test_folder_that_moves_with_its_images_is_the_same_bytes_and_works(tmp_path: Path) -> None:
    for place in ("here", "there"):
        write_photos(tmp_path / place / "photos")
        reading = {"root": tmp_path / place / "photos" / "labels.csv"}
        options = PrepareOptions("table", out=tmp_path / place / "prepared" / "a", reading=reading, drop_broken=True)
        prepare(options)
    assert bytes_of(tmp_path / "here" / "prepared") == bytes_of(tmp_path / "there" / "prepared")
    (tmp_path / "here").rename(tmp_path / "moved")
    moved = read_prepared(tmp_path / "moved" / "prepared" / "a")
    assert moved.image_root == tmp_path / "moved" / "photos"
    assert all(path.is_file() for path in moved.paths(moved.rows("train")))
    (tmp_path / "moved" / "prepared" / "a").rename(tmp_path / "alone")
    with pytest.raises(DataError, match="put them back there, since a prepared folder moves together with its images"):
        read_prepared(tmp_path / "alone")


def test_absolute_places_of_older_manifests_are_read_and_compared(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    options = PrepareOptions(
        "table", out=tmp_path / "out", reading={"root": tmp_path / "photos" / "labels.csv"}, drop_broken=True
    )
    prepare(options)
    path = tmp_path / "out" / "manifest.json"
    manifest = json.loads(path.read_text())
    assert manifest["image_root"] == "../photos"
    manifest["image_root"] = str(tmp_path / "photos")
    manifest["options"]["reading"]["root"] = str(tmp_path / "photos" / "labels.csv")
    del manifest["options"]["allow_truncated"]
    path.write_text(json.dumps(manifest))
    assert read_prepared(tmp_path / "out").image_root == tmp_path / "photos"
    prepare_once(options)
