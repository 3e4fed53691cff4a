"""A report of rows whose figures are known."""

import html
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlrpl_cli.core.evaluation import comparison
from mlrpl_cli.core.evaluation.comparison import confusion
from mlrpl_cli.core.evaluation.metrics import average_precisions
from mlrpl_cli.core.io.errors import RunError
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.io.tensorfiles import SUFFIX
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.prepared.folder import Prepared, read_prepared
from mlrpl_cli.core.reports.pages import points
from mlrpl_cli.core.reports.sweep_page import PAGE, table_csv, write_report
from mlrpl_cli.core.sweep.report import RESAMPLED, SweepReport, make_report
from mlrpl_cli.core.sweep.results import SCORES, read_scores, write_scores
from tests import small


@pytest.fixture
def prepared(tmp_path) -> Prepared:
    return read_prepared(small.write_prepared(tmp_path / "prepared", images=120))


@pytest.fixture
def found(prepared, tmp_path) -> tuple[list[dict], SweepReport]:
    """Rows of two methods at two proportions over two seeds, `sarl` the better one; one row is missing."""
    labels = prepared.full_labels[prepared.rows(TEST)]
    (tmp_path / SCORES).mkdir()
    rows = []
    for method, noise in (("sarl", 0.3), ("baseline", 1.5)):
        for keep in (0.1, 0.5):
            for seed in (0, 1):
                random = np.random.RandomState(len(rows))
                scores = (labels + noise * random.standard_normal(labels.shape)).astype(np.float32)
                aps = average_precisions(scores, labels)
                key = f"{len(rows):016x}"
                write_scores(tmp_path, key, scores)
                settings = {"lr": 0.002, "epochs": 5, "loss": "asl", "learned_parameters": 7, "pointing": noise / 2}
                rows.append(
                    {"key": key, "method": method, "keep": keep, "seed": seed, "map": aps.mean(), "selected_map": 0.25}
                    | {"average_precision": aps.tolist(), **settings}
                )
    del rows[-1]
    return rows, make_report(tmp_path, prepared, rows, Silent(), resamples=200)


def test_the_figures_are_means_of_the_rows(found):
    rows, report = found
    baseline, sarl = report.methods  # in the registry's order
    assert sarl.maps.tolist() == [[rows[0]["map"], rows[1]["map"]], [rows[2]["map"], rows[3]["map"]]]
    assert np.isnan(baseline.maps[1, 1])
    np.testing.assert_allclose(
        sarl.average_precision[0], (np.array(rows[0]["average_precision"]) + rows[1]["average_precision"]) / 2
    )
    assert sarl.pointing == pytest.approx(0.15)
    assert sarl.attention_inside is None


def test_a_difference_is_the_method_minus_the_reference_over_the_runs_that_both_have(found):
    rows, report = found
    expected = np.mean([rows[i + 4]["map"] - rows[i]["map"] for i in range(3)])
    assert report.references == ("sarl",)
    difference = report.methods[0].differences["sarl"]
    assert difference.value == pytest.approx(expected)
    assert difference.low < expected < difference.high < 0  # `baseline` is the worse one
    assert report.methods[1].differences == {}
    few, many = (at["sarl"].value for at in report.methods[0].differences_at)
    assert few == pytest.approx(np.mean([rows[i + 4]["map"] - rows[i]["map"] for i in range(2)]))
    assert many == pytest.approx(rows[6]["map"] - rows[2]["map"])  # a run is missing beside it


def test_resampling_is_computed_once(found, prepared, tmp_path, monkeypatch):
    rows, report = found
    monkeypatch.setattr(comparison, "resampled_maps", None)  # computing again would raise
    again = make_report(tmp_path, prepared, rows, Silent(), resamples=200)
    assert again.methods[0].differences == report.methods[0].differences


@pytest.mark.parametrize("harm", ["cut short", "of other scores", "something else"])
def test_a_stored_resampling_that_is_not_of_these_scores_is_made_again(found, prepared, tmp_path, harm):
    rows, report = found
    one, other = (tmp_path / RESAMPLED / f"{rows[n]['key']}{SUFFIX}" for n in (0, 4))
    content = {"cut short": one.read_bytes()[:-1], "of other scores": other.read_bytes(), "something else": b"{}"}
    whole = one.read_bytes()
    one.write_bytes(content[harm])
    again = make_report(tmp_path, prepared, rows, Silent(), resamples=200)
    assert again.methods[0].differences == report.methods[0].differences
    assert one.read_bytes() == whole


