"""Tables as spreadsheets and other tools save them: each spelling of the same four cells gives the same four cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlrpl_cli.core.labels.formats.tabular.table import Table
from tests.core.labels.formats.reading import problem, reading_of

CELLS = [[1, -1], [-1, 1]]
"""Of 0.jpg and 1.jpg, for car and mug."""


def write(folder: Path, text: str, encoding: str = "utf-8", name: str = "labels.csv") -> Path:
    for image in ("0.jpg", "1.jpg"):
        (folder / image).touch()
    (folder / name).write_bytes(text.replace("\n", "\r\n").encode(encoding))
    return folder / name


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("sep=;\nimage;car;mug\n0.jpg;1;0\n1.jpg;0;1\n", "utf-8"),
        ("image;car;mug\n0.jpg;1;0\n1.jpg;0;1\n", "utf-8-sig"),
        ("image\tcar\tmug\n0.jpg\t1\t0\n1.jpg\t0\t1\n", "utf-16"),
        ("image|car|mug\n0.jpg|1|0\n1.jpg|0|1\n", "utf-8"),
        ("image;car;mug\n0.jpg;1,0;0,0\n1.jpg;0,0;1,0\n", "utf-8"),
        ("image,car,mug\n0.jpg,1.00,0.00\n1.jpg,0.00,1.00\n", "utf-8"),
        ("image,car,mug\n0.jpg,1.000000000000000000e+00,0e0\n1.jpg,0.0,1\n", "utf-8"),
        ("image;car;mug\n0.jpg;WAHR;FALSCH\n1.jpg;FALSCH;WAHR\n", "utf-8"),
        ("image;car;mug\n0.jpg;VRAI;FAUX\n1.jpg;Faux;Vrai\n", "utf-8"),
        ("image;car;mug\n0.jpg;VERO;FALSO\n1.jpg;FALSO;VERO\n", "utf-8"),
        ("image;car;mug;\n0.jpg;1;0;\n1.jpg;0;1;\n;;;\n", "utf-8"),
        (",image,car,mug\n0,0.jpg,1,0\n1,1.jpg,0,1\n", "utf-8"),
        ("Unnamed: 0,image,car,mug\n7,0.jpg,1,0\n9,1.jpg,0,1\n", "utf-8"),
        ("\n\nimage,car,mug\n\n0.jpg,1,0\n1.jpg,0,1\n", "utf-8"),
        ('"image","car","mug"\n"0.jpg","1","0"\n"1.jpg","0","1"\n', "utf-8"),
    ],
)
def test_the_same_cells_in_every_spelling(tmp_path: Path, text: str, encoding: str) -> None:
    records, _ = reading_of(Table, write(tmp_path, text, encoding))
    assert (records.classes, records.images) == (("car", "mug"), ("0.jpg", "1.jpg"))
    assert records.full_labels.tolist() == CELLS


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_name_with_commas_stays_whole_beside_another_separator(tmp_path: Path, separator: str) -> None:
    rows = [("image", "great white shark, white shark", "tench, Tinca tinca"), ("0.jpg", "1", "0"), ("1.jpg", "0", "1")]
    records, _ = reading_of(Table, write(tmp_path, "".join(separator.join(row) + "\n" for row in rows)))
    assert records.classes == rows[0][1:]
    assert records.full_labels.tolist() == CELLS


def test_a_table_that_is_no_utf_8_is_read_as_cp1252_and_that_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, "image;Büro;Tür\n0.jpg;1;0\n1.jpg;0;1\n", "cp1252")
    records, reading = reading_of(Table, path)
    assert records.classes == ("Büro", "Tür")
    assert "labels.csv is no UTF-8 and is read as cp1252; --encoding names another" in reading.notes
    other, told = reading_of(Table, path, encoding="cp850")
    assert (other.classes[0], told.notes) == ("B³ro", [])
    assert "no encoding is called 'klingon'" in problem(Table, path, encoding="klingon")


def test_the_separator_may_be_said(tmp_path: Path) -> None:
    path = write(tmp_path, "image,car;mug\n0.jpg,1;0\n1.jpg,0;1\n".replace("image,car", "image;a,car"))
    assert "2 rows do not have the header's 3 cells" in problem(Table, path, separator="semicolon")


def test_what_spreadsheets_write_for_not_available_is_unknown(tmp_path: Path) -> None:
    for cell in ("#N/A", "<NA>", "-", "–"):
        records, _ = reading_of(Table, write(tmp_path, f"image,car,mug\n0.jpg,{cell},0\n1.jpg,0,1\n"))
        assert records.full_labels.tolist() == [[0, -1], [-1, 1]]


def test_a_mark_or_nothing_has_to_be_explained(tmp_path: Path) -> None:
    """In a table that never says absent, an empty cell is a no to one person and an unknown to another."""
    path = write(tmp_path, "image,car,mug\n0.jpg,x,\n1.jpg,,✓\n")
    message = problem(Table, path)
    assert "--unlisted absent if every image was checked for every class" in message
    assert "--unlisted unknown if nobody looked for the others" in message
    for unlisted, state in (("absent", -1), ("unknown", 0)):
        records, reading = reading_of(Table, path, unlisted=unlisted)
        assert records.full_labels.tolist() == [[1, state], [state, 1]]
        assert reading.unlisted == f"{unlisted}: --unlisted"


def test_columns_of_other_things_are_no_classes_and_that_is_said(tmp_path: Path) -> None:
    text = "patient_id,image,confidence,car,fold,mug,is_duplicate\n1,0.jpg,1,1,test,0,0\n0,1.jpg,0,0,train,1,1\n"
    records, reading = reading_of(Table, write(tmp_path, text))
    assert (records.classes, records.splits) == (("car", "mug"), ("test", "train"))
    told = next(note for note in reading.notes if note.startswith("columns that are no classes"))
    assert "patient_id, confidence, is_duplicate" in told
    assert "column fold says which images are of which split" in reading.notes
    named, _ = reading_of(Table, tmp_path / "labels.csv", label_columns=("car", "confidence"))
    assert named.classes == ("confidence", "car")


@pytest.mark.parametrize(
    ("column", "splits"), [("is_test", ("test", "train")), ("is_valid", ("validation", "train")), ("IsVal", None)]
)
def test_flags_say_splits(tmp_path: Path, column: str, splits: tuple[str, ...] | None) -> None:
    text = f"image,car,mug,{column}\n0.jpg,1,0,TRUE\n1.jpg,0,1,False\n"
    records, reading = reading_of(Table, write(tmp_path, text))
    assert records.classes == ("car", "mug")
    assert records.splits == (splits or ("validation", "train"))
    assert any(f"column {column} says which images are of" in note for note in reading.notes)


def test_numbered_folds_are_asked_about(tmp_path: Path) -> None:
    path = write(tmp_path, "image,car,mug,fold\n0.jpg,1,0,0\n1.jpg,0,1,1\n")
    assert "does not say which one tests: --test-fold 1, or --ignore-columns fold" in problem(Table, path)
    assert reading_of(Table, path, test_fold="0")[0].splits == ("test", "train")
    assert "no row of" in problem(Table, path, test_fold="5")


def test_a_column_without_a_label_is_named_and_can_be_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, "image,weather,car,mug\n0.jpg,sunny,1,0\n1.jpg,rain,0,1\n")
    assert "1 column holds no label: --ignore-columns leaves one out (weather: 'sunny')" in problem(Table, path)
    assert reading_of(Table, path, ignore_columns=("weather",))[0].full_labels.tolist() == CELLS
    assert "no column of" in problem(Table, path, ignore_columns=("wether",))


def test_chosen_classes_are_all_that_is_judged(tmp_path: Path) -> None:
    path = write(tmp_path, "image,weather,car,mug\n0.jpg,sunny,1,0\n1.jpg,rain,0,1\n")
    records, _ = reading_of(Table, path, classes=("mug",))
    assert (records.classes, records.full_labels.tolist()) == (("mug",), [[-1], [1]])


def test_a_quote_that_is_never_closed_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, 'image,car,mug\n0.jpg,1,0\n"1.jpg,0,1\n')
    assert "a quote is never closed" in problem(Table, path)


def test_parquet_and_xlsx_hold_the_same_table(tmp_path: Path) -> None:
    import openpyxl
    import pyarrow as pa
    from pyarrow import parquet

    write(tmp_path, "")
    cells = {"image": ["0.jpg", "1.jpg"], "car": [True, False], "mug": [0.0, 1.0]}
    parquet.write_table(pa.table(cells), tmp_path / "labels.parquet")
    book = openpyxl.Workbook()
    for row in (tuple(cells), *zip(*cells.values(), strict=True)):
        book.active.append(row)
    book.save(tmp_path / "labels.xlsx")
    for name in ("labels.parquet", "labels.xlsx"):
        records, _ = reading_of(Table, tmp_path / name)
        assert (records.classes, records.full_labels.tolist()) == (("car", "mug"), CELLS)
    for name in ("labels.parquet", "labels.xlsx"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-40])
        assert "is no readable" in problem(Table, tmp_path / name)


def test_two_sheets_are_asked_about(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(("image", "car"))
    book.create_sheet("more").append(("image", "mug"))
    book.save(tmp_path / "labels.xlsx")
    message = problem(Table, tmp_path / "labels.xlsx")
    assert message.endswith("has 2 sheets with cells ('Sheet', 'more'); name the one with labels with --sheet")


def test_names_of_another_unicode_form_and_without_suffix_find_their_file(tmp_path: Path) -> None:
    for file in ("Büro.jpg", "plain.png"):
        (tmp_path / file).touch()
    (tmp_path / "labels.csv").write_text("image,car\nBu\u0308ro.jpg,1\nplain,0\n", encoding="utf-8")
    assert reading_of(Table, tmp_path / "labels.csv")[0].images == ("Büro.jpg", "plain.png")
    (tmp_path / "plain.jpg").touch()
    assert "1 name fits several files (plain: plain.jpg, plain.png)" in problem(Table, tmp_path / "labels.csv")


@pytest.mark.parametrize("name", ["is_checked", "car_conf", "dog prob", "#", "__index_level_0__", "width (px)", "year"])
def test_what_is_about_images_or_classes_is_no_class(tmp_path: Path, name: str) -> None:
    records, reading = reading_of(Table, write(tmp_path, f"image,car,{name}\n0.jpg,1,0\n1.jpg,0,1\n"))
    assert records.classes == ("car",)
    assert any(name in note for note in reading.notes)


def test_train_stays_a_class(tmp_path: Path) -> None:
    """It is one of VOC's."""
    assert reading_of(Table, write(tmp_path, "image,car,train\n0.jpg,1,0\n1.jpg,0,1\n"))[0].classes == ("car", "train")


def test_formulas_that_nobody_worked_out_are_refused(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    for row in (("image", "car"), ("0.jpg", "=1"), ("1.jpg", 0)):
        book.active.append(row)
    book.save(tmp_path / "labels.xlsx")
    assert "1 cell holds formulas without a value" in problem(Table, tmp_path / "labels.xlsx")
