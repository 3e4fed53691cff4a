"""`mlrpl report` as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mlrpl_cli.core.prepared.folder import read_prepared
from mlrpl_cli.core.sweep.results import read_results
from tests import small
from tests.core.curation.conftest import place  # noqa: F401
from tests.core.reports.test_report_page import check_alone

pytestmark = pytest.mark.usefixtures("one_thread")
QUIET = ("--workers", "0", "--device", "cpu")


def test_a_line_says_where_the_page_is_and_json_what_is_in_it(place, mlrpl, tmp_path):  # noqa: F811
    prepared, run = place
    out = tmp_path / "page.html"
    done = mlrpl("report", run, "--out", out, *QUIET)
    assert done.code == 0, done.err
    assert done.out == f"written: {out} ({out.stat().st_size / 1e6:.1f} MB)\n"
    told = json.loads(mlrpl("report", run, "--out", out, *QUIET, "--json").out)
    assert told["result"]["bytes"] == out.stat().st_size
    assert told["result"]["images"] == prepared.splits.count("test")
    assert (told["data_sha256"], told["options"]["run"]) == (prepared.sha256, str(run))


def test_a_file_of_somebody_else_is_one_line_and_stays(place, mlrpl, tmp_path):  # noqa: F811
    out = tmp_path / "page.html"
    out.write_text("mine")
    done = mlrpl("report", place[1], "--out", out, *QUIET)
    told = "is there and mlrpl did not write it; --overwrite replaces it, and --out names another place"
    assert (done.code, done.err) == (1, f"mlrpl: error: {out} {told}\n")
    assert out.read_text() == "mine"
    assert mlrpl("report", place[1], "--out", out, *QUIET, "--overwrite").code == 0


def test_a_folder_of_something_else_is_one_line(mlrpl, tmp_path):
    done = mlrpl("report", tmp_path)
    what = f"{tmp_path} is neither a run nor a sweep (it has no checkpoint and no results.jsonl)"
    told = "name a folder that `mlrpl train` or `mlrpl sweep` wrote"
    assert (done.code, done.err) == (1, f"mlrpl: error: {what}; {told}\n")


@pytest.fixture
def swept(tmp_path, monkeypatch, mlrpl, sweep_here) -> Callable[..., Path]:
    """Sweeps two methods at a proportion, over data that lie elsewhere."""
    monkeypatch.chdir(tmp_path)

    def run(*more: object) -> Path:
        made = {**small.OPTIONS, "backbone": small.write_backbone(tmp_path / "clip.safetensors"), "epochs": 1}
        given = [f"--set={key}={value}" for key, value in made.items()]
        asked = ["--data=prepared", "--methods=zero-shot,linear", "--keep=0.7", "--seeds=0", "--no-tune", "--out=sweep"]
        outcome = mlrpl("sweep", *asked, *given, *more)
        assert outcome.code == 0, outcome.err
        return tmp_path / "sweep"

    return run


@pytest.fixture
def sweep(tmp_path, swept) -> Path:
    small.write_prepared(tmp_path / "prepared")
    return swept()


def test_a_sweep_over_folds_has_its_page_by_the_folds_it_was_run_with(tmp_path, swept, mlrpl):
    """The figures are those of all folds together."""
    small.write_folds(tmp_path / "prepared")
    folder = swept("--folds=prepared", "--least-positives=1")
    done = mlrpl("report", folder, "--data=prepared", "--folds=prepared", "--json")
    assert done.code == 0, done.err
    page = check_alone((folder / "report.html").read_text())
    rows = [row for row in read_results(folder / "results.jsonl") if row["kind"] == "run"]
    assert len(rows) == 2
    for row in rows:
        assert f"{100 * row['map']:.1f}" in page.said
    refused = mlrpl("report", folder, "--data=prepared")
    assert (refused.code, "--folds" in refused.err) == (1, True)


def test_a_sweep_has_a_page_of_its_comparison(sweep, mlrpl):
    """Its figures are those of the stored rows; its drawings are in the page."""
    lost = mlrpl("report", sweep)
    told = f"{sweep} has no prepared data of its own; name what it is over with --data"
    assert (lost.code, lost.err) == (1, f"mlrpl: error: {told}\n")
    done = mlrpl("report", sweep, "--data", "prepared", "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)["result"]
    assert (result["of"], result["pictures"], result["curves"]) == ("sweep", {}, 1)
    page = check_alone((sweep / "report.html").read_text())
    for row in read_results(sweep / "results.jsonl"):
        assert f"{100 * row['map']:.1f}" in page.said
        assert all(f"{100 * ap:.1f}" in page.said for ap in row["average_precision"] if np.isfinite(ap))
    assert all(name in page.said for name in read_prepared(Path("prepared")).classes)
    (figure,) = page.of("img")
    assert (figure["src"] or "").startswith("data:image/svg+xml;base64,")
    refused = mlrpl("report", sweep, "--data", "prepared", "--check")
    assert (refused.code, "--check is for a run" in refused.err) == (1, True)
