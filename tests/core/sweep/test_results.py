import json

import numpy as np
import pytest

from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.sweep.results import SCORES, Results, read_results, write_scores

TUNING = {
    "key": "a", "kind": "tuning", "method": "sarl", "keep": 0.2, "seed": 0, "lr": 0.1, "epochs": 5, "loss": "asl",
    "validation_map": None, "learned_parameters": 3, "more": [1],
}  # fmt: skip
RUN = {**TUNING, "key": "b", "kind": "run", "map": 0.5, "selected_map": 0.5, "average_precision": [0.5, None]}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_come_back_as_they_are(tmp_path):
    assert read_results(tmp_path / "none.jsonl") == []
    assert read_results(write(tmp_path / "results.jsonl", TUNING, RUN)) == [TUNING, RUN]


def test_a_later_row_of_a_key_takes_the_place_of_an_earlier_one(tmp_path):
    later = {**TUNING, "tuned": True}
    assert read_results(write(tmp_path / "results.jsonl", TUNING, RUN, later)) == [RUN, later]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "other"}, "kind: expected one of tuning, run, fold, got 'other'"),
        ({"map": "x", "seed": 0.5}, "seed: expected a whole number, got 0.5; map: expected a number, got 'x'"),
        ({"average_precision": [0.5, "x"]}, "average_precision.1: expected a number, got 'x'"),
    ],
)
def test_a_damaged_row_is_told_with_all_that_is_wrong_in_it(tmp_path, changes, sentence):
    path = write(tmp_path / "results.jsonl", TUNING, {**RUN, **changes})
    with pytest.raises(RunError, match=f"got in line 2: {sentence}; move it away to start anew, or remove that line"):
        read_results(path)


def test_a_run_whose_setting_the_grid_chose_after_all_is_marked_once(tmp_path):
    (tmp_path / SCORES).mkdir()
    write_scores(tmp_path, "b", np.zeros((2, 2), np.float32))
    results = Results(write(tmp_path / "results.jsonl", TUNING, {**RUN, "tuned": False}))
    for _ in range(2):
        results.mark_tuned([{**RUN, "tuned": True}])
    assert results.rows == read_results(results.path) == [TUNING, {**RUN, "tuned": True}]
    assert results.path.read_text().count("\n") == 3
