"""Write the page of a comparison on scenes from a sweep's results: python scripts/make_results.py SWEEP OUT

Every figure of OUT/results.md, and those below OUT/results, come from SWEEP/results.jsonl and the scores beside it.
`make_results_photos.py` writes the page of photographs with what is here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.evaluation.comparison import Interval
from mlrpl_cli.core.heads.methods import load_method
from mlrpl_cli.core.heads.registry import METHODS
from mlrpl_cli.core.io.errors import MlrplError
from mlrpl_cli.core.io.files import write_text
from mlrpl_cli.core.io.progress import Silent
from mlrpl_cli.core.labels.states import PRESENT
from mlrpl_cli.core.reports.pages import percent, points, render_page
from mlrpl_cli.core.reports.sweep_page import write_figures
from mlrpl_cli.core.sweep.data import SweepData, read_data
from mlrpl_cli.core.sweep.plan import DATA
from mlrpl_cli.core.sweep.report import PAPER, MethodReport, SweepReport, make_report
from mlrpl_cli.core.sweep.results import RESULTS, Row, read_results
from mlrpl_cli.core.sweep.stored import Shown, reported_rows

PAGE = "results"
LEAST_KEPT, LEAST_POINTING = 0.90, 15.0


class Claim(NamedTuple):
    """What the paper claims or this project asks of its default, beside what was measured."""

    claim: str
    measured: str
    holds: str


def main() -> None:
    sweep, out = (Path(argument) for argument in sys.argv[1:3])
    data = read_data(sweep / DATA)
    report, shown = reported(sweep, data)
    write_page(out, PAGE, report, shown, setting(report, data, shown.rows))


def reported(sweep: Path, data: SweepData) -> tuple[SweepReport, Shown]:
    """The report of a sweep's rows over its data, and these rows. Raises RunError where there are none."""
    shown = reported_rows(sweep / RESULTS, read_results(sweep / RESULTS), data.sha256)
    return make_report(sweep, data.measured, shown.rows, Silent()), shown


def write_page(out: Path, page: str, report: SweepReport, shown: Shown, values: Mapping[str, object]) -> None:
    """Write OUT/PAGE.md from the template of that name and `values`, and the figures to OUT/PAGE."""
    found = {"report": report, "figures": write_figures(report, out / page, f"{page}/")}
    found |= {"edges": edges(report), "claims": claims(report), "notes": shown.notes, "settings_notes": shown.settings}
    write_text(out / f"{page}.md", render_page(f"{page}.md.j2", {**found, **values}, Path(__file__).parent))


def setting(report: SweepReport, data: SweepData, rows: Sequence[Row]) -> dict[str, object]:
    """What was run, and how hard it is."""
    averages = {each.method: float(each.maps.mean()) for each in report.methods if not np.isnan(each.maps).any()}
    return {
        "runs": len(rows),
        "minutes": f"{sum(row['train_seconds'] + row['test_seconds'] for row in rows) / 60:.0f}",
        "versions": ", ".join(f"{name} {version}" for name, version in rows[0]["versions"].items()),
        "data": data.sha256[:16],
        "fingerprint": rows[0]["fingerprint"][:16],
        "prior": float((data.prepared.full_labels[data.scored][:, report.counted] == PRESENT).mean()),
        "averages": averages,
        "best": max(averages, key=lambda method: averages[method], default=None),
    }


def edges(report: SweepReport) -> list[tuple[str, float, list[str]]]:
    """(which edge, learning rate, methods) where methods chose a rate that nothing beyond it was compared with.

    The rates are those of the grid that the rows name; none where no grid chose. A method that does not learn
    in steps is as good at every rate.
    """
    if report.grid is None:
        return []
    learning = [each for each in report.methods if each.method not in METHODS or load_method(each.method).steps]
    found = [
        (what, rate, [each.method for each in learning if rate in [lr for lr, _, _ in each.settings.values()]])
        for rate, what in ((min(report.grid.lr), "lowest"), (max(report.grid.lr), "highest"))
    ]
    return [edge for edge in found if edge[2]]


def claims(report: SweepReport) -> list[Claim]:
    """Every claim about methods that ran."""
    found = {each.method: each for each in report.methods}
    return [*_paper_claims(report, found), *_claims_of_default(report, found)]


