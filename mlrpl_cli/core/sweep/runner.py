"""Run a sweep: tune each variant on validation labels, then train and test every cell, in processes of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mlrpl_cli.core.backbones.backbone import Backbone
from mlrpl_cli.core.backbones.registry import backbone_options, load_backbone
from mlrpl_cli.core.config import raise_together
from mlrpl_cli.core.io.errors import ConfigError, MlrplError, RunError, counted, first_few
from mlrpl_cli.core.io.files import check_writable, make_folder, remove_abandoned, sole_writer
from mlrpl_cli.core.io.progress import Progress, Silent, track
from mlrpl_cli.core.prepared.build import prepare_once
from mlrpl_cli.core.prepared.folder import is_prepared
from mlrpl_cli.core.runs.options import label_notes, resolve_config
from mlrpl_cli.core.sweep.data import SweepData, read_data
from mlrpl_cli.core.sweep.encoding import Shared, encode_once, plan_with_room
from mlrpl_cli.core.sweep.engines.cluster import rows_by_ray
from mlrpl_cli.core.sweep.engines.processes import rows_by_processes
from mlrpl_cli.core.sweep.estimate import SweepSize, first_untimed, seconds_left, stale_rows
from mlrpl_cli.core.sweep.folds.assignment import read_folds
from mlrpl_cli.core.sweep.folds.joining import join
from mlrpl_cli.core.sweep.plan import (
    RUN,
    TUNING,
    Cell,
    Plan,
    Run,
    SweepOptions,
    sweep_problems,
    tuning_cells,
    wanted_runs,
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
    untold_settings,
    write_scores,
)
from mlrpl_cli.core.sweep.stored import Shown, reported_rows, shown_rows
from mlrpl_cli.core.sweep.variants import parse_variant
from mlrpl_cli.core.sweep.worker import Done

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
        failures = work.run(tuning_cells(options, plan.folds), "tuning")
        for warning in untold_settings(plan, results.rows):
            progress.warn(warning)
        runs = wanted_runs(options, chosen_settings(plan, results.rows), plan.folds)
        tuned = {run[0].variant.name for run in runs}
        names = dict.fromkeys(variant.name for variant in options.variants)
        failures += [f"{name}: no tuning run of it succeeded" for name in names if name not in tuned]
        failures += work.train(runs, listener and (lambda rows: listener(_rows_of(plan, runs, rows))))
        rows = _rows_of(plan, runs, results.rows)
        if options.tune:
            results.mark_tuned(rows, options.grid)
        return SweepSummary(options.out, rows, failures, sum(row["kind"] == RUN for row in results.rows))


def trial(options: SweepOptions, progress: Progress | None = None) -> None:
    """Run the first cell of each method of which no row is stored, so that `pending` can say how long the rest takes.

    Its row is one of the sweep's. Raises what `sweep` does, and RunError when such a run fails.
    """
    progress = progress or Silent()
    with _opened(options, progress) as work:
        plan, rows = work.shared.plan, work.results.rows
        runs = wanted_runs(options, chosen_settings(plan, rows), plan.folds)
        cells = tuning_cells(options, plan.folds) or [cell for run in runs for cell in run]
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
    if options.folds is None and all(row.get("folds") for row in rows if row["kind"] == RUN):
        raise ConfigError(f"{options.out / RESULTS} is of a sweep over folds; name them with --folds, as it was run")
    data = read_data(options.data, options.config, options.folds)
    return reported_rows(options.out / RESULTS, rows, data.sha256, names)


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
    methods = [each.method for each in options.variants]
    if options.source and not is_prepared(options.data):
        folds = max(len(set(read_folds(options.folds).values())), 1) if options.folds else 1
        trainings = folds * len(methods) * len(options.keeps) * len(options.seeds)
        return SweepSize(folds * len(tuning_cells(options)), 0, trainings, 0, {}, None, tuple(dict.fromkeys(methods)))
    plan, _, _ = _resolve(options, Silent())
    plan = plan_with_room(plan) or plan
    tuning, asked = tuning_cells(options, plan.folds), methods * len(options.keeps) * len(options.seeds)
    rows = read_results(options.out / RESULTS)
    stored_keys = {row["key"] for row in rows}
    tuned = {key for cell in tuning if (key := plan.key(cell)) in stored_keys}
    runs = wanted_runs(options, chosen_settings(plan, rows), plan.folds) if len(tuned) == len(tuning) else []
    whole = {plan.key(cell) for run in runs if plan.run_key(run) in stored_keys for cell in run}
    cells = [cell for run in runs for cell in run]
    done = {key for cell in cells if (key := plan.key(cell)) in stored_keys | whole}
    unknown = [] if cells else asked * len(plan.folds)
    left = [cell.method for cell in [*tuning, *cells] if plan.key(cell) not in tuned | done] + unknown
    times = seconds_left(left, rows, options.jobs or 1)
    return SweepSize(len(tuning), len(tuned), len(asked) * len(plan.folds), len(done), stale_rows(rows), *times)


def _resolve(options: SweepOptions, progress: Progress) -> tuple[Plan, SweepData, Backbone]:
    raise_together(sweep_problems(options))
    if options.source:
        prepare_once(options.source, progress)
    data = read_data(options.data, options.config, options.folds)
    prepared = data.prepared
    for note in data.notes:
        progress.warn(note)
    data.check(options.tune, options.least)
    config = resolve_config(replace(options.config, data=str(options.data)), prepared)
    for warning in label_notes(options.config, config, prepared):
        progress.warn(warning)
    backbone = load_backbone(backbone_options(config), progress=progress)
    for note in backbone.notes:
        progress.note(note)
    return Plan(options, config, data.sha256, backbone.fingerprint, data.fold_numbers), data, backbone


def _rows_of(plan: Plan, runs: Sequence[Run], rows: Sequence[Row]) -> list[Row]:
    """The rows of those runs that have one, in the runs' order, as this plan has them: variant's name, and grid."""
    found = {row["key"]: row for row in rows}
    keyed = ((run[0], plan.run_key(run)) for run in runs)
    choice = plan.options.choice
    return [{**found[key], "variant": cell.variant.name, **choice} for cell, key in keyed if key in found]


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
    """Has cells run by an engine and keeps their rows: of the results this process alone writes."""

    shared: Shared
    results: Results
    progress: Progress

    def train(self, runs: Sequence[Run], listener: Listener | None = None) -> list[str]:
        """Run what has no row yet and join the folds of each run; returns a line for each that failed."""
        plan, failures, done = self.shared.plan, list[str](), self.results.by_key
        left = [run for run in runs if plan.run_key(run) not in done]
        of_cell = {plan.key(cell): run for run in left for cell in run}

        def appended(cell: Cell) -> None:
            failures.extend(self._joined(of_cell[plan.key(cell)]))
            if listener:
                listener(self.results.rows)

        for run in left:  # those whose last fold was all that a killed process had left to do
            failures.extend(self._joined(run))
        return self.run([cell for run in left for cell in run], "training", appended) + failures

    def run(
        self, cells: Sequence[Cell], description: str, appended: Callable[[Cell], None] = lambda cell: None
    ) -> list[str]:
        """Run the cells that have no row yet, and say each that has one now; returns a line for each that failed."""
        stored = self.results.by_key
        left = deque(cell for cell in cells if self.shared.plan.key(cell) not in stored)
        failures: list[str] = []
        if not left:
            return failures
        by_processes, total = self.shared.plan.options.engine is None, len(left)
        rows = rows_by_processes(self.shared, left) if by_processes else rows_by_ray(self.shared, left, self.progress)
        for cell, done in track(self.progress, rows, description, total, "runs"):
            if problem := done.error or self._kept(cell, done):
                failures.append(f"{cell}: {problem}")
                self.progress.warn(f"failed: {failures[-1]}")
            else:
                appended(cell)
        return failures

    def _kept(self, cell: Cell, done: Done) -> str | None:
        """Write the scores of a run and then its row, by which it counts as done; why that cannot be, or None."""
        plan = self.shared.plan
        if done.row["key"] != plan.key(cell):
            return "the machine that ran it has other code of mlrpl than this one; install the same there"
        if done.scores is not None:
            try:
                write_scores(plan.options.out, plan.key(cell), done.scores)
            except MlrplError as error:
                return str(error)
        self.results.append(done.row if cell.kind == TUNING else {**done.row, **plan.options.choice})
        return None

    def _joined(self, run: Run) -> list[str]:
        """Add the row of a run whose folds are all there and not joined yet; a line where that fails."""
        plan, rows = self.shared.plan, self.results.by_key
        keys = [plan.key(cell) for cell in run]
        if plan.run_key(run) in rows or not rows.keys() >= set(keys):
            return []
        try:
            joined = join(plan, self.shared.data, run, [rows[key] for key in keys])
            self.results.append({**joined, **plan.options.choice})
        except MlrplError as error:
            return [f"{replace(run[0], fold=None)}: {error}"]
        return []
