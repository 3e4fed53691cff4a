"""The tuning grid as an option: what is tried, what is refused, and which rows are of it."""

from pathlib import Path

import numpy as np
import pytest

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.sweep.grid import Grid, grid_of, grid_problems
from mlrpl_cli.core.sweep.plan import Plan, SweepOptions, sweep_problems, tuning_cells
from mlrpl_cli.core.sweep.results import chosen_settings, untold_settings

SMALL = Grid(lr=(0.002, 0.0005), epochs=(10,), loss=("bce", "asl", "bce"), keeps=(0.5,))


def options(grid: Grid, **more) -> SweepOptions:
    return SweepOptions(Path("data"), Path("out"), ("linear",), grid=grid, **more)


def test_every_combination_is_tried_once_at_every_proportion_in_whatever_order_it_is_given():
    cells = tuning_cells(options(SMALL))
    assert [(cell.keep, cell.setting) for cell in cells] == [
        (0.5, (0.0005, 10, "asl")),
        (0.5, (0.0005, 10, "bce")),
        (0.5, (0.002, 10, "asl")),
        (0.5, (0.002, 10, "bce")),
    ]
    assert Grid(lr=(0.0005, 0.002), epochs=(10,), loss=("asl", "bce"), keeps=(0.5,)) == SMALL
    assert tuning_cells(options(SMALL, tune=False)) == []


def test_what_does_not_learn_in_steps_is_tried_once_with_each_loss():
    cells = tuning_cells(SweepOptions(Path("data"), Path("out"), ("anchored", "linear"), grid=SMALL))
    assert [cell.setting for cell in cells if cell.method == "anchored"] == [(0.0005, 10, "asl"), (0.0005, 10, "bce")]
    assert sum(cell.method == "linear" for cell in cells) == 4


def test_the_choice_is_the_highest_mean_over_the_proportions_of_the_grid():
    """Of two rates the second is ahead on average, the first at one proportion."""
    grid = Grid(lr=(0.1, 0.2), epochs=(5,), loss=("bce",), keeps=(0.1, 0.4, 0.7))
    plan = Plan(options(grid), TrainConfig(), "d", "f")
    maps = {0.1: [0.9, 0.1, 0.2], 0.2: [0.5, 0.5, 0.5]}
    rows = [
        {"key": plan.key(cell), "validation_map": maps[cell.lr][grid.keeps.index(cell.keep)]}
        for cell in tuning_cells(plan.options)
    ]
    assert np.mean(maps[0.1]) < np.mean(maps[0.2])
    assert chosen_settings(plan, rows) == {("linear", None): (0.2, 5, "bce")}
    assert chosen_settings(plan, rows[:-1]) == {("linear", None): (0.1, 5, "bce")}


def test_where_validation_labels_measure_no_class_the_first_setting_is_taken_and_told():
    plan = Plan(options(SMALL), TrainConfig(), "d", "f", (0, 1))
    cells = tuning_cells(plan.options, plan.folds)
    rows = [{"key": plan.key(cell), "validation_map": None if cell.fold else 0.5} for cell in cells]
    assert chosen_settings(plan, rows)["linear", 1] == SMALL.settings[0]
    (told,) = untold_settings(plan, rows)
    assert told.startswith("linear for fold 1: no class has a known present and a known absent validation cell")
    assert untold_settings(plan, [row for row in rows if row["validation_map"]]) == []


def test_a_row_names_the_grid_that_chose_its_setting():
    assert options(SMALL).choice == {"tuned": True, "grid": SMALL.row()}
    assert SMALL.row() == {"lr": [0.0005, 0.002], "epochs": [10], "loss": ["asl", "bce"], "keep": [0.5]}
    assert grid_of(options(SMALL).choice) == SMALL
    assert grid_of(options(Grid(), tune=False).choice) is None
    assert grid_of({"tuned": True}) == Grid()
    assert grid_of({}) is None


@pytest.mark.parametrize(
    ("grid", "problem"),
    [
        (Grid(lr=(0.1, 11)), "--tune-lr: expected a number from 0 to 10, got 11"),
        (Grid(lr=(float("nan"),)), "--tune-lr: expected a number from 0 to 10, got nan"),
        (Grid(epochs=(0, 5)), "--tune-epochs: expected a whole number from 1 to 100000, got 0"),
        (Grid(keeps=(0.2, 1.5)), "--tune-keep: the keep proportion must be above 0 and at most 1, not 1.5; for 30% "),
        (Grid(loss=("asl", "bec")), "--tune-loss: expected one of "),
        (Grid(loss=("asl", "bec")), "got 'bec'; did you mean 'bce'?"),
        *((Grid(**{name: ()}), "expected at least one value, got none") for name in ("lr", "epochs", "loss", "keeps")),
    ],
)
def test_a_wrong_value_is_one_sentence(grid, problem):
    (told,) = sweep_problems(options(grid))
    assert problem in told


def test_all_that_is_wrong_in_a_grid_is_told_at_once():
    wrong = Grid(lr=(11, 12), epochs=(), loss=("bec",), keeps=(0,))
    told = sweep_problems(options(wrong, jobs=0))
    flags = ["--tune-epochs", "--tune-lr", "--tune-lr", "--tune-loss", "--tune-keep"]
    assert [each.split(":")[0] for each in told] == [*flags, "jobs"]
    assert told[-2].endswith("type --tune-keep 0.3")


def test_a_grid_has_no_use_without_tuning():
    told = "--tune-epochs, --tune-keep: --no-tune tries no grid; leave one or the other out"
    assert grid_problems(Grid(epochs=(10,), keeps=(0.5,)), False, TrainConfig()) == [told]
    assert grid_problems(Grid(), False, TrainConfig()) == []
    assert grid_problems(Grid(), True, TrainConfig()) == []


def test_what_is_wrong_elsewhere_is_not_told_of_the_grid():
    config = TrainConfig(semantics="glove")
    (told,) = sweep_problems(options(SMALL, config=config))
    assert told.startswith("semantics glove needs glove")
