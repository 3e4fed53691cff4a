"""What a job has written, and whose it is; without Ray."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.prediction.bulk.destination import Destination

RECORD = {"classes": ["a"], "batch_size": 8, "images": 3}


def table(rows: int) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table({"image": ["x"] * rows}), stream)
    return stream.getvalue()


@pytest.fixture(params=["path", "address"])
def destination(tmp_path: Path, request: pytest.FixtureRequest) -> Destination:
    """By its path, and by the address of the same place, as other file systems are reached."""
    folder = tmp_path / "out"
    return Destination(str(folder) if request.param == "path" else folder.as_uri())


def test_a_part_is_done_when_its_predictions_are_there(destination: Destination, tmp_path: Path) -> None:
    with destination.held():
        destination.agree(RECORD)
        assert destination.done() == set()
        destination.write(1, table(2), table(1))
        destination.write(12, table(3), None)
        assert destination.done() == {1, 12}
        assert destination.failed() == 1
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert found == ["errors/part-00001.parquet", "job.json", "predictions/part-00001.parquet",
                     "predictions/part-00012.parquet"]  # fmt: skip
    assert pq.read_table(tmp_path / "out" / "predictions").num_rows == 5


def test_a_part_that_is_done_again_without_errors_loses_those_of_before(destination: Destination) -> None:
    with destination.held():
        destination.write(0, table(1), table(1))
        destination.write(0, table(2), None)
        assert destination.failed() == 0


def test_what_a_killed_job_left_half_written_is_removed(destination: Destination, tmp_path: Path) -> None:
    with destination.held():
        destination.agree(RECORD)
    left = tmp_path / "out" / "predictions" / ".incomplete-part-00000.parquet"
    left.parent.mkdir(exist_ok=True)  # one that stayed empty went with the end
    left.write_bytes(b"half")
    with destination.held():
        destination.agree(RECORD)
        assert destination.done() == set()
    assert not left.exists()


def test_another_job_is_refused_with_what_differs(destination: Destination) -> None:
    with destination.held():
        destination.agree(RECORD)
        destination.agree(RECORD)
        with pytest.raises(DataError, match=r"begun otherwise: batch_size was 8, not 16; images was 3, not 4; go"):
            destination.agree({**RECORD, "batch_size": 16, "images": 4})


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 5000, '{"format": 1}'])
def test_a_damaged_record_is_one_line(destination: Destination, tmp_path: Path, text: str) -> None:
    with destination.held():
        (tmp_path / "out" / "job.json").write_text(text)
        with pytest.raises(DataError, match=r"is damaged: |was begun otherwise: "):
            destination.agree(RECORD)


def test_predictions_that_are_of_nobody_are_left_alone(destination: Destination, tmp_path: Path) -> None:
    with destination.held():
        destination.write(0, table(1), None)
        with pytest.raises(DataError, match=r"holds predictions and no job\.json that says of what"):
            destination.agree(RECORD)


def test_two_jobs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    first, second = (Destination(str(tmp_path)).held() for _ in range(2))
    with first, pytest.raises(DataError, match="another process is writing"), second:
        raise AssertionError


def test_the_record_is_json_that_people_can_read(destination: Destination, tmp_path: Path) -> None:
    with destination.held():
        destination.agree(RECORD)
    assert json.loads((tmp_path / "out" / "job.json").read_text()) == {"format": 1, **RECORD}


def test_an_address_that_nothing_opens_is_one_line() -> None:
    with pytest.raises(DataError, match="cannot open nosuch://bucket: "):
        Destination("nosuch://bucket/folder")
    with pytest.raises(DataError, match="holds credentials"):
        Destination("s3://key:secret@bucket/folder")


def test_what_fails_before_it_begins_leaves_no_folder(tmp_path: Path) -> None:
    for name in (str(tmp_path / "a" / "b" / "out"), (tmp_path / "c" / "out").as_uri()):
        with pytest.raises(KeyError), Destination(name).held():
            raise KeyError
    assert not list(tmp_path.iterdir())


def test_an_address_of_this_machine_is_locked_as_its_path_is(tmp_path: Path) -> None:
    first, second = (Destination(name).held() for name in (str(tmp_path), tmp_path.as_uri()))
    with first, pytest.raises(DataError, match="another process is writing"), second:
        raise AssertionError


def test_a_file_in_the_place_of_the_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*file"), Destination(str(tmp_path / "file")).held():
        raise AssertionError
    assert (tmp_path / "file").read_text() == ""
