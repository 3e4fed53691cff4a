"""The streaming pass over large tables, in blocks of a few rows."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from mlrpl_cli.core.io.errors import DataError, Problems
from mlrpl_cli.core.labels.formats.tabular import text
from mlrpl_cli.core.labels.formats.tabular.text import stream

ROWS = [(str(number), "x,y" if number % 7 == 0 else "é", "1") for number in range(500)]


class _Task:
    done = 0

    def advance(self, steps: int = 1, **figures: float) -> None:
        self.done += steps


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_STREAM_BLOCK", 256)


def _write(path: Path, rows: list[tuple[str, ...]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "what", "state"), *rows])
    return path


def _streamed(path: Path, task: _Task | None = None) -> list[tuple[str, ...]]:
    """The rows of two of the columns, in another order than the file's; problems are raised at the end."""
    problems = Problems()
    batches = stream(path, ("state", "id"), problems, task or _Task())
    rows = [tuple(row.values()) for batch in batches for row in batch.to_pylist()]
    problems.raise_if_any("t.csv", f"{len(rows)} rows came")
    return rows


@pytest.mark.parametrize("packed", [False, True])
def test_every_row_comes_once_and_every_byte_is_told(tmp_path: Path, packed: bool) -> None:
    path, task = _write(tmp_path / "t.csv", ROWS), _Task()
    if packed:
        data = gzip.compress(path.read_bytes())
        path = tmp_path / "t.csv.gz"
        path.write_bytes(data)
    assert _streamed(path, task=task) == [(state, number) for number, _, state in ROWS]
    assert task.done == path.stat().st_size


@pytest.mark.parametrize("place", [3, 250, 499])
def test_a_quote_that_is_never_closed_is_refused_wherever_it_is(tmp_path: Path, place: int) -> None:
    path = _write(tmp_path / "t.csv", ROWS)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[place + 1] = b'9,e,"1\n'
    path.write_bytes(b"".join(lines))
    with pytest.raises(DataError, match=r"is no readable table|1 row does not have the header's 3 cells"):
        _streamed(path)


@pytest.mark.parametrize("place", [3, 250, 499])
def test_bytes_that_are_no_utf8_are_refused_wherever_they_are(tmp_path: Path, place: int) -> None:
    """Without a word of pyarrow's own on stderr, also where the row has too few cells."""
    path = _write(tmp_path / "t.csv", ROWS)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[place + 1] = b"9,\xff\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(DataError, match=r"is no readable table: .*can't decode byte 0xff"):
        _streamed(path)


def test_rows_of_another_width_are_problems(tmp_path: Path) -> None:
    path = _write(tmp_path / "t.csv", [*ROWS[:250], ("1", "2"), *ROWS[250:]])
    with pytest.raises(DataError, match=r"1 row does not have the header's 3 cells \(.*2\); 500 rows came"):
        _streamed(path)
