"""`mlrpl complete` as a user types it."""

from __future__ import annotations

import json

from tests.core.curation.completing.test_complete import place  # noqa: F401

PROMISE = ("--precision", "0.6", "--confidence", "0.7")


def test_tables_and_lines_say_what_is_promised_of_whom(place, mlrpl, monkeypatch, tmp_path):  # noqa: F811
    prepared, run = place
    monkeypatch.chdir(tmp_path)
    command = ["complete", "--run", run, "--workers", "0", "--device", "cpu"]  # the run knows its data
    done = mlrpl(*command, *PROMISE)
    assert done.code == 0, done.err
    assert all(name in done.out for name in prepared.classes)
    assert "what is promised supposes that chance chose which cells are known" in done.out
    assert "written: exports/prepared-completed-table.csv" in done.out
    assert "read back: mlrpl prepare --dataset table --root exports/prepared-completed-table.csv" in done.out
    told = json.loads(mlrpl(*command, *PROMISE, "--overwrite", "--json").out)["result"]
    filled = f"{told['filled']['yes']} as present, {told['filled']['no']} as absent"
    assert f"filled of {told['unknown']} unknown cells: {filled}" in done.out
    for side, word in (("yes", "present"), ("no", "absent")):
        joined = [each["class"] for each in told["classes"] if each[side]["group"] == "together"]
        assert (f"no promise of each of {len(joined)} classes: {', '.join(joined)}" in done.out) == bool(joined)
        for why in {each[side]["why"] for each in told["classes"]} - {None}:
            names = [each["class"] for each in told["classes"] if each[side]["why"] == why]
            assert f"{word}: nothing is promised of {', '.join(names)}: {why}" in done.out
    refused = mlrpl(*command, *PROMISE)
    assert refused.code == 1
    assert "is there already; --overwrite replaces it" in refused.err


def test_a_promise_that_known_cells_cannot_make_is_told_with_what_would_do(place, mlrpl, monkeypatch, tmp_path):  # noqa: F811
    _, run = place
    monkeypatch.chdir(tmp_path)
    done = mlrpl("complete", "--run", run, "--workers", "0", "--device", "cpu", "--precision", "0.999")
    assert done.code == 0, done.err
    assert "known cells of such scores would do beside" in done.out
    assert "0 as present, 0 as absent (0.00, 0.00 %)" in done.out
