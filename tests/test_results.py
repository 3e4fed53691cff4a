"""The page of results draws its verdicts from the figures."""

from dataclasses import replace

import numpy as np
import pytest

from mlrpl_cli.core.evaluation.comparison import Interval
from mlrpl_cli.core.sweep.report import MethodReport, SweepReport
from scripts.make_results import claims, edges, verdict


def method(name: str, maps: list[float], leads: dict[str, Interval], pointing: float) -> MethodReport:
    return MethodReport(
        method=name,
        setting=(0.002, 5, "asl"),
        learned_parameters=7,
        maps=np.array(maps)[:, None],
        selected_maps=np.array(maps)[:, None],
        average_precision=np.zeros((2, 3)),
        leads=leads,
        leads_at_fewest=leads,
        pointing=pointing,
        attention_inside=None,
        confused_alike=1 - maps[0],
        confused_other=None,
    )


def report(pointing: float = 0.4, first: float = 0.8) -> SweepReport:
    clear, unclear, behind = Interval(0.02, 0.01, 0.03), Interval(0.001, -0.01, 0.01), Interval(-0.02, -0.03, -0.01)
    methods = (
        method("baseline", [0.70, 0.75], {"sarl+": clear, "sarl": clear}, 0.2),
        method("linear", [0.80, 0.84], {"sarl+": unclear, "sarl": behind}, 0.3),
        method("sarl", [0.79, 0.83], {"sarl+": clear}, pointing),
        method("sarl+", [first, 0.85], {"sarl": behind}, pointing),
    )
    return SweepReport("scenes", ("a", "b", "c"), 9, (0.1, 0.9), (0,), ("sarl+", "sarl"), methods, 100)


def told(found: SweepReport, claim: str) -> str:
    """The row of the one claim that starts so."""
    rows = [line for line in claims(found) if line.startswith(f"| {claim}")]
    assert len(rows) == 1
    return rows[0]


@pytest.mark.parametrize(("low", "high", "word"), [(0.1, 0.3, "yes"), (-0.1, 0.1, "told apart"), (-0.3, -0.1, "no")])
def test_a_lead_holds_where_its_interval_is_above_zero(low, high, word):
    assert word in verdict(Interval((low + high) / 2, low, high))


def test_every_lead_is_told_with_its_interval():
    assert told(report(), "paper: both together beat the CLIP baseline").endswith("+2.00 (+1.00 to +3.00) | yes |")
    assert told(report(), "the default leads `linear` |").endswith("+0.10 (-1.00 to +1.00) | **not told apart** |")


def test_the_lead_where_labels_are_fewest_is_compared_with_that_where_they_are_most():
    """0.79 - 0.70 against 0.83 - 0.75."""
    assert "+9.00 at 10%, +8.00 at 90% | yes |" in told(report(), "paper: most where labels are fewest")


@pytest.mark.parametrize(("first", "holds"), [(0.8, "94.1% | yes |"), (0.7, "82.4% | **no** |")])
def test_what_the_default_keeps_with_the_fewest_labels(first, holds):
    assert told(report(first=first), "the default keeps 90%").endswith(holds)


@pytest.mark.parametrize(("pointing", "holds"), [(0.4, "yes"), (0.34, "**no**")])
def test_looking_at_the_object_takes_fifteen_points_more_than_clip(pointing, holds):
    assert told(report(pointing=pointing), "`sarl` looks where the object is").endswith(f"20.0% | {holds} |")


def test_the_default_is_compared_with_both_its_members_at_the_fewest_labels_and_everywhere():
    """Against sarl 0.80 - 0.79 and 0.85 - 0.83, against linear 0.80 - 0.80 and 0.85 - 0.84."""
    assert told(report(), "the default leads `sarl` at 10%").endswith("+2.00 (+1.00 to +3.00) | yes |")
    assert told(report(), "the default leads `sarl` at every").endswith("+1.00; ahead in 2 of 2 runs | yes |")
    assert told(report(), "the default leads `linear` at every").endswith("+0.00; ahead in 1 of 2 runs | **no** |")


def test_a_choice_at_the_edge_of_the_grid_is_told():
    assert list(edges(report())) == []
    wide = replace(report(), methods=tuple(replace(each, setting=(0.032, 5, "asl")) for each in report().methods[:2]))
    assert next(edges(wide)).startswith("`baseline`, `linear` chose the highest learning rate of the grid, 0.032")


def test_a_method_that_did_not_run_is_not_spoken_of():
    assert not [line for line in claims(report()) if "dualcoop" in line]
