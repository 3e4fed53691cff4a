"""A replay: what is asked, what is known then, and what its curves say."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from mlrpl_cli.core.config import OptionsError
from mlrpl_cli.core.curation.asking import simulating
from mlrpl_cli.core.curation.asking.comparing import Measured, curve_of, needed
from mlrpl_cli.core.curation.asking.options import STRATEGIES, SuggestOptions
from mlrpl_cli.core.curation.asking.simulating import Replay, simulate
from mlrpl_cli.core.evaluation.comparison import paired_difference
from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.labels.states import UNKNOWN
from mlrpl_cli.core.prepared.folder import read_prepared, write_manifest
from mlrpl_cli.core.reports.simulation_figure import save_simulation
from mlrpl_cli.core.runs.subject import subject_of

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def options(asked_of, tmp_path):
    def made(**given) -> SuggestOptions:
        told = {"data": asked_of[0], "run": asked_of[1], "out": tmp_path / "told.json", "budget": 5}
        return SuggestOptions(device="cpu", workers=0, **{**told, "rounds": 2, "seeds": 2, "start": 0.2, **given})

    return made


def test_after_each_round_so_many_more_cells_are_known(asked_of, options):
    found = simulate(options(), draw=save_simulation)
    assert [curve.strategy for curve in found.curves] == list(STRATEGIES)
    for curve in found.curves:
        assert [point.answers for point in curve.points] == [0, 5, 10]
        assert [point.known - curve.points[0].known for point in curve.points] == [0, 5, 10]
        assert all(0 <= point.map <= 1 and 0 <= point.complete <= 1 for point in curve.points)
        assert curve.points[0] == found.curves[0].points[0]  # nothing was asked yet
    written = json.loads(found.path.read_text())
    assert written["curves"][3]["points"][2]["map"] == found.curves[3].points[2].map
    assert found.figure.read_bytes().startswith(b"\x89PNG")


def test_it_is_the_same_each_time_and_starts_from_what_the_folder_knows(asked_of, options):
    prepared = read_prepared(asked_of[0])
    known = (prepared.observed_labels != UNKNOWN)[np.array(prepared.splits) != TEST].sum()
    once, again = (simulate(options(start=None, seeds=1, strategy="value"), overwrite=True) for _ in range(2))
    assert once == again
    assert [curve.strategy for curve in once.curves] == ["random", "value"]
    assert once.curves[1].points[0].known == known


def test_images_are_asked_whole_and_paid_for(asked_of, options):
    found = simulate(options(by="image", strategy="value", seeds=1, image_cost=3, cell_cost=0.5))
    for curve in found.curves:
        for point in curve.points[1:]:
            images = 5 * curve.points.index(point)
            assert images <= point.answers <= 3 * images
            assert point.cost == pytest.approx(3 * images + 0.5 * point.answers)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_asked_first_does_not_depend_on_what_would_be_answered(asked_of, options, strategy):
    prepared, chosen = read_prepared(asked_of[0]), options(strategy=strategy)
    start = simulating._start(prepared, 0.3, 0)
    learning = np.array(prepared.splits) != TEST
    full = prepared.full_labels.copy()
    full[learning] = np.where(start == UNKNOWN, -full[learning], full[learning])
    asked = []
    for data in (prepared, replace(prepared, full_labels=full)):
        subject = replace(subject_of(chosen), prepared=data)
        replay = Replay(simulating._truth(subject, chosen, simulating.Silent()), chosen, 0, lambda: None)
        pool = replay._pool(replay.fitted(start, 0), start)
        asked.append(replay._asked(strategy, pool, 1)[0])
    assert (asked[0] == asked[1]).all()
    assert asked[0].sum() == 5
    assert not (asked[0] & (start != UNKNOWN)).any()


def test_needed_is_where_a_line_first_reaches_a_value():
    reached = [(0.0, 0.5), (10.0, 0.6), (20.0, 0.55), (30.0, 0.8)]
    assert needed(reached, 0.4) == 0
    assert needed(reached, 0.58) == pytest.approx(8)
    assert needed(reached, 0.675) == pytest.approx(25)
    assert needed(reached, 0.81) is None


def test_a_point_is_the_mean_over_seeds_with_the_interval_of_paired_resamples():
    random = np.random.default_rng(0)

    def run(value: float) -> list[Measured]:
        return [Measured(7, 7.0, 9, value, 0.9, value + random.normal(0, 0.01, 50))]

    ours, theirs = [run(0.7), run(0.8)], [run(0.6), run(0.66)]
    (point,) = curve_of("value", ours, theirs).points
    pairs = [np.mean([each[0].maps for each in side], axis=0) for side in (ours, theirs)]
    expected = paired_difference(*pairs, 0.75 - 0.63)
    assert (point.map, point.difference) == pytest.approx((0.75, 0.12))
    assert (point.low, point.high) == (expected.low, expected.high)
    assert point.low < 0.12 < point.high
    assert point.random_needs is None


def test_what_cannot_be_replayed_is_told(asked_of, options, tmp_path):
    prepared = read_prepared(asked_of[0])
    with pytest.raises(OptionsError, match="--format is of no use with --simulate; leave it out"):
        simulate(options(format="table"))
    with pytest.raises(OptionsError, match=r"expected a file that ends in .json"):
        simulate(options(out=tmp_path / "told.csv"))
    (tmp_path / "told.png").write_text("mine")
    with pytest.raises(DataError, match=r"told.png is there already"):
        simulate(options())
    (tmp_path / "told.png").unlink()
    learning = (np.array(prepared.splits) != TEST)[:, None]
    unknown = np.where(learning, UNKNOWN, prepared.full_labels).astype(np.int8)
    untested = tuple("train" if split == TEST else split for split in prepared.splits)
    for number, (told, changed) in enumerate(
        {
            "has no test image to measure on": {"splits": untested},
            "hides no label that could answer; give the share that is known at first with --start 0.05": {
                "observed_labels": prepared.full_labels
            },
            "has no known cell to start from": {"observed_labels": unknown},
        }.items()
    ):
        other = tmp_path / str(number)
        other.mkdir()
        write_manifest(other, replace(prepared, folder=other, **changed))
        with pytest.raises(DataError, match=told):
            simulate(options(data=other, start=None))
    assert not (tmp_path / "told.json").exists()
