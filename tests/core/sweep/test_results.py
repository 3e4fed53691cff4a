import json

import pytest

from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.sweep.results import read_results

TUNING = {
    "key": "a", "kind": "tuning", "method": "sarl", "keep": 0.2, "seed": 0, "lr": 0.1, "epochs": 5, "loss": "asl",
    "validation_map": None, "learned_parameters": 3, "more": [1],
}  # fmt: skip
RUN = {**TUNING, "kind": "run", "map": 0.5, "selected_map": 0.5, "average_precision": [0.5, None]}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_come_back_as_they_are(tmp_path):
    assert read_results(tmp_path / "none.jsonl") == []
    assert read_results(write(tmp_path / "results.jsonl", TUNING, RUN)) == [TUNING, RUN]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "other"}, "kind: expected one of tuning, run, got 'other'"),
        ({"map": "x", "seed": 0.5}, "seed: expected a whole number, got 0.5; map: expected a number, got 'x'"),
        ({"average_precision": [0.5, "x"]}, "average_precision.1: expected a number, got 'x'"),
    ],
)
def test_a_damaged_row_is_told_with_all_that_is_wrong_in_it(tmp_path, changes, sentence):
    path = write(tmp_path / "results.jsonl", TUNING, {**RUN, **changes})
    with pytest.raises(RunError, match=f"got in line 2: {sentence}; move it away to start anew, or remove that line"):
        read_results(path)
