"""The page of results draws its verdicts from the figures."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlrpl_cli.core.evaluation.comparison import Interval
from mlrpl_cli.core.reports.pages import render_page
from mlrpl_cli.core.sweep.report import MethodReport, SweepReport
from scripts.make_results import TEMPLATE, claims, edges, verdict
from tests import small, warm

FOLDER = Path(__file__).parents[1] / "scripts"


def method(name: str, maps: list[float], differences: dict[str, Interval], pointing: float) -> MethodReport:
    return MethodReport(
        method=name,
        settings={None: (0.002, 5, "asl")},
        learned_parameters=7,
        maps=np.array(maps)[:, None],
        selected_maps=np.array(maps)[:, None],
        average_precision=np.zeros((2, 3)),
        differences=differences,
        differences_at_fewest=differences,
        pointing=pointing,
        attention_inside=None,
        confused_alike=1 - maps[0],
        confused_other=None,
    )


def report(pointing: float = 0.4, first: float = 0.8) -> SweepReport:
    behind, unclear, ahead = Interval(-0.02, -0.03, -0.01), Interval(-0.001, -0.01, 0.01), Interval(0.02, 0.01, 0.03)
    methods = (
        method("baseline", [0.70, 0.75], {"sarl+": behind, "sarl": behind}, 0.2),
        method("linear", [0.80, 0.84], {"sarl+": unclear, "sarl": ahead}, 0.3),
        method("sarl", [0.79, 0.83], {"sarl+": behind}, pointing),
        method("sarl+", [first, 0.85], {"sarl": ahead}, pointing),
    )
    return SweepReport("scenes", ("a", "b", "c"), {}, 9, (0.1, 0.9), (0,), ("sarl+", "sarl"), methods, 100)


def told(found: SweepReport, claim: str) -> str:
    """The one claim that starts so, as a row of the page."""
    rows = [" | ".join(each) for each in claims(found) if f"{each.claim} |".startswith(claim)]
    assert len(rows) == 1
    return rows[0]


@pytest.mark.parametrize(("low", "high", "word"), [(0.1, 0.3, "yes"), (-0.1, 0.1, "told apart"), (-0.3, -0.1, "no")])
def test_a_method_is_better_where_its_interval_is_above_zero(low, high, word):
    assert word in verdict(Interval((low + high) / 2, low, high))


def test_every_difference_is_told_with_its_interval():
    assert told(report(), "paper: both together beat the CLIP baseline").endswith("+2.00 (+1.00 to +3.00) | yes")
    assert told(report(), "the default is better than `linear` |").endswith(
        "+0.10 (-1.00 to +1.00) | **not told apart**"
    )


def test_the_difference_where_labels_are_fewest_is_compared_with_that_where_they_are_most():
    """0.79 - 0.70 against 0.83 - 0.75."""
    assert "+9.00 at 10%, +8.00 at 90% | yes" in told(report(), "paper: most where labels are fewest")


@pytest.mark.parametrize(("first", "holds"), [(0.8, "94.1% | yes"), (0.7, "82.4% | **no**")])
def test_what_the_default_keeps_with_the_fewest_labels(first, holds):
    assert told(report(first=first), "the default keeps 90%").endswith(holds)


@pytest.mark.parametrize(("pointing", "holds"), [(0.4, "yes"), (0.34, "**no**")])
def test_looking_at_the_object_takes_fifteen_points_more_than_clip(pointing, holds):
    assert told(report(pointing=pointing), "`sarl` looks where the object is").endswith(f"20.0% | {holds}")


def test_the_default_is_compared_with_both_its_members_at_the_fewest_labels_and_everywhere():
    """Against sarl 0.80 - 0.79 and 0.85 - 0.83, against linear 0.80 - 0.80 and 0.85 - 0.84."""
    assert told(report(), "the default is better than `sarl` at 10%").endswith("+2.00 (+1.00 to +3.00) | yes")
    assert told(report(), "the default is better than `sarl` at every").endswith("+1.00; better in 2 of 2 runs | yes")
    assert told(report(), "the default is better than `linear` at every").endswith(
        "+0.00; better in 1 of 2 runs | **no**"
    )


def test_a_choice_at_the_edge_of_the_grid_is_told():
    assert edges(report()) == []
    wide = replace(
        report(), methods=tuple(replace(each, settings={None: (0.032, 5, "asl")}) for each in report().methods[:2])
    )
    assert edges(wide) == [("highest", 0.032, ["baseline", "linear"])]


def test_a_method_that_did_not_run_is_not_spoken_of():
    assert not [each for each in claims(report()) if "dualcoop" in each.claim]


def test_the_page_holds_what_was_found():
    found = report()
    values = {"runs": 8, "minutes": 3, "versions": "mlrpl 1", "data": "d", "fingerprint": "f", "prior": 0.2}
    figures = {"map-against-proportion": "a.svg"}
    told = {"averages": {"sarl+": 0.84}, "best": "sarl+", "edges": [("highest", 0.032, ["sa", "sd"])]}
    text = render_page(
        TEMPLATE, {"report": found, "figures": figures, **values, **told, "claims": claims(found)}, FOLDER
    )
    assert "8 runs (4 methods, 2 proportions, seeds 0), 3 minutes" in text
    assert (
        "\n\n`sa`, `sd` chose the highest learning rate of the grid, 0.032: a better one may lie beyond it.\n\n##"
        in text
    )
    assert all(f"\n| {' | '.join(each)} |\n" in text for each in claims(found))
    assert "\n\n## Differences\n\n" in text
    assert "\n\n\n" not in text


def test_a_run_whose_scores_are_gone_is_one_line(tmp_path):
    small.write_prepared(tmp_path / "data")
    row = {"key": "a", "kind": "run", "method": "sral", "keep": 0.2, "seed": 0, "lr": 0.1, "epochs": 5, "loss": "asl"}
    row |= {
        "validation_map": None,
        "learned_parameters": 3,
        "map": 0.5,
        "selected_map": 0.5,
        "average_precision": [1.0],
    }
    (tmp_path / "results.jsonl").write_text(json.dumps(row) + "\n")
    code = "import runpy; runpy.run_module('scripts.make_results', run_name='__main__')"
    done = warm.run([tmp_path, tmp_path], code=code, folder=FOLDER.parent)
    assert done.code == 1
    assert done.err.startswith("make_results: error: ")
    assert done.err.count("\n") == 1
    assert "scores/a.safetensors is damaged: " in done.err
