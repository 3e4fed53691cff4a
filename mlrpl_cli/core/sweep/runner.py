"""Run a sweep: tune each variant on validation labels, then train and test every cell, in processes of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mlrpl_cli.core.backbones.backbone import Backbone
from mlrpl_cli.core.backbones.registry import backbone_options, load_backbone
from mlrpl_cli.core.config import raise_together
from mlrpl_cli.core.evaluation.metrics import measurable
from mlrpl_cli.core.io.errors import DataError, RunError, counted, first_few, one_line
from mlrpl_cli.core.io.files import check_writable, make_folder, remove_abandoned, sole_writer
from mlrpl_cli.core.io.processes import process_pool, without_interrupts
from mlrpl_cli.core.io.progress import Progress, Silent, track
from mlrpl_cli.core.labels.records import TEST, VALIDATION
from mlrpl_cli.core.prepared.build import prepare_once
from mlrpl_cli.core.prepared.folder import is_prepared
from mlrpl_cli.core.runs.options import label_notes, resolve_config
from mlrpl_cli.core.sweep.data import SweepData, read_data
from mlrpl_cli.core.sweep.encoding import Shared, encode_once
from mlrpl_cli.core.sweep.estimate import SweepSize, first_untimed, seconds_left, stale_rows
from mlrpl_cli.core.sweep.plan import (
    RUN,
    Cell,
    Plan,
    SweepOptions,
    run_cells,
    sweep_problems,
    tuning_cells,
)
from mlrpl_cli.core.sweep.results import (
    RESAMPLED,
    RESULTS,
    SCORES,
    Results,
    Row,
    chosen_settings,
    name_of,
    read_results,
)
from mlrpl_cli.core.sweep.stored import Shown, shown_rows
from mlrpl_cli.core.sweep.variants import parse_variant
from mlrpl_cli.core.sweep.worker import run_cell, start_problem, start_worker

Listener = Callable[[Sequence[Row]], None]
"""Told all rows asked for so far, whenever there is a new one."""


@dataclass(frozen=True)
class SweepSummary:
    """What a sweep came to."""

    out: Path
    rows: list[Row]
    """The rows of the runs asked for, those of earlier calls included."""
    failures: list[str]
    """One line for each run that failed."""
    stored: int = 0
    """How many tested runs the results file holds, those of other calls included."""


def sweep(options: SweepOptions, progress: Progress | None = None, listener: Listener | None = None) -> SweepSummary:
    """Train and test every (variant, proportion, seed); what is in the results file already is not run again.

    One failed run does not stop the others. Raises ConfigError for options that cannot be, all at once, DataError for
    data without test images, and RunError for a results file that is damaged and for processes that cannot start.
    """
    progress = progress or Silent()
    with _opened(options, progress) as work:
        plan, results = work.shared.plan, work.results
        failures = work.run(tuning_cells(options), "tuning")
        settings = chosen_settings(plan, results.rows)
        names = [variant.name for variant in options.variants]
        failures += [f"{name}: no tuning run of it succeeded" for name in names if name not in settings]
        cells = run_cells(options, settings)
        failures += work.run(cells, "training", listener and (lambda rows: listener(_rows_of(plan, cells, rows))))
        rows = _rows_of(plan, cells, results.rows)
        if options.tune:
            results.mark_tuned(rows)
        return SweepSummary(options.out, rows, failures, sum(row["kind"] == RUN for row in results.rows))


def trial(options: SweepOptions, progress: Progress | None = None) -> None:
    """Run the first cell of each method of which no row is stored, so that `pending` can say how long the rest takes.

    Its row is one of the sweep's. Raises what `sweep` does, and RunError when such a run fails.
    """
    progress = progress or Silent()
    with _opened(options, progress) as work:
        plan, rows = work.shared.plan, work.results.rows
        cells = tuning_cells(options) or run_cells(options, chosen_settings(plan, rows))
        if failures := work.run(first_untimed(cells, rows), "trial"):
            raise RunError(f"a run failed: {'; '.join(failures)}")


def stored(options: SweepOptions, chosen: Sequence[str] | None = None) -> Shown:
    """The rows that are stored below `options.out`, as `stored.shown_rows` has them; trains nothing.

    `chosen` are variants as `SweepOptions.methods` has them; None for all. Raises RunError where no row is stored, or
    none can be shown.
    """
    rows = read_results(options.out / RESULTS)
    if not rows:
        raise RunError(f"{options.out / RESULTS} has no tested run; run `mlrpl sweep` first, or name another --out")
    known = set(map(name_of, rows))
    names = None if chosen is None else [each if each in known else parse_variant(each).name for each in chosen]
    shown = shown_rows(rows, read_data(options.data, options.config).sha256, chosen=names)
    if not shown.rows and shown.told:
        raise RunError(
            f"{options.out / RESULTS} has nothing to report: {'; '.join(shown.told)}; run `mlrpl sweep` again"
        )
    return shown


def all_shown(summary: SweepSummary) -> Shown:
    """The rows of a sweep of which some were run, and those that its folder holds of other variants."""
    return shown_rows(read_results(summary.out / RESULTS), summary.rows[0]["data_sha256"], summary.rows)


def pending(options: SweepOptions) -> SweepSize:
    """How many runs a sweep asks for, how many have a row already, and how long the others take; trains nothing.

    While the tuning is not complete, none of the other runs counts as done: their settings are not known yet. Nor is
    anything done while the data are still to be prepared. Raises ConfigError for options that cannot be.
    """
    raise_together(sweep_problems(options))
    if options.source:
        prepare_once(options.source, dry_run=True)
    tuning, runs = tuning_cells(options), len(options.methods) * len(options.keeps) * len(options.seeds)
    methods = [each.method for each in options.variants]
    if options.source and not is_prepared(options.data):
        return SweepSize(len(tuning), 0, runs, 0, {}, None, tuple(dict.fromkeys(methods)))
    plan, _, _ = _resolve(options, Silent())
    rows = read_results(options.out / RESULTS)
    tuned = _rows_of(plan, tuning, rows)
    cells = run_cells(options, chosen_settings(plan, rows)) if len(tuned) == len(tuning) else []
    done = {row["key"] for row in [*tuned, *_rows_of(plan, cells, rows)]}
    unknown = [] if cells else methods * len(options.keeps) * len(options.seeds)
    left = [cell.method for cell in [*tuning, *cells] if plan.key(cell) not in done] + unknown
    times = seconds_left(left, rows, options.jobs)
    return SweepSize(len(tuning), len(tuned), runs, len(done) - len(tuned), stale_rows(rows), *times)


def _resolve(options: SweepOptions, progress: Progress) -> tuple[Plan, SweepData, Backbone]:
    raise_together(sweep_problems(options))
    if options.source:
        prepare_once(options.source, progress)
    data = read_data(options.data, options.config)
    prepared = data.prepared
    for note in data.notes:
        progress.warn(note)
    splits = (TEST, VALIDATION) if options.tune else (TEST,)
    for split, advice in zip(splits, ("prepare it with some", "add --no-tune, or prepare it with some"), strict=False):
        rows = data.rows(split)
        if not measurable(prepared.full_labels[rows]).any():
            lacks = f"no class with both a present and an absent cell among its {split} images"
            alone = "" if split not in prepared.splits else " that is no copy of those it learns from"
            lacks = lacks if len(rows) else f"no {split} image{alone}"
            raise DataError(f"{options.data} has {lacks}, so no method can be measured there; {advice}")
    config = resolve_config(replace(options.config, data=str(options.data)), prepared)
    for warning in label_notes(options.config, config, prepared):
        progress.warn(warning)
    backbone = load_backbone(backbone_options(config), progress=progress)
    for note in backbone.notes:
        progress.note(note)
    return Plan(options, config, data.sha256, backbone.fingerprint), data, backbone


def _rows_of(plan: Plan, cells: Sequence[Cell], rows: Sequence[Row]) -> list[Row]:
    """The rows of those cells that have one, in the cells' order, as this plan has them: variant's name, and tuning."""
    found = {row["key"]: row for row in rows}
    keyed = ((cell, plan.key(cell)) for cell in cells)
    of_plan = {"tuned": plan.options.tune}
    return [{**found[key], "variant": cell.variant.name, **of_plan} for cell, key in keyed if key in found]


@contextmanager
def _opened(options: SweepOptions, progress: Progress) -> Iterator[_Work]:
    """A sweep's folder, which no other process writes to, with every image encoded."""
    plan, data, backbone = _resolve(options, progress)
    check_writable(options.out)
    make_folder(options.out / SCORES)
    with sole_writer(options.out, "sweep into another --out"):
        for folder in (options.out, options.out / SCORES, options.out / RESAMPLED):
            remove_abandoned(folder)  # what has nothing left to write there would leave it
        results = Results(options.out / RESULTS)
        if lost := results.without_scores:
            progress.warn(f"no scores are left of {counted(len(lost), 'run')} ({first_few(lost)})")
        yield _Work(encode_once(plan, data, backbone, progress), results, progress)