def test_two_rows_of_one_cell_are_refused(found, prepared, tmp_path):
    rows, _ = found
    with pytest.raises(RunError, match="sarl at 10%, seed 0 has two rows of different settings"):
        make_report(tmp_path, prepared, [*rows, {**rows[0], "lr": 0.1}], Silent(), resamples=2)


def test_no_row_is_refused(found, prepared, tmp_path):
    with pytest.raises(RunError, match="has no tested run"):
        make_report(tmp_path, prepared, [], Silent(), resamples=2)


def test_rows_of_a_method_that_is_not_installed_are_shown_behind_the_others(found, prepared, tmp_path):
    """What a report needs lies in the folder; a package that was uninstalled hides no row."""
    rows = [{**row, "method": "theirs"} if row["method"] == "baseline" else row for row in found[0]]
    report = make_report(tmp_path, prepared, rows, Silent(), resamples=2)
    assert [each.method for each in report.methods] == ["sarl", "theirs"]


def test_rows_are_those_of_variants(found, prepared, tmp_path):
    rows = [{**row, "variant": "cold,er"} if row["method"] == "baseline" else row for row in found[0]]
    report = make_report(tmp_path, prepared, rows, Silent(), resamples=2)
    assert [each.method for each in report.methods] == ["cold,er", "sarl"]
    assert table_csv(report).splitlines()[1].startswith('"cold,er",0.1,0,')


def test_the_axes_are_in_order_whatever_the_order_of_the_rows(found, prepared, tmp_path):
    rows, report = found
    turned = make_report(tmp_path, prepared, rows[::-1], Silent(), resamples=2)
    assert (turned.keeps, turned.seeds) == ((0.1, 0.5), (0, 1)) == (report.keeps, report.seeds)
    np.testing.assert_array_equal(turned.methods[1].maps, report.methods[1].maps)


def test_confusion_is_told_for_classes_that_look_alike_only_where_data_say_so(found, prepared, tmp_path):
    rows, report = found
    labels = prepared.full_labels[prepared.rows(TEST)]
    shares = [confusion(read_scores(tmp_path, row["key"]), labels)[1] for row in rows[:4]]
    assert report.methods[1].confused_alike is None
    assert report.methods[1].confused_other == pytest.approx(np.mean(shares))


def written(report: SweepReport, folder: Path) -> str:
    write_report(report, folder)
    return (folder / PAGE).read_text(encoding="utf-8")


def test_the_page_says_every_method_and_proportion(found, tmp_path):
    _, report = found
    text = written(report, tmp_path)
    baseline, sarl = report.methods
    assert f"| `sarl` | {100 * sarl.maps[0].mean():.1f} ± {100 * sarl.maps[0].std(ddof=1):.1f} |" in text
    assert "| method | 10% | 50% | average |\n|---|---|---|---|\n| `baseline` |" in text
    assert f"| `baseline` | {points(baseline.differences['sarl'])} | -" in text
    assert "| `sarl` | – | – |" in text
    at_each = " | ".join(points(at["sarl"]) for at in baseline.differences_at)
    assert (
        f"At each proportion, minus `sarl`:\n\n| method | 10% | 50% |\n|---|---|---|\n| `baseline` | {at_each} |\n"
        in text
    )
    assert "| `sarl` | 0.002 | 5 | asl | 7 |" in text
    assert text.count(" | 25.0 ± 0.0 |") == 1  # the other method lacks a run
    assert "Published" not in text
    assert "\n\n\n" not in text


def test_published_figures_are_beside_those_of_the_public_data_sets_and_marked(found, tmp_path):
    _, report = found
    text = written(replace(report, dataset="voc"), tmp_path)
    assert "copied from the papers and not measured here" in text
    assert "| DualCoOp | CLIP RN101 | 93.2 |" in text


def test_a_name_from_a_file_is_text_on_the_page(found, tmp_path):
    """Neither a tag, a link, code, emphasis nor a cell of a table; a reader of HTML sees the name as it is."""
    _, report = found
    name = "<b>[a](http://x) `c` www.evil.com | _d_ *e* a@b.c"
    text = written(replace(report, dataset=name), tmp_path)
    (line,) = [line for line in text.splitlines() if "images of" in line]
    shown = line.split("images of ")[1].split(": mean")[0]
    assert not set("<>[]()`|_*@:/") & set(shown)
    assert "www." not in shown
    assert html.unescape(shown) == name


def test_the_files_are_the_same_bytes_each_time(found, tmp_path):
    _, report = found
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        write_report(report, folder)
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in two.iterdir())
    assert all(path.read_bytes() == (two / path.name).read_bytes() for path in one.iterdir())
    assert len(list(one.iterdir())) == 6
    assert table_csv(report).count("\n") == 8
