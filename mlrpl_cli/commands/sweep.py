"""`mlrpl sweep`: compare methods at many proportions of known labels, over several seeds, under one protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.commands.options import option, several
from mlrpl_cli.core.io.errors import counted, duration
from mlrpl_cli.core.labels.formats.registry import DATASETS, formats_with_flags

if TYPE_CHECKING:
    from mlrpl_cli.core.io.progress import Progress
    from mlrpl_cli.core.sweep.estimate import SweepSize
    from mlrpl_cli.core.sweep.plan import SweepOptions
    from mlrpl_cli.core.sweep.results import Row
    from mlrpl_cli.core.sweep.stored import Shown


@options.with_flags(formats_with_flags())
def sweep(
    data: options.Data = None,
    dataset: Annotated[
        str | None, option("NAME", f"Prepare this data set into OUT/data first: {', '.join(DATASETS)}.")
    ] = None,
    methods: Annotated[tuple | None, several(str, "A,B", "Methods to compare, without options.", default="all")] = None,
    variant: Annotated[
        list[str] | None,
        option(
            "VARIANT",
            "A method with options to compare, as METHOD:option=value,… or ROW=METHOD:option=value,… to name its row; "
            "repeatable.",
        ),
    ] = None,
    keeps: Annotated[
        tuple | None,
        several(float, "X,Y", "Proportions of labels that stay known.", "--keep", default="0.1,0.2,…,0.9"),
    ] = None,
    seeds: Annotated[Any, several(int, "N,M", "Seeds of mask, start and order.", default="0,1,2")] = "0,1,2",
    jobs: Annotated[
        int | None,
        option(
            "N",
            "Runs at the same time, each in its own process.",
            default="1; with --engine ray as many as there is room for",
        ),
    ] = None,
    engine: Annotated[
        str | None,
        option(
            "NAME",
            "ray: runs are tasks of a Ray cluster; pip install 'mlrpl[ray]'.",
            default="processes of this machine",
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        option("ADDRESS", "Cluster to use, as ray.init takes it, such as auto.", default="a Ray of its own, here"),
    ] = None,
    ray_threads: Annotated[int | None, option("N", "CPUs of each run with --engine ray.", default="1")] = None,
    tune: Annotated[
        bool,
        option(None, "Choose each method's learning rate, epochs and loss on validation labels.", default="--tune"),
    ] = True,
    tune_lr: Annotated[
        tuple | None,
        several(float, "X,Y", "Learning rates of the tuning grid.", default="1.25e-4, 5e-4, 2e-3, 8e-3, 3.2e-2"),
    ] = None,
    tune_epochs: Annotated[tuple | None, several(int, "N,M", "Epochs of the tuning grid.", default="5, 10")] = None,
    tune_loss: Annotated[tuple | None, several(str, "A,B", "Losses of the tuning grid.", default="asl, bce")] = None,
    tune_keep: Annotated[
        tuple | None,
        several(float, "X,Y", "Proportions of known labels that the grid is tried at.", default="0.2, 0.8"),
    ] = None,
    folds: Annotated[
        Path | None,
        option(
            "FILE",
            "Score each image by what was trained on the other folds: a CSV with the columns image and fold, or "
            "'prepared' for those of mlrpl prepare --folds.",
            default="measure on the test split",
        ),
    ] = None,
    least_positives: Annotated[
        int | None,
        option(
            "N",
            "Report classes with fewer present labels among the scored images apart.",
            default="10 with --folds, else 1",
        ),
    ] = None,
    out: Annotated[
        Path | None, option("FOLDER", "The sweep's folder.", default="one below ./sweeps with the name of the data")
    ] = None,
    dry_run: Annotated[
        bool, option(None, "Say what would run and how long it takes, and run nothing.", "--dry-run")
    ] = False,
    trial: Annotated[
        bool, option(None, "Run one run of each method that has none, then as --dry-run.", "--trial")
    ] = False,
    report_only: Annotated[
        bool,
        option(
            None,
            "Report the stored rows of the newest settings, all or those of --variant and --methods.",
            "--report-only",
        ),
    ] = False,
    device: options.Device = None,
    precision: options.Precision = None,
    config: options.Config = None,
    assignments: options.Assignments = None,
    as_json: options.Json = False,
    **reading: Any,
) -> None:
    """Train and test every variant at every proportion and seed, each image encoded once for all of them.

    Rows go to OUT/results.jsonl as runs finish; the same command again goes on where it stopped. Learning rate, epochs
    and loss of each variant are chosen on validation labels from one small grid, the same for all of them. The report
    is of every row that is stored below OUT and of the present code, and of the same data and settings.
    """
    from mlrpl_cli.core.reports.sweep_page import report_sweep
    from mlrpl_cli.core.runs.options import asked_config
    from mlrpl_cli.core.sweep import plan, runner
    from mlrpl_cli.core.sweep.grid import Grid
    from mlrpl_cli.core.sweep.results import RESULTS

    progress = console.progress()
    training = asked_config(config, {"device": device, "precision": precision}, assignments or ())
    data, out, source = plan.what_to_sweep(data, dataset, reading, out)
    named = None if methods is None and not variant else (*(methods or ()), *(variant or ()))
    measured = {"folds": folds, "least_positives": least_positives}
    compared = {"methods": named, "keeps": keeps, "seeds": seeds, **measured}
    grid = Grid(**_given({"lr": tune_lr, "epochs": tune_epochs, "loss": tune_loss, "keeps": tune_keep}))
    compared |= {"tune": tune, "grid": grid, "jobs": jobs, "config": training, "source": source}
    compared |= {"engine": plan.engine_of(engine, ray_address, ray_threads)}
    chosen = plan.SweepOptions(data, out, **_given(compared))
    if report_only:
        _report(runner.stored(chosen, named), chosen, progress, as_json)
        return
    if trial:
        runner.trial(chosen, progress)
    if dry_run or trial:
        _print_size(runner.pending(chosen), chosen, as_json)
        return
    summary = runner.sweep(chosen, progress, lambda rows: console.show_above(progress, *_table(rows, chosen)))
    page = None
    if summary.rows:
        shown = runner.all_shown(summary)
        page = report_sweep(chosen, shown, progress)
        for note in shown.told:
            progress.note(note)
    if as_json:
        _print_json(vars(summary) | {"report": page}, chosen)
    else:
        console.print_table(*_table(summary.rows, chosen))
        has = f"{out / RESULTS} has {counted(summary.stored, 'run')} in all"
        console.print_note(f"{counted(len(summary.rows), 'run')} of those asked for; {has}; report: {page or 'none'}")
    if failed := len(summary.failures):
        console.print_error(
            f"mlrpl: error: {counted(failed, 'run')} of {out} failed; run the same command to try again"
        )
        raise typer.Exit(1)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _print_json(result: Mapping[str, Any], chosen: SweepOptions) -> None:
    from mlrpl_cli.commands.results import print_result
    from mlrpl_cli.core.runs.provenance import of_folder

    print_result("sweep", result, vars(chosen), of_folder(chosen.data))


def _table(rows: Sequence[Row], chosen: SweepOptions) -> tuple[str, list[str], list[list[str]]]:
    """Title, columns and cells: test mAP (%) of each variant at each proportion, averaged over the seeds done."""
    names = [variant.name for variant in chosen.variants]
    count = len(names) * len(chosen.keeps) * len(chosen.seeds)
    return _means(rows, names, chosen, chosen.keeps, chosen.seeds, f"{len(rows)} of {count} runs")


def _stored_table(rows: Sequence[Row], chosen: SweepOptions) -> tuple[str, list[str], list[list[str]]]:
    from mlrpl_cli.core.sweep.report import in_order

    keeps, seeds = (sorted({row[name] for row in rows}) for name in ("keep", "seed"))
    return _means(rows, in_order(rows), chosen, keeps, seeds, counted(len(rows), "stored run"))


def _means(
    rows: Sequence[Row],
    names: Sequence[str],
    chosen: SweepOptions,
    keeps: Sequence[float],
    seeds: Sequence[int],
    told: str,
) -> tuple[str, list[str], list[list[str]]]:
    from mlrpl_cli.core.sweep.report import mean_maps

    means = mean_maps(rows)
    cells = [[name, *(console.percent(means.get((name, keep))) for keep in keeps)] for name in names]
    measured = "test" if chosen.folds is None else "out-of-fold"
    title = f"{measured} mAP (%), mean over seeds {', '.join(map(str, seeds))}; {told}"
    return title, ["method", *(f"{share:.0%}" for share in keeps)], cells


def _report(shown: Shown, chosen: SweepOptions, progress: Progress, as_json: bool) -> None:
    """Page and table of stored rows."""
    from mlrpl_cli.core.reports.sweep_page import report_sweep

    page = report_sweep(chosen, shown, progress)
    if as_json:
        _print_json({"out": chosen.out, "rows": shown.rows, "notes": shown.told, "report": page}, chosen)
        return
    console.print_table(*_stored_table(shown.rows, chosen))
    for note in [*shown.told, f"report: {page}"]:
        console.print_note(note)


def _print_size(size: SweepSize, chosen: SweepOptions, as_json: bool) -> None:
    from mlrpl_cli.core.sweep.results import RESULTS

    if as_json:
        _print_json({"size": size}, chosen)
        return
    counts = {"method": len(chosen.methods), "proportion": len(chosen.keeps), "seed": len(chosen.seeds)}
    counts |= {"fold": size.runs // math.prod(counts.values())} if chosen.folds else {}
    product = " × ".join(counted(count, what) for what, count in counts.items())
    stale = ", ".join(f"{name} ({count})" for name, count in size.stale.items())
    unknown = f"not known: no run of {', '.join(size.untimed)} is stored; --trial runs one of each to measure"
    rows = [
        ("data", chosen.data),
        ("results", chosen.out / RESULTS),
        ("tuning runs", f"{size.tuning_runs}, {size.tuning_done} done"),
        ("runs", f"{size.runs} ({product}), {size.runs_done} done"),
        ("would run", f"{size.left}"),
        ("stale rows, of other code", stale or "none"),
        ("time", unknown if size.seconds is None else f"about {duration(size.seconds)}"),
    ]
    console.print_table("sweep plan", ("", ""), rows)
