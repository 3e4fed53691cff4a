"""Images of one group, by a column of a table of any kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlrpl_cli.core.labels.formats.tabular.long import Long
from mlrpl_cli.core.labels.formats.tabular.table import Table
from mlrpl_cli.core.labels.formats.tabular.tags import Tags
from mlrpl_cli.core.labels.formats.tools.imagefolder import ImageFolder
from mlrpl_cli.core.labels.records import Format
from tests.core.labels.formats.reading import problem, reading_of


def write(folder: Path, text: str, name: str = "labels.csv") -> Path:
    for image in ("a.jpg", "b.jpg", "c.jpg"):
        (folder / image).touch()
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    ("kind", "header", "rows", "options"),
    [
        (Table, "image,dog", ("a.jpg,1", "b.jpg,0", "c.jpg,1"), {}),
        (Long, "image,label,present", ("a.jpg,dog,1", "b.jpg,dog,0", "c.jpg,dog,1"), {}),
        (Tags, "image,tags", ("a.jpg,dog", "b.jpg,dog", "c.jpg,dog"), {"unlisted": "absent"}),
    ],
)
def test_every_table_reads_groups_and_takes_them_for_no_class(
    tmp_path: Path, kind: type[Format], header: str, rows: tuple[str, ...], options: dict[str, Any]
) -> None:
    """A blank cell says none, and 7.0, as pandas writes a column with blanks, is 7."""
    cells = ("patient", "7.0", "", "nan")
    text = "".join(f"{row},{cell}\n" for row, cell in zip((header, *rows), cells, strict=True))
    records, reading = reading_of(kind, write(tmp_path, text), group_column="patient", **options)
    assert records.classes == ("dog",)
    assert reading.groups == {"a.jpg": "7"}
    assert not any("patient" in note for note in reading.notes)


def test_an_image_of_two_groups_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "image,scene,dog,cat\na.jpg,s1,1,\na.jpg,,,1\nb.jpg,s1,0,0\n")
    assert reading_of(Table, path, group_column="scene")[1].groups == {"a.jpg": "s1", "b.jpg": "s1"}
    write(tmp_path, "image,scene,dog,cat\na.jpg,s1,1,\na.jpg,s2,,1\n")
    assert "1 image is in two groups (a.jpg: s1, s2)" in problem(Table, path, group_column="scene")


def test_a_group_column_that_cannot_be_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "image,scene,dog\na.jpg,s1,1\n")
    assert problem(Table, path, group_column="scenes") == (
        f"{path} has no column 'scenes' (--group-column); did you mean 'scene'?"
    )
    told = "--group-column names scene, which another option names, too; leave it out of one"
    assert problem(Table, path, group_column="scene", ignore_columns=("scene",)) == told
    write(tmp_path, "file_name,labels\na.jpg,dog\n", "metadata.csv")
    assert "--group-column is of no use" in problem(ImageFolder, tmp_path, group_column="scene", unlisted="absent")
