"""`suggest`: what to ask next, ranked, explained and written down. Axes: N images, C classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from pkgutil import resolve_name

import numpy as np

from mlrpl_cli.core.curation.asking.asked import Asked, AskedCell, Suggested, reasons
from mlrpl_cli.core.curation.asking.choosing import Units, Worth, choose, units_of
from mlrpl_cli.core.curation.asking.information import Information
from mlrpl_cli.core.curation.asking.options import DEFAULT, FORMATS, STRATEGIES, SuggestOptions, check
from mlrpl_cli.core.curation.asking.pool import Pool, pool_of
from mlrpl_cli.core.curation.asking.writing import places_of, write
from mlrpl_cli.core.curation.cross_fitting import CrossFitted, cross_fit
from mlrpl_cli.core.curation.filled import warn_of_filled
from mlrpl_cli.core.curation.ground import ground_of
from mlrpl_cli.core.decisions import calibration
from mlrpl_cli.core.evaluation.metrics import measurable
from mlrpl_cli.core.heads.fitted.anchored import AnchoredClassifier
from mlrpl_cli.core.io.devices import make_generator
from mlrpl_cli.core.io.errors import DataError, agreeing, first_few
from mlrpl_cli.core.io.progress import Progress, Silent
from mlrpl_cli.core.io.reading import short
from mlrpl_cli.core.labels.records import TEST
from mlrpl_cli.core.labels.states import ABSENT, PRESENT, UNKNOWN, classes_without
from mlrpl_cli.core.prepared.folder import Prepared
from mlrpl_cli.core.runs.subject import Subject, subject_of

SEED = 0
"""Of the parts that choose a calibration and λ."""


def suggest(options: SuggestOptions, progress: Progress | None = None, overwrite: bool = False) -> Suggested:
    """Rank the unknown cells of the training and validation images of a prepared folder, and write the first ones.

    Raises ConfigError for options that cannot be, DataError where nothing is unknown, or nothing known, and rather than
    replace a file without `overwrite`, and RunError for a run that does not fit.
    """
    progress = progress or Silent()
    check(options, simulate=False)
    subject = subject_of(options)
    prepared, strategy, form = subject.prepared, options.strategy or DEFAULT, options.format or "table"
    warn_of_filled(prepared, progress)
    (path,) = places_of(prepared, options, f"{strategy}-{form}", overwrite, FORMATS[form])
    crossed, pool = _pool(subject, options, progress)
    worth = resolve_name(STRATEGIES[strategy])(pool, np.random.default_rng(options.seed or 0))
    units = units_of(pool.may_ask, options.by, options.costs)
    asked = list[Asked]()
    with progress.task("choosing", min(options.budget, len(units.rows)), f"{options.by}s") as task:
        for one in _explained(prepared, crossed.rows, pool, worth, units, options.budget):
            asked.append(one)
            task.advance()
    open_cells = int(pool.may_ask.sum())
    found = Suggested(prepared.folder, subject.run, strategy, options.by, open_cells, path, form, [], _reasoned(asked))
    written = write(found, prepared, options.prefix or "", progress)
    return replace(found, notes=[*_notes(prepared, crossed, options, len(units.rows)), *written])


def _pool(subject: Subject, options: SuggestOptions, progress: Progress) -> tuple[CrossFitted, Pool]:
    prepared, run = subject.prepared, subject.run
    learning = np.array(prepared.splits) != TEST
    if not (prepared.observed_labels[learning] == UNKNOWN).any():
        raise DataError(
            f"{prepared.folder} has no unknown cell to ask of; prepare it with --keep below 1, or add images"
        )
    described = cache(partial(ground_of, prepared, np.flatnonzero(learning), options, run, progress))
    crossed = cross_fit(prepared, options, run, progress, described)
    chosen = calibration.choose(crossed.logits, crossed.labels, np.random.default_rng(SEED))
    ground = described()
    with progress.task("fitting to all known cells", AnchoredClassifier.fits, "fits") as task:
        classifier = ground.fit(crossed.labels, make_generator(SEED, "suggest"), task.advance)
    return crossed, pool_of(classifier, ground.described, crossed.labels, chosen.calibration.apply(crossed.logits))


def _explained(
    prepared: Prepared, rows: np.ndarray, pool: Pool, worth: Worth, units: Units, budget: int
) -> Iterator[Asked]:
    """The units in the order that they are chosen in; `rows` are those of the pool's images."""
    information = worth if isinstance(worth, Information) else Information(pool)
    for rank, (unit, value) in enumerate(choose(worth, units, budget), 1):
        row, columns = int(units.rows[unit]), units.columns(unit)
        figures = zip(columns.tolist(), information.deviation(row, columns), information.of(row, columns), strict=True)
        cells = [
            AskedCell(
                prepared.classes[column], float(pool.probabilities[row, column]), int(pool.present[column]),
                int(pool.absent[column]), float(deviation), float(deviation * np.exp(-nats)), float(nats),
            )
            for column, deviation, nats in figures
        ]  # fmt: skip
        place = int(rows[row])
        yield Asked(rank, prepared.images[place], prepared.splits[place], value, float(units.costs[unit]), cells)
        if information is not worth:
            information.expect(row, columns)


def _reasoned(asked: list[Asked]) -> list[Asked]:
    """With what sets each cell apart from the others that are asked."""
    cells = [cell for one in asked for cell in one.cells]
    p, deviation = (np.array([getattr(cell, name) for cell in cells]) for name in ("probability", "deviation"))
    why = iter(reasons(p * (1 - p), deviation**2))
    return [replace(one, cells=[replace(cell, because=next(why)) for cell in one.cells]) for one in asked]


def _notes(prepared: Prepared, crossed: CrossFitted, options: SuggestOptions, there: int) -> list[str]:
    """What has to be known of what is behind the suggestions."""
    found = list[str]()
    for word, state in (("present", PRESENT), ("absent", ABSENT)):
        names = list(map(short, classes_without(state, prepared.classes, crossed.labels)))
        if names:
            told = f"classes have no known {word} cell, and other classes' cells stand in"
            found.append(f"{agreeing(len(names), told)}: {first_few(names)}")
    if not measurable(crossed.labels).any():
        found.append("no class has known cells of both kinds: probabilities are not calibrated")
    if options.budget > there:
        found.append(f"--budget {options.budget} is more than there is to ask: all {there} {options.by}s are listed")
    return found