@dataclass(frozen=True)
class _Work:
    """Runs cells in processes of their own and keeps their rows."""

    shared: Shared
    results: Results
    progress: Progress

    def run(self, cells: Sequence[Cell], description: str, listener: Listener | None = None) -> list[str]:
        """Run the cells that have no row yet; returns a line for each that failed."""
        done = {row["key"] for row in self.results.rows}
        left = deque(cell for cell in cells if self.shared.plan.key(cell) not in done)
        failures: list[str] = []
        if not left:
            return failures
        for cell, row in track(self.progress, self._rows(left), description, len(left), "runs"):
            if "error" in row:
                failures.append(f"{cell.variant.name} at {cell.keep:.0%}, seed {cell.seed}: {row['error']}")
                self.progress.warn(f"failed: {failures[-1]}")
            else:
                self.results.append(row)
                if listener:
                    listener(self.results.rows)
        return failures

    def _rows(self, left: deque[Cell]) -> Iterator[tuple[Cell, Row]]:
        """Each cell with its row, as they finish; when a process dies, the others go on in new ones."""
        jobs = self.shared.plan.options.jobs
        threads = max(torch.get_num_threads() // jobs, 1)
        while left:
            with process_pool(jobs, start_worker, (self.shared, threads)) as pool:
                _check_started(pool, jobs)
                yield from _rows_from(pool, jobs, left)


def _check_started(pool: ProcessPoolExecutor, jobs: int) -> None:
    """Raise RunError when a process cannot start: what ends one at its start would end every run."""
    try:
        with without_interrupts():
            started = [pool.submit(start_problem) for _ in range(jobs)]
        problems = [problem for future in started if (problem := future.result())]
    except BrokenProcessPool as error:
        raise RunError(
            "a process of the sweep was killed while it loaded backbone and features, as happens without enough "
            "memory; lower --jobs, or free some and sweep again"
        ) from error
    if problems:
        raise RunError(problems[0])


def _rows_from(pool: ProcessPoolExecutor, jobs: int, left: deque[Cell]) -> Iterator[tuple[Cell, Row]]:
    """Take cells off `left` until it is empty or a process of `pool` has died."""
    running: dict[Future[Row], Cell] = {}
    broken = False
    while running or (left and not broken):
        try:
            # No more than can run at once, so that a process that dies takes only the runs under way with it.
            while left and not broken and len(running) < jobs:
                with without_interrupts():
                    running[pool.submit(run_cell, left[0])] = left[0]
                left.popleft()
        except BrokenProcessPool:
            broken = True
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            broken |= isinstance(future.exception(), BrokenProcessPool)
            yield running.pop(future), _result(future)


def _result(future: Future[Row]) -> Row:
    """The row of a run, or one with "error": whatever ended one run must not end the others."""
    match future.exception():
        case None:
            return future.result()
        case BrokenProcessPool():
            told = "its process, or that of a run beside it, was killed; run the sweep again to try once more"
        case error:
            told = f"{type(error).__name__}: {one_line(error)}"
    return {"error": told}
