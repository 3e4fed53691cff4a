"""`mlrpl sweep`: compare methods at many proportions of known labels, over several seeds, under one protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlrpl_cli.commands import console, options
from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.labels.records import PrepareOptions

if TYPE_CHECKING:
    from mlrpl_cli.core.sweep.plan import SweepOptions
    from mlrpl_cli.core.sweep.results import Row
    from mlrpl_cli.core.sweep.runner import SweepSize

PREPARED, PARENT = Path("prepared"), Path("sweeps")


def sweep(
    data: options.Data = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", metavar="NAME", help="Prepare this data set into OUT/data first: scenes, voc, coco."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", metavar="DIR", help="Where the data set of --dataset lies.")
    ] = None,
    methods: Annotated[
        str | None, typer.Option("--methods", metavar="A,B", help="Methods to compare.", show_default="all")
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep", metavar="P,Q", help="Proportions of labels that stay known.", show_default="0.1,0.2,…,0.9"
        ),
    ] = None,
    seeds: Annotated[str, typer.Option("--seeds", metavar="A,B", help="Seeds of mask, start and order.")] = "0,1,2",
    jobs: Annotated[
        int, typer.Option("--jobs", metavar="N", min=1, help="Runs at the same time, each in its own process.")
    ] = 1,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune/--no-tune", help="Choose each method's learning rate, epochs and loss on validation labels."
        ),
    ] = True,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The sweep's folder.", show_default="below ./sweeps, as the data"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and run nothing.")] = False,
    device: options.Device = None,
    precision: options.Precision = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="YAML file of training options.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any training option by its name; repeatable."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Train and test every method at every proportion and seed, each image encoded once for all of them.

    Rows go to OUT/results.jsonl as runs finish; the same command again goes on where it stopped. Learning rate, epochs
    and loss of each method are chosen on validation labels from one small grid, the same for all methods.
    """
    from mlrpl_cli.core.config import given_options, make_config
    from mlrpl_cli.core.prepared.folder import is_prepared
    from mlrpl_cli.core.reports.sweep_page import report_sweep
    from mlrpl_cli.core.runs.options import config_problems
    from mlrpl_cli.core.sweep.plan import KEEPS, SweepOptions
    from mlrpl_cli.core.sweep.results import RESULTS
    from mlrpl_cli.core.sweep.runner import pending, size_of
    from mlrpl_cli.core.sweep.runner import sweep as run_sweep

    flags = {"device": device, "precision": precision}
    given = given_options(assignments, flags)
    training = make_config(config, given, config_problems)
    folder = _data_folder(data, dataset, out)
    if dataset is not None:
        _prepare_once(dataset, root, folder, dry_run)
    chosen = SweepOptions(
        data=folder,
        out=out or PARENT / (dataset or folder.resolve().name),
        methods=SweepOptions.methods if methods is None else tuple(dict.fromkeys(options.names(methods))),
        keeps=KEEPS if keep is None else tuple(dict.fromkeys(_numbers("--keep", keep, float))),
        seeds=tuple(dict.fromkeys(_numbers("--seeds", seeds, int))),
        tune=tune,
        jobs=jobs,
        config=training,
    )
    if dry_run:
        size = pending(chosen) if is_prepared(folder) or dataset is None else size_of(chosen)
        _print_size(size, chosen, as_json)
        return
    progress = console.progress()
    summary = run_sweep(chosen, progress, lambda rows: console.show_above(progress, *_table(rows, chosen)))
    page = report_sweep(chosen.out, folder, summary.rows, progress) if summary.rows else None
    if as_json:
        console.print_json(summary)
    else:
        console.print_table(*_table(summary.rows, chosen))
        console.print_note(f"{len(summary.rows)} runs in {chosen.out / RESULTS}; report: {page or 'none'}")
    if summary.failures:
        console.print_error(
            f"mlrpl: error: {len(summary.failures)} runs failed; run the same command to try them again"
        )
        raise typer.Exit(1)


def _data_folder(data: Path | None, dataset: str | None, out: Path | None) -> Path:
    """The prepared folder to sweep over. Raises ConfigError when --data and --dataset are both given."""
    from mlrpl_cli.core.prepared.folder import newest_prepared

    if dataset is None:
        return data or newest_prepared(PREPARED)
    if data is not None:
        raise ConfigError("--data and --dataset were both given; give the one that names what to sweep over")
    return (out or PARENT / dataset) / "data"


def _prepare_once(dataset: str, root: Path | None, folder: Path, dry_run: bool) -> None:
    """Prepare with every label known: each run draws the mask of its own proportion and seed."""
    from mlrpl_cli.core.prepared.build import prepare_once

    reading = {} if root is None else {"root": root}
    prepare_once(PrepareOptions(dataset, keep=1.0, out=folder, reading=reading), console.progress(), dry_run)


def _numbers(option: str, text: str, kind: type) -> list:
    try:
        return [kind(part) for part in options.names(text)]
    except ValueError as error:
        raise typer.BadParameter(f"expected numbers separated by commas, got '{text}'", param_hint=option) from error


def _table(rows: Sequence[Row], chosen: SweepOptions) -> tuple[str, list[str], list[list[object]]]:
    """Title, columns and cells: test mAP (%) of each method at each proportion, averaged over the seeds done."""
    from mlrpl_cli.core.sweep.report import mean_maps

    means = mean_maps(rows)
    cells: list[list[object]] = [
        [method, *(console.percent(means.get((method, share))) for share in chosen.keeps)] for method in chosen.methods
    ]
    count = len(chosen.methods) * len(chosen.keeps) * len(chosen.seeds)
    done = f"test mAP (%), mean over seeds {', '.join(map(str, chosen.seeds))}; {len(rows)} of {count} runs"
    return done, ["method", *(f"{share:.0%}" for share in chosen.keeps)], cells


def _print_size(size: SweepSize, chosen: SweepOptions, as_json: bool) -> None:
    from mlrpl_cli.core.sweep.results import RESULTS

    if as_json:
        console.print_json({"options": chosen, "size": size})
        return
    lists = ((len(chosen.methods), "methods"), (len(chosen.keeps), "proportions"), (len(chosen.seeds), "seeds"))
    rows = [
        ("data", chosen.data),
        ("results", chosen.out / RESULTS),
        ("tuning runs", f"{size.tuning_runs}, {size.tuning_done} done"),
        ("runs", f"{size.runs} ({' × '.join(f'{n} {what}' for n, what in lists)}), {size.runs_done} done"),
    ]
    console.print_table("sweep plan", ("", ""), rows)
