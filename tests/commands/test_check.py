"""`mlrpl check` as a user types it."""

from __future__ import annotations

from tests.core.curation.conftest import place  # noqa: F401


def test_tables_have_each_class_and_the_worst_cells_and_lines_say_what_was_written(place, mlrpl, monkeypatch, tmp_path):  # noqa: F811
    prepared, run = place
    monkeypatch.chdir(tmp_path)
    command = ["check", prepared.folder, "--run", run, "--workers", "0", "--device", "cpu", "--most", "2"]
    done = mlrpl(*command, "--drop", "--top", "1", "--attention", "pictures")
    assert done.code == 0, done.err
    known = (prepared.observed_labels != 0)[[split != "test" for split in prepared.splits]].sum()
    assert f"of {known} cells" in done.out
    assert "absent cells are given as present" in done.out
    assert f"checked: {prepared.folder}, by the backbone of {run}" in done.out
    assert all(name in done.out for name in prepared.classes)
    assert "1 cell that looks wrong is unknown in it" in done.out
    assert "written: exports/data-dropped-table.csv" in done.out
    assert "read back: mlrpl prepare --dataset table --root exports/data-dropped-table.csv" in done.out
    assert sum(line.startswith("pictures/attention-") for line in done.out.splitlines()) in (1, 2)


def test_options_that_are_not_used_are_one_line(place, mlrpl):  # noqa: F811
    prepared, run = place
    done = mlrpl("check", prepared.folder, "--run", run, "--top", "3")
    assert done.code == 1
    assert done.err == "mlrpl: error: --top is for corrected labels; add --drop or --flip\n"