def _paper_claims(report: SweepReport, found: dict[str, MethodReport]) -> Iterator[Claim]:
    for rival, claim in (
        ("sa", "semantic decoupling beats attention fusion"),
        ("sd", "category-specific prompts beat a shared one"),
        ("cspo", "semantic decoupling beats CLIP's pooled vector"),
        ("baseline", "both together beat the CLIP baseline"),
        ("dualcoop", "they beat DualCoOp"),
    ):
        if rival in found and (below := found[rival].differences.get(PAPER)):
            yield _better(f"paper: {claim}", PAPER, rival, below)
    if {PAPER, "baseline"} <= found.keys() and len(report.keeps) > 1:
        few, many = (100 * np.nanmean((found[PAPER].maps - found["baseline"].maps)[row]) for row in (0, -1))
        measured = f"`{PAPER}` - `baseline`: {few:+.2f} at {report.keeps[0]:.0%}, {many:+.2f} at {report.keeps[-1]:.0%}"
        yield Claim("paper: most where labels are fewest", measured, _yes(few > many))
    if {PAPER, "baseline"} <= found.keys():
        shares, what = [found[name].confused_alike for name in (PAPER, "baseline")], "classes that look alike, confused"
        if shares[0] is None:
            shares = [found[name].confused_other for name in (PAPER, "baseline")]
            what = "absent classes that outscore present ones of their image"
        ours, theirs = (share or 0 for share in shares)
        measured = f"{what}: `{PAPER}` {percent(ours)}%, `baseline` {percent(theirs)}%"
        yield Claim("paper: less semantic confusion", measured, _yes(ours < theirs))


def _claims_of_default(report: SweepReport, found: dict[str, MethodReport]) -> Iterator[Claim]:
    default = TrainConfig().method
    if default not in found:
        return
    for rival, each in found.items():
        if below := each.differences.get(default):
            yield _better(f"the default is better than `{rival}`", default, rival, below)
    for member in (PAPER, "linear", "sarl+"):
        if member in found and (below := found[member].differences_at[0].get(default)):
            claim = f"the default is better than `{member}` at {min(report.keeps):.0%}"
            yield _better(claim, default, member, below)
            yield _everywhere(found[default], found[member])
    if len(found) > 1:
        yield _ahead_of_all(report, found, default)
    first, last = (float(np.nanmean(found[default].maps[row])) for row in (0, -1))
    measured = f"{percent(first)} at {report.keeps[0]:.0%}, {percent(last)} at {report.keeps[-1]:.0%}"
    claim = f"the default keeps {LEAST_KEPT:.0%} of its mAP with the fewest labels"
    yield Claim(claim, f"{measured}: {first / last:.1%}", _yes(first >= LEAST_KEPT * last))
    if {PAPER, "baseline"} <= found.keys() and found[PAPER].pointing is not None:
        ours, clip = (found[name].pointing or 0 for name in (PAPER, "baseline"))
        claim = f"`{PAPER}` looks where the object is, {LEAST_POINTING:g} points above CLIP's own attention"
        measured = f"pointing game: {percent(ours)}% and {percent(clip)}%"
        yield Claim(claim, measured, _yes(100 * ours >= 100 * clip + LEAST_POINTING))


def _better(claim: str, method: str, rival: str, below: Interval) -> Claim:
    """That `method` is better than `rival`, whose difference from it is `below`."""
    above = Interval(-below.value, -below.high, -below.low)
    return Claim(claim, f"`{method}` - `{rival}`: {points(above)}", verdict(above))


def _everywhere(default: MethodReport, member: MethodReport) -> Claim:
    differences = 100 * (default.maps - member.maps)  # (K, S)
    least = float(np.nanmin(np.nanmean(differences, axis=1)))
    ahead, runs = int((differences > 0).sum()), int(np.isfinite(differences).sum())
    measured = f"least difference of a proportion {least:+.2f}; better in {ahead} of {runs} runs"
    return Claim(f"the default is better than `{member.method}` at every proportion", measured, _yes(least > 0))


def _ahead_of_all(report: SweepReport, found: dict[str, MethodReport], default: str) -> Claim:
    leads = [
        (100 * float(np.nanmean(found[default].maps[row] - each.maps[row])), name, keep)
        for name, each in found.items()
        for row, keep in enumerate(report.keeps)
        if name != default and np.isfinite(found[default].maps[row] - each.maps[row]).any()
    ]
    lead, name, keep = min(leads)
    measured = f"least lead {lead:+.2f}, over `{name}` at {keep:.0%}"
    return Claim("the default leads every other row at every proportion", measured, _yes(lead > 0))


def verdict(difference: Interval) -> str:
    """Whether a method is better: yes or no where the interval of its difference lies on one side of zero."""
    if difference.low > 0:
        return "yes"
    return "**no**" if difference.high < 0 else "**not told apart**"


def _yes(holds: bool) -> str:
    return "yes" if holds else "**no**"


if __name__ == "__main__":
    try:
        main()
    except MlrplError as error:
        sys.exit(f"make_results: error: {error}")
