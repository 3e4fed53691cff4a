"""Tables as people find them: split over files, titled, scored, repeated, and ticked beside zeros."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlrpl_cli.core.labels.formats.registry import recognise
from mlrpl_cli.core.labels.formats.tabular.long import Long
from mlrpl_cli.core.labels.formats.tabular.table import Table
from mlrpl_cli.core.labels.formats.tabular.tags import Tags
from mlrpl_cli.core.labels.formats.tools.imagefolder import ImageFolder
from mlrpl_cli.core.labels.records import UNASSIGNED
from tests.core.labels.formats.reading import problem, reading_of


def write(folder: Path, **files: str) -> Path:
    """Tables by name, `train` for train.csv, beside three images; the folder, or the table where there is one."""
    for image in ("a.jpg", "b.jpg", "c.jpg"):
        (folder / image).touch()
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return folder if len(files) > 1 else folder / f"{next(iter(files))}.csv"


@pytest.mark.parametrize(
    ("kind", "header", "rows", "options"),
    [
        (Table, "image,dog", ("a.jpg,1", "b.jpg,0", "c.jpg,1"), {}),
        (Long, "image,label,present", ("a.jpg,dog,1", "b.jpg,dog,0", "c.jpg,dog,1"), {}),
        (Tags, "image,tags", ("a.jpg,dog", "b.jpg,", "c.jpg,dog"), {"unlisted": "absent"}),
    ],
)
def test_files_are_read_as_the_splits_they_are_called_after(
    tmp_path: Path, kind: type[Table], header: str, rows: tuple[str, ...], options: dict[str, str]
) -> None:
    train, val, test = rows[:2], rows[2:], rows[2:]
    text = ["\n".join((header, *part)) + "\n" for part in (train, val, test)]
    root = write(tmp_path, train=text[0], valid=text[1], sample_submission=text[2])
    assert "train.csv, valid.csv are tables with" in recognise(root)[1]
    records, reading = reading_of(kind, root, **options)
    assert (records.splits, records.full_labels.tolist()) == (("train", "train", "validation"), [[1], [-1], [1]])
    assert "tables are called after splits and are read as these: train.csv: train, valid.csv: validation" in (
        reading.notes
    )


def test_a_file_without_labels_is_left_out(tmp_path: Path) -> None:
    root = write(tmp_path, train="image,dog\na.jpg,1\nb.jpg,0\n", test="image\nc.jpg\n")
    records, reading = reading_of(Table, root)
    assert (records.images, records.splits) == (("a.jpg", "b.jpg"), (UNASSIGNED, UNASSIGNED))
    assert reading.notes == ["test.csv holds no label and is left out"]


def test_images_may_lie_in_folders_called_after_splits(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").touch()
    root = write(tmp_path, train="image,dog\n1.jpg,1\n", test="image,dog\n1.jpg,0\n")
    assert reading_of(Table, root)[0].images == ("train/1.jpg", "test/1.jpg")


def test_files_that_do_not_agree_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path, train="image,dog,cat\na.jpg,1,0\n", test="image,dog,cow\nb.jpg,1,0\n")
    assert "need the same columns: the first lacks cat, and has cow beside" in problem(Table, root)
    write(tmp_path, train="image,dog,split\na.jpg,1,train\n", test="image,dog,split\nb.jpg,1,train\n")
    assert "column split says other splits than the names of the tables" in problem(Table, root)
    assert reading_of(Table, root, ignore_columns=("split",))[0].splits == ("train", "test")


@pytest.mark.parametrize("above", ["My labels\n", "My labels,,\n,,\n", "\nLabels of May,,\n"])
def test_a_title_above_the_header_is_told(tmp_path: Path, above: str) -> None:
    path = write(tmp_path, labels=f"{above}image,dog,cat\na.jpg,1,0\nb.jpg,0,1\n")
    assert recognise(path)[0] == "table"
    message = problem(Table, path)
    assert "above what looks like the header, row" in message
    assert message.endswith("delete what stands above the header")


def test_a_sheet_is_named(tmp_path: Path) -> None:
    import openpyxl

    write(tmp_path, unused="")
    book = openpyxl.Workbook()
    for row in (("image", "dog"), ("a.jpg", 1), ("b.jpg", 0)):
        book.active.append(row)
    book.create_sheet("more").append(("x",))
    book.save(tmp_path / "labels.xlsx")
    assert recognise(tmp_path / "labels.xlsx")[0] == "table"
    assert reading_of(Table, tmp_path / "labels.xlsx", sheet="Sheet")[0].full_labels.tolist() == [[1], [-1]]
    assert "has no sheet 'other'; known: Sheet, more" in problem(Table, tmp_path / "labels.xlsx", sheet="other")
    write(tmp_path, metadata="file_name,tags\na.jpg,dog\n")
    assert "metadata.csv is none; leave it out" in problem(ImageFolder, tmp_path, sheet="Sheet")
    assert "leave it out" in problem(Table, write(tmp_path, labels="image,dog\na.jpg,1\n"), sheet="Sheet")


@pytest.mark.parametrize("cell", ["0.37", "85%", "12.5 %", "1e-3"])
def test_scores_are_no_labels(tmp_path: Path, cell: str) -> None:
    for other in ("1", cell):
        path = write(tmp_path, labels=f"image,dog,cat\na.jpg,{cell},0\nb.jpg,{other},1\n")
        assert "write 1, 0 or nothing instead, by a threshold of yours" in problem(Table, path)


def test_all_and_nothing_in_percent_are_labels(tmp_path: Path) -> None:
    path = write(tmp_path, labels="image,dog\na.jpg,100%\nb.jpg,0 %\n")
    assert reading_of(Table, path)[0].full_labels.tolist() == [[1], [-1]]


def test_chest_xrays_of_nih_are_tags(tmp_path: Path) -> None:
    rows = "a.jpg,Cardiomegaly|Edema,0\nb.jpg,No Finding,1\n"
    path = write(tmp_path, Data_Entry_2017=f"Image Index,Finding Labels,Patient ID\n{rows}")
    assert recognise(path)[0] == "tags"
    assert "--unlisted absent" in problem(Tags, path)
    records, reading = reading_of(Tags, path, unlisted="absent")
    assert (records.classes, records.full_labels.tolist()) == (("Cardiomegaly", "Edema"), [[1, 1], [-1, -1]])
    assert any("1 row says 'No Finding', which is read as no label" in note for note in reading.notes)
    write(tmp_path, Data_Entry_2017=f"Image Index,Finding Labels,Patient ID\n{rows}c.jpg,Edema|No Finding,2\n")
    assert "1 row says that there is no label beside labels (row 4)" in problem(Tags, path, unlisted="absent")


def test_rows_of_one_image_are_joined_unless_they_contradict(tmp_path: Path) -> None:
    path = write(tmp_path, labels="image,dog,cat\na.jpg,1,\na.jpg,,0\nb.jpg,0,1\nb.jpg,0,1\n")
    records, reading = reading_of(Table, path)
    assert (records.images, records.full_labels.tolist()) == (("a.jpg", "b.jpg"), [[1, -1], [-1, 1]])
    assert "2 images of labels.csv come in several rows, whose labels are joined" in reading.notes
    write(tmp_path, labels="image,dog\na.jpg,1\na.jpg,0\n")
    assert "1 cell is said to be present and absent (a.jpg 'dog')" in problem(Table, path)


def test_what_is_merged_may_differ_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path, labels="image,dog,Cat,cat\na.jpg,1,0,1\na.jpg,0,1,0\nb.jpg,0,0,0\n")
    assert "1 cell is said to be present and absent (a.jpg 'dog')" in problem(Table, path, merged={"Cat": "cat"})
    assert "(a.jpg 'hound')" in problem(Table, path, merged={"Cat": "cat", "dog": "hound"})
    records = reading_of(Table, path, merged={"Cat": "cat"}, ignore_columns=("dog",))[0]
    assert records.full_labels.tolist() == [[1], [-1]]


def test_ticks_beside_columns_that_say_absent_are_asked_about(tmp_path: Path) -> None:
    path = write(tmp_path, labels="image,dog,cat\na.jpg,x,0\nb.jpg,,1\nc.jpg,,\n")
    assert "lists what is there in dog and leaves the other cells empty" in problem(Table, path)
    for unlisted, state in (("absent", -1), ("unknown", 0)):
        records, reading = reading_of(Table, path, unlisted=unlisted)
        assert records.full_labels.tolist() == [[1, -1], [state, 1], [state, 0]]
        assert reading.unlisted == f"{unlisted}: --unlisted, in dog; else unknown: an empty cell of a table"


@pytest.mark.parametrize(("present", "absent"), [("1", "0"), ("yes", "no"), ("x", "0")])
def test_a_blank_is_unknown_where_others_of_its_spelling_say_absent(tmp_path: Path, present: str, absent: str) -> None:
    path = write(tmp_path, labels=f"image,dog,cat\na.jpg,{present},{absent}\nb.jpg,,{present}\n")
    assert reading_of(Table, path)[0].full_labels.tolist() == [[1, -1], [0, 1]]


def test_without_an_image_column_ids_name_the_images(tmp_path: Path) -> None:
    path = write(tmp_path, labels="id,dog,cat\na,1,1\nb,1,0\n")
    assert reading_of(Table, path)[0].images == ("a.jpg", "b.jpg")
