"""Variants in a sweep: their rows, and what a run's key depends on."""

from dataclasses import replace

import numpy as np
import pytest

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.evaluation.metrics import average_precisions
from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.prepared.folder import read_prepared
from mlrpl_cli.core.reports.sweep_page import PAGE, write_report
from mlrpl_cli.core.sweep.estimate import seconds_left
from mlrpl_cli.core.sweep.plan import RUN, Cell, Plan, SweepOptions, sweep_problems
from mlrpl_cli.core.sweep.report import make_report
from mlrpl_cli.core.sweep.results import SCORES, write_scores
from mlrpl_cli.core.sweep.variants import Variant, parse_variant
from tests import small
from tests.core.sweep.rows import row

COLD = "sa:attention_temperature=0.01"


def test_a_variant_is_a_method_its_options_and_the_name_of_its_rows():
    assert parse_variant("sarl") == Variant("sarl", "sarl")
    assert parse_variant(COLD) == Variant(COLD, "sa", (("attention_temperature", 0.01),))
    assert parse_variant(f"cold={COLD}") == Variant("cold", "sa", (("attention_temperature", 0.01),))
    assert parse_variant("sa").options == (("attention_temperature", 0.05),)
    for wrong, told in (("a|b=sarl", "'a|b' cannot be the name of a row"), ("sral", "did you mean 'sarl'")):
        with pytest.raises(ConfigError, match=told.replace("|", r"\|")):
            parse_variant(wrong)


def test_rows_that_no_table_could_tell_apart_are_refused(tmp_path):
    options = SweepOptions(tmp_path, tmp_path, ("x=sarl", "x=sa"), tune=False)
    assert sweep_problems(options) == ["two variants are called 'x'; name their rows apart"]
    (told,) = sweep_problems(replace(options, methods=("sa", "sa:attention_temperature=0.05")))
    assert told.startswith("these variants are the same: sa, sa:attention_temperature=0.05; leave all but one out")


def key(tmp_path, variant: str, loss: str = "bce", **options) -> str:
    config = TrainConfig(**options)
    plan = Plan(SweepOptions(tmp_path, tmp_path, (variant,), config=config), config, "data", "backbone")
    return plan.key(Cell(RUN, parse_variant(variant), 0.5, 0, 0.1, 5, loss))


def test_a_key_depends_on_the_options_that_the_method_and_the_loss_use_and_on_no_other(tmp_path):
    for variant, used, unused in (
        ("linear", {"batch_size": 8}, {"context_tokens": 3, "attention_width": 7, "gamma_negative": 1.0}),
        ("cspo", {"context_tokens": 3}, {"attention_width": 7, "entropy_weight": 1.0}),
        ("sarl", {"attention_width": 7}, {"margin": 0.1}),
    ):
        assert key(tmp_path, variant, **used) != key(tmp_path, variant)
        assert all(key(tmp_path, variant, **{name: value}) == key(tmp_path, variant) for name, value in unused.items())
    assert key(tmp_path, "sarl", "asl", margin=0.1) != key(tmp_path, "sarl", "asl")


def test_a_key_depends_on_the_options_of_a_variant_and_not_on_its_name(tmp_path):
    assert key(tmp_path, COLD) == key(tmp_path, f"cold={COLD}") != key(tmp_path, "sa")
    assert key(tmp_path, "sa") == key(tmp_path, "sa:attention_temperature=0.05")


def test_the_time_that_is_left_is_the_median_of_the_stored_runs_of_each_method():
    rows = [{"method": "a", "train_seconds": s, "test_seconds": 1.0} for s in (1.0, 2.0, 9.0)]
    rows.append({"method": "b", "train_seconds": 4.0})
    assert seconds_left(["a", "a", "b"], rows, 2) == ((3 + 3 + 4) / 2, ())
    assert seconds_left(["a", "c"], rows, 2) == (None, ("c",))
    assert seconds_left([], [], 1) == (0, ())


def test_the_worse_variant_has_negative_differences_everywhere(tmp_path):
    """`sarl` is perfect, `worse` ranks every class the wrong way round: what the sign has to be is plain."""
    prepared = read_prepared(small.write_prepared(tmp_path / "prepared", images=120))
    labels = prepared.full_labels[prepared.rows(TEST)]
    (tmp_path / SCORES).mkdir()
    rows = []
    for name, scores in (("sarl", labels), ("worse", -labels)):
        aps = average_precisions(scores.astype(np.float32), labels)
        more = {
            "map": aps.mean(),
            "selected_map": aps.mean(),
            "average_precision": aps.tolist(),
            "learned_parameters": 1,
        }
        rows.append({**row(name), **more, "key": f"{len(rows):016x}"})
        write_scores(tmp_path, rows[-1]["key"], scores.astype(np.float32))
    report = make_report(tmp_path, prepared, rows, Silent(), resamples=20)
    sarl, worse = report.methods
    gap = worse.maps[0, 0] - sarl.maps[0, 0]
    for difference in (worse.differences["sarl"], worse.differences_at[0]["sarl"]):
        assert difference.value == pytest.approx(gap)
        assert difference.low <= difference.high < 0
    write_report(report, tmp_path / "report")
    page = (tmp_path / "report" / PAGE).read_text(encoding="utf-8")
    section = page.split("## Differences")[1].split("##")[0]
    assert "row minus that of the method at the head of the column, in points: negative where the row's" in section
    assert f"| `worse` | {100 * gap:+.2f} (" in section
    assert "| `sarl` | – | – |" in section
