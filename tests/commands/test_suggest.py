"""`mlrpl suggest` as a user types it."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.core.curation.conftest import place  # noqa: F401


def test_the_table_shows_the_first_and_the_file_has_all(place, mlrpl, monkeypatch, tmp_path):  # noqa: F811
    _, run = place
    monkeypatch.chdir(tmp_path)
    done = mlrpl("suggest", "--run", run, "--workers", "0", "--device", "cpu", "--budget", "8")
    assert done.code == 0, done.err
    assert f"by value and {run}" in done.out
    path = Path("suggestions/data-value-table.csv")
    assert f"written: {path}" in done.out
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 8
    assert f"{rows[0]['image']}" in done.out
    assert "asked: 8 of" in done.out


def test_a_replay_tells_what_random_needs_for_as_much(place, mlrpl, monkeypatch, tmp_path):  # noqa: F811
    _, run = place
    monkeypatch.chdir(tmp_path)
    command = ["suggest", "--run", run, "--workers", "0", "--device", "cpu", "--budget", "5", "--simulate"]
    done = mlrpl(*command, "--rounds", "1", "--seeds", "1", "--strategy", "balanced", "--by", "image")
    assert done.code == 0, done.err
    assert "Mean of 1 replays" in done.out
    assert "random needs: so many answers for the same mAP" in done.out
    assert "written: suggestions/data-simulation.json and suggestions/data-simulation.png" in done.out


def test_an_option_that_is_not_used_is_one_line(place, mlrpl):  # noqa: F811
    _, run = place
    done = mlrpl("suggest", "--run", run, "--rounds", "3")
    assert done.code == 1
    assert done.err == "mlrpl: error: --rounds is for --simulate; leave it out\n"
