"""The page of results draws its verdicts from the figures."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.evaluation.comparison import Interval
from mlrpl_cli.core.prepared.folder import read_prepared, write_manifest
from mlrpl_cli.core.reports.pages import render_page
from mlrpl_cli.core.sweep.data import SweepData, read_data
from mlrpl_cli.core.sweep.grid import Grid
from mlrpl_cli.core.sweep.report import MethodReport, SweepReport
from scripts.make_results import claims, edges, verdict
from scripts.make_results_photos import ground, ids
from tests import small, warm

DEFAULT = TrainConfig().method
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
        differences_at=(differences, differences),
        pointing=pointing,
        attention_inside=None,
        confused_alike=1 - maps[0],
        confused_other=None,
    )


def report(pointing: float = 0.4, first: float = 0.8) -> SweepReport:
    behind, unclear, ahead = Interval(-0.02, -0.03, -0.01), Interval(-0.001, -0.01, 0.01), Interval(0.02, 0.01, 0.03)
    methods = (
        method("baseline", [0.70, 0.75], {DEFAULT: behind, "sarl": behind}, 0.2),
        method("linear", [0.80, 0.84], {DEFAULT: unclear, "sarl": ahead}, 0.3),
        method("sarl", [0.79, 0.83], {DEFAULT: behind}, pointing),
        method(DEFAULT, [first, 0.85], {"sarl": ahead}, pointing),
    )
    return SweepReport("scenes", ("a", "b", "c"), {}, 9, (0.1, 0.9), (0,), (DEFAULT, "sarl"), methods, 100, grid=Grid())


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
        report(),
        methods=tuple(replace(each, settings={None: (0.032, 5, "asl")}) for each in report().methods[:2]),
    )
    assert edges(wide) == [("highest", 0.032, ["baseline", "linear"])]
    fitted = replace(wide.methods[0], method="anchored")
    assert edges(replace(wide, methods=(fitted, wide.methods[1]))) == [("highest", 0.032, ["linear"])]


def test_the_edges_are_those_of_the_grid_that_the_rows_name():
    """All chose 0.002."""
    names = [each.method for each in report().methods]
    assert edges(replace(report(), grid=Grid(lr=(0.002, 0.008)))) == [("lowest", 0.002, names)]
    assert edges(replace(report(), grid=Grid(lr=(0.0005, 0.002)))) == [("highest", 0.002, names)]
    assert edges(replace(report(), grid=None)) == []


def test_a_method_that_did_not_run_is_not_spoken_of():
    assert not [each for each in claims(report()) if "dualcoop" in each.claim]


def test_where_the_default_did_not_run_nothing_is_claimed_of_it():
    """Not of the method that stands in for it as the reference of the differences either."""
    few = replace(report(), methods=report().methods[:2], references=("baseline",))
    assert [each.claim for each in claims(few) if "the default" in each.claim] == []


def test_the_page_holds_what_was_found():
    found = report()
    values = {"runs": 8, "minutes": 3, "versions": "mlrpl 1", "data": "d", "fingerprint": "f", "prior": 0.2}
    figures = {"map-against-proportion": "a.svg"}
    values |= {"notes": ["a note"], "settings_notes": []}
    told = {"averages": {DEFAULT: 0.84}, "best": DEFAULT, "edges": [("highest", 0.032, ["sa", "sd"])]}
    text = render_page(
        "results.md.j2", {"report": found, "figures": figures, **values, **told, "claims": claims(found)}, FOLDER
    )
    assert "8 runs (4 methods, 2 proportions, seeds 0), 3 minutes" in text
    assert (
        "\n\n`sa`, `sd` chose the highest learning rate of the grid, 0.032: a better one may lie beyond it.\n\n##"
        in text
    )
    assert all(f"\n| {' | '.join(each)} |\n" in text for each in claims(found))
    assert "\n\n## Differences\n\n" in text
    assert "\n- a note.\n" in text
    assert "\n\n\n" not in text


def test_a_run_whose_scores_are_gone_is_one_line(tmp_path):
    small.write_prepared(tmp_path / "data")
    sha256 = read_data(tmp_path / "data").sha256
    row = {
        "data_sha256": sha256,
        "key": "a",
        "kind": "run",
        "method": "sral",
        "keep": 0.2,
        "seed": 0,
        "lr": 0.1,
        "epochs": 5,
        "loss": "asl",
    }
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


def test_confusion_is_of_all_classes_where_data_say_of_none_that_they_look_alike():
    methods = [replace(each, confused_alike=None, confused_other=each.confused_alike) for each in report().methods]
    found = told(replace(report(), methods=tuple(methods)), "paper: less semantic confusion")
    assert found.endswith("outscore present ones of their image: `sarl` 21.0%, `baseline` 30.0% | yes")


def test_the_least_lead_of_the_default_is_told_with_its_rival_and_place():
    """0.80 - 0.80 at 10% over linear is less than all others; without it 0.80 - 0.79 over sarl."""
    claim = "the default leads every other row at every proportion"
    assert told(report(), claim).endswith("least lead +0.00, over `linear` at 10% | **no**")
    methods = tuple(each for each in report().methods if each.method != "linear")
    assert told(replace(report(), methods=methods), claim).endswith("least lead +1.00, over `sarl` at 10% | yes")


@pytest.fixture
def photographs(tmp_path) -> SweepData:
    """Six images, called as VOC calls them, in two folds."""
    prepared = read_prepared(small.write_prepared(tmp_path / "data", images=6))
    (tmp_path / "data" / "images").rename(tmp_path / "data" / "JPEGImages")
    images = tuple(name.replace("images", "JPEGImages") for name in prepared.images)
    write_manifest(prepared.folder, replace(prepared, images=images, dataset="voc"))
    rows = "".join(f"{row:03d},{row % 2}\n" for row in range(6))
    (tmp_path / "folds.csv").write_text(f"id,fold\n{rows}")
    return read_data(prepared.folder, folds=tmp_path / "folds.csv")


def photo_page(data: SweepData, found: SweepReport, backbone: str, whole: bool = False) -> str:
    row = {"config": {"backbone": backbone, "backbone_config": None, "image_size": 448}}
    told = {"runs": 8, "minutes": 3, "versions": "mlrpl 1", "data": "d", "fingerprint": "f", "prior": 0.2}
    told |= {"averages": {DEFAULT: 0.84}, "best": DEFAULT, "edges": [], "claims": claims(found), "report": found}
    told |= {"figures": {"map-against-proportion": "a.svg"}, **ground(found, data, row)}
    if whole:
        told |= {"is_whole": True, "published": backbone == "RN101"}
    return render_page("results-photos.md.j2", told, FOLDER)


def test_the_page_of_photographs_says_what_the_ground_is_and_what_it_is_not(photographs):
    over_folds = replace(report(), dataset="voc", folds=2, rare={1: 2}, least_positives=10, images=6)
    text = photo_page(photographs, over_folds, "lite")
    assert "- 6 photographs of VOC 2007; [results-photos/photographs.csv](results-photos/photographs.csv) has" in text
    positives = (photographs.prepared.full_labels[:, [0, 2]] == 1).sum(axis=0)
    assert f"- 2 of 3 classes count, with {positives.min()} to {positives.max()} photographs each" in text
    assert "the others have fewer than 10 and are [apart](#rare-classes)" in text
    assert "CLIP's own weights" in text
    assert "these are 6 of its 9,963, divided otherwise. No figure here may stand beside a published one" in text
    assert "Published" not in text
    assert "\n## Rare classes\n" in text
    assert "\n\n\n" not in text
    assert ids(photographs) == "id,fold\n" + "".join(f"{row:03d},{row % 2}\n" for row in range(6))


@pytest.mark.parametrize(
    ("backbone", "whole", "shown"), [("RN101", True, True), ("RN101", False, False), ("RN50", True, False)]
)
def test_published_figures_stand_only_beside_a_run_on_the_whole_of_voc_with_their_backbone(
    photographs, backbone, whole, shown
):
    text = photo_page(photographs, replace(report(), dataset="voc"), backbone, whole)
    assert ("| DualCoOp | CLIP RN101 | 93.2 |" in text) is shown
    assert "CLIP's own weights" not in text
