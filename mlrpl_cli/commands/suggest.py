"""`mlrpl suggest`: which unknown cells, or images, somebody should look at next."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option
from mlrpl_cli.core.curation.asking.options import FORMATS, STRATEGIES, SuggestOptions

if TYPE_CHECKING:
    from mlrpl_cli.core.curation.asking.asked import Suggested
    from mlrpl_cli.core.curation.asking.curves import Simulated

SHOWN = 20
"""Questions that are printed; the file has all of them."""


@options.with_flags({"": SuggestOptions}, {"strategy": STRATEGIES, "format": FORMATS})
def suggest(
    data: options.PreparedOfRun = None,
    simulate: Annotated[
        bool,
        option(None, "Replay it where hidden labels answer, beside asking at random.", "--simulate"),
    ] = False,
    overwrite: Annotated[bool, option(None, "Replace the file of an earlier call.", "--overwrite")] = False,
    as_json: options.Json = False,
    **given: Any,
) -> None:
    """Rank the unknown cells of training and validation images by what an answer is expected to change.

    With --by image all open cells of an image are asked together, and what it costs to open one counts. Each cell is
    written with its probability, how often its class is known, and what makes the answer worth more than others.
    random, uncertainty and balanced (uncertainty, rare classes first) are for comparison.

    --simulate measures what the order is worth: from a few known cells, it asks --budget of them in each round, lets
    hidden labels answer, fits again and tests. It fits anchored --rounds times for each strategy and seed, which takes
    minutes.
    """
    from mlrpl_cli.commands.results import print_result
    from mlrpl_cli.core.runs.subject import subject_of

    chosen = SuggestOptions(data=data, **given)
    if simulate:
        from mlrpl_cli.core.curation.asking import simulating
        from mlrpl_cli.core.reports.simulation_figure import save_simulation

        found: Any = simulating.simulate(chosen, console.progress(), overwrite, save_simulation)
    else:
        from mlrpl_cli.core.curation.asking import suggesting

        found = suggesting.suggest(chosen, console.progress(), overwrite)
    if as_json:
        subject = subject_of(replace(chosen, data=found.data, run=found.run))
        told = vars(chosen) | {"data": found.data, "run": found.run, "simulate": simulate}
        result = {"suggested": None if simulate else found, "simulated": found if simulate else None}
        print_result("suggest", result, told, subject.provenance, flat=False)
    elif simulate:
        _print_simulated(found)
    else:
        _print_suggested(found)


def _print_suggested(found: Suggested) -> None:
    columns = ("rank", "image", "class", "p", "known present", "absent", "because", "nats", "worth")
    rows = [
        (
            one.rank, one.image, cell.class_name, f"{cell.probability:.3f}", cell.present, cell.absent, cell.because,
            f"{cell.information:.3f}", f"{one.worth:.3f}",
        )
        for one in found.asked[:SHOWN]
        for cell in one.cells
    ]  # fmt: skip
    console.print_table(f"What to ask next of {found.data}, by {found.strategy} and {found.run}", columns, rows[:SHOWN])
    cells = sum(len(one.cells) for one in found.asked)
    of_images = f", of {len(found.asked)} images" if found.by == "image" else ""
    console.print_line(f"asked: {cells} of {found.open_cells} open cells{of_images}; the file has all of them")
    for note in found.notes:
        console.print_line(note)
    console.print_line(f"written: {found.path}")


def _print_simulated(found: Simulated) -> None:
    columns = ("strategy", "answers", "known", "mAP", "less random's", "interval", "right cells", "random needs")
    rows = [
        (
            curve.strategy, f"{point.answers:.0f}", f"{point.known:.0f}", console.percent(point.map),
            console.percent(point.difference), f"{100 * point.low:+.2f} to {100 * point.high:+.2f}",
            console.percent(point.complete), "more" if point.random_needs is None else f"{point.random_needs:.0f}",
        )
        for curve in found.curves
        for point in curve.points
    ]  # fmt: skip
    console.print_table(f"Mean of {found.seeds} replays, {found.test_images} test images", columns, rows)
    console.print_line("random needs: so many answers for the same mAP; more than were asked where it says more")
    console.print_line(f"written: {found.path} and {found.figure}")
