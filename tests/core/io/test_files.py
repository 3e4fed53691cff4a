import pytest

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.files import atomic_file, atomic_folder, check_writable, write_text


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(ValueError, match="stop"), atomic_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise ValueError("stop")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "old")]


def test_an_error_while_filling_a_folder_leaves_the_old_folder_and_nothing_else(tmp_path):
    (tmp_path / "data").mkdir()
    write_text(tmp_path / "data" / "a.txt", "old")
    with pytest.raises(ValueError, match="stop"), atomic_folder(tmp_path / "data") as temporary:
        write_text(temporary / "b.txt", "half")
        raise ValueError("stop")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.txt")] == ["data/a.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_new_folder_takes_the_place_of_the_old_one(tmp_path):
    for name in ("a.txt", "b.txt"):
        with atomic_folder(tmp_path / "data") as temporary:
            write_text(temporary / name, "text")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["b.txt"]


@pytest.mark.parametrize("write", [atomic_file, atomic_folder])
def test_a_file_where_a_folder_should_be_is_told_in_one_line(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file" / "data", type(tmp_path)("file/data")):
        with pytest.raises(DataError, match=r"cannot write .*file: File exists; choose another"), write(target):
            pass


def test_a_missing_input_is_not_taken_for_an_output_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "data"):
        (tmp_path / "input.txt").read_text()


def test_check_writable_speaks_before_anything_is_made(tmp_path):
    """Refused is a place below a file."""
    check_writable(tmp_path / "new" / "run")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    check_writable(tmp_path / "file")
    with pytest.raises(DataError, match=r"cannot write .*file/run: Not a directory; choose another place"):
        check_writable(tmp_path / "file" / "run")
