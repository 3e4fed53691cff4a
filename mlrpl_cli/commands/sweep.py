"""`mlrpl sweep`: compare methods at many proportions of known labels, over several seeds, under one protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option, several
from mlrpl_cli.core.io.errors import counted
from mlrpl_cli.core.labels.formats.registry import DATASETS, formats_with_flags

if TYPE_CHECKING:
    from mlrpl_cli.core.sweep.plan import SweepOptions
    from mlrpl_cli.core.sweep.results import Row
    from mlrpl_cli.core.sweep.runner import SweepSize


@options.with_flags(formats_with_flags())
def sweep(
    data: options.Data = None,
    dataset: Annotated[
        str | None, option("NAME", f"Prepare this data set into OUT/data first: {', '.join(DATASETS)}.")
    ] = None,
    methods: Annotated[tuple | None, several(str, "A,B", "Methods to compare.", default="all")] = None,
    keeps: Annotated[
        tuple | None,
        several(float, "X,Y", "Proportions of labels that stay known.", "--keep", default="0.1,0.2,…,0.9"),
    ] = None,
    seeds: Annotated[Any, several(int, "N,M", "Seeds of mask, start and order.", default="0,1,2")] = "0,1,2",
    jobs: Annotated[int, option("N", "Runs at the same time, each in its own process.", default=1)] = 1,
    tune: Annotated[
        bool,
        option(None, "Choose each method's learning rate, epochs and loss on validation labels.", default="--tune"),
    ] = True,
    out: Annotated[
        Path | None, option("FOLDER", "The sweep's folder.", default="one below ./sweeps with the name of the data")
    ] = None,
    dry_run: Annotated[bool, option(None, "Say what would run, and run nothing.", "--dry-run")] = False,
    device: options.Device = None,
    precision: options.Precision = None,
    config: options.Config = None,
    assignments: options.Assignments = None,
    as_json: options.Json = False,
    **reading: Any,
) -> None:
    """Train and test every method at every proportion and seed, each image encoded once for all of them.

    Rows go to OUT/results.jsonl as runs finish; the same command again goes on where it stopped. Learning rate, epochs
    and loss of each method are chosen on validation labels from one small grid, the same for all methods.
    """
    from mlrpl_cli.core.reports.sweep_page import report_sweep
    from mlrpl_cli.core.runs.options import asked_config
    from mlrpl_cli.core.sweep import plan, runner
    from mlrpl_cli.core.sweep.results import RESULTS

    progress = console.progress()
    training = asked_config(config, {"device": device, "precision": precision}, assignments or ())
    data, out, source = plan.what_to_sweep(data, dataset, reading, out)
    compared = {"methods": methods, "keeps": keeps, "seeds": seeds}
    given = {name: values for name, values in compared.items() if values is not None}
    chosen = plan.SweepOptions(data, out, **given, tune=tune, jobs=jobs, config=training, source=source)
    if dry_run:
        _print_size(runner.pending(chosen), chosen, as_json)
        return
    summary = runner.sweep(chosen, progress, lambda rows: console.show_above(progress, *_table(rows, chosen)))
    page = report_sweep(out, data, summary.rows, progress) if summary.rows else None
    if as_json:
        console.print_json(summary)
    else:
        console.print_table(*_table(summary.rows, chosen))
        console.print_note(f"{counted(len(summary.rows), 'run')} in {out / RESULTS}; report: {page or 'none'}")
    if failed := len(summary.failures):
        console.print_error(
            f"mlrpl: error: {counted(failed, 'run')} of {out} failed; run the same command to try again"
        )
        raise typer.Exit(1)


def _table(rows: Sequence[Row], chosen: SweepOptions) -> tuple[str, list[str], list[list[str]]]:
    """Title, columns and cells: test mAP (%) of each method at each proportion, averaged over the seeds done."""
    from mlrpl_cli.core.sweep.report import mean_maps

    means = mean_maps(rows)
    cells = [[name, *(console.percent(means.get((name, keep))) for keep in chosen.keeps)] for name in chosen.methods]
    count = len(chosen.methods) * len(chosen.keeps) * len(chosen.seeds)
    done = f"test mAP (%), mean over seeds {', '.join(map(str, chosen.seeds))}; {len(rows)} of {count} runs"
    return done, ["method", *(f"{share:.0%}" for share in chosen.keeps)], cells


def _print_size(size: SweepSize, chosen: SweepOptions, as_json: bool) -> None:
    from mlrpl_cli.core.sweep.results import RESULTS

    if as_json:
        console.print_json({"options": chosen, "size": size})
        return
    product = " × ".join(
        counted(len(values), what)
        for what, values in (("method", chosen.methods), ("proportion", chosen.keeps), ("seed", chosen.seeds))
    )
    rows = [
        ("data", chosen.data),
        ("results", chosen.out / RESULTS),
        ("tuning runs", f"{size.tuning_runs}, {size.tuning_done} done"),
        ("runs", f"{size.runs} ({product}), {size.runs_done} done"),
    ]
    console.print_table("sweep plan", ("", ""), rows)
