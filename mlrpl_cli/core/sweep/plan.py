"""What a sweep is to run: variants × proportions × seeds, and the small grid that tunes each variant first."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from mlrpl_cli.core.cluster.options import refuse_without_engine
from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.heads import losses
from mlrpl_cli.core.heads.methods import load_method
from mlrpl_cli.core.heads.registry import METHODS
from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.io.schema import flag
from mlrpl_cli.core.labels.masks import mask_problem
from mlrpl_cli.core.labels.records import PrepareOptions
from mlrpl_cli.core.prepared.folder import newest_prepared
from mlrpl_cli.core.runs.again import WITHOUT_EFFECT
from mlrpl_cli.core.runs.options import backbone_problem, config_problems, unused_options
from mlrpl_cli.core.sweep.code import code_sha256
from mlrpl_cli.core.sweep.data import Fold
from mlrpl_cli.core.sweep.folds.assignment import OF_PREPARED
from mlrpl_cli.core.sweep.grid import FLAGS, Grid, Setting, grid_problems
from mlrpl_cli.core.sweep.variants import Variant, parse_variant

SWEEPS, DATA = Path("sweeps"), "data"
"""Where sweeps lie when nothing else is said, and below each of them the data that was prepared for it."""
KEEPS = tuple(tenth / 10 for tenth in range(1, 10))
TUNING, RUN, FOLD = "tuning", "run", "fold"
LEAST_POSITIVES_OF_FOLDS = 10
TUNING_SEED = 0


@dataclass(frozen=True)
class RayEngine:
    """Which cluster runs the cells."""

    address: str | None = None
    """As ray.init takes it; None for a Ray of this sweep's own on this machine."""
    threads: int | None = None
    """CPUs of a cell; None is one."""


def engine_of(name: str | None, address: str | None, threads: int | None) -> RayEngine | None:
    """The engine that is asked for by name. Raises ConfigError for one that there is not, and for its options alone."""
    if name not in (None, "ray"):
        raise ConfigError(f"engine: expected ray, got '{name}'")
    if name is None:
        refuse_without_engine({"ray_address": address, "ray_threads": threads})
    return RayEngine(address, threads) if name else None


@dataclass(frozen=True)
class SweepOptions:
    """What to compare, and how."""

    data: Path
    """Prepared folder. Its own mask is not used: each run draws the mask of its proportion and seed."""
    out: Path
    """The sweep's folder."""
    methods: tuple[str, ...] = field(default_factory=lambda: tuple(METHODS))
    """Variants: "METHOD", "METHOD:option=value,…", or either behind "ROW=", which names its rows."""
    keeps: tuple[float, ...] = KEEPS
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each is the seed of a run's mask, of its initialisation and of its order of images."""
    tune: bool = True
    """Choose each variant's learning rate, epochs and loss on validation labels first; else take those of `config`."""
    grid: Grid = field(default_factory=Grid)
    """What `tune` chooses from, the same for every variant."""
    jobs: int | None = None
    """Processes that train at the same time; None is one, and on a cluster as many as it has room for."""
    engine: RayEngine | None = None
    """The cluster that cells are tasks of; None for processes of this machine."""
    config: TrainConfig = field(default_factory=TrainConfig)
    """Everything else of a run."""
    source: PrepareOptions | None = None
    """What `data` is prepared from when it is not there; None for data that were prepared before."""
    folds: Path | None = None
    """Score each image by what was trained on the other folds, those of a CSV file with a header, image and fold, or of
    the prepared folder, "prepared"; None measures on the test split."""
    least_positives: int | None = None
    """Classes with fewer present labels among the scored images are reported apart; None is 10 with folds, else 1."""

    @property
    def least(self) -> int:
        """`least_positives`, its default filled in."""
        default = 1 if self.folds is None else LEAST_POSITIVES_OF_FOLDS
        return default if self.least_positives is None else self.least_positives

    @property
    def choice(self) -> dict[str, Any]:
        """What the row of a run says of how its setting was chosen."""
        return {"tuned": self.tune, "grid": self.grid.row() if self.tune else None}

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Raises ConfigError for a method or an option that there is not."""
        return tuple(map(parse_variant, self.methods))


@dataclass(frozen=True)
class Cell:
    """One run of a sweep."""

    kind: str
    """RUN, FOLD for a fold of a run, or TUNING for one whose test figures are never computed."""
    variant: Variant
    keep: float
    seed: int
    lr: float
    epochs: int
    loss: str
    fold: Fold = None
    """The fold that is held out; in tuning, the one whose setting is chosen."""

    @property
    def method(self) -> str:
        return self.variant.method

    @property
    def setting(self) -> Setting:
        """What the grid chooses."""
        return self.lr, self.epochs, self.loss

    def config(self, base: TrainConfig) -> TrainConfig:
        chosen = replace(base, lr=self.lr, context_lr=self.lr, epochs=self.epochs, loss=self.loss)
        return replace(chosen, method=self.method, method_options=dict(self.variant.options), seed=self.seed, run=None)

    def row(self) -> dict[str, Any]:
        """What its row says of it."""
        told = {name: getattr(self, name) for name in ("kind", "method", "keep", "seed", "lr", "epochs", "loss")}
        told |= {} if self.fold is None else {"fold": self.fold}
        return {**told, "variant": self.variant.name, "method_options": dict(self.variant.options)}

    def __str__(self) -> str:
        fold = "" if self.fold is None else f", fold {self.fold}"
        return f"{self.variant.name} at {self.keep:.0%}, seed {self.seed}{fold}"


Run = tuple[Cell, ...]
"""What a row of figures is of, a (variant, proportion, seed): one cell, or those of all folds."""


@dataclass(frozen=True)
class Plan:
    """A sweep's options with everything resolved that depends on the data and the backbone."""

    options: SweepOptions
    config: TrainConfig
    """What every run has in common, with no value left open."""
    data_sha256: str
    """Of the images' names and content, their splits and their published labels."""
    fingerprint: str
    """Of the backbone's weights."""
    folds: tuple[Fold, ...] = (None,)
    """`SweepData.fold_numbers`."""

    def setting_key(self, cell: Cell) -> str:
        """What decides a run's result besides its proportion, its seed and the code, as 16 hexadecimal digits."""
        used = used_options(cell.config(self.config))
        return _digest({"config": used, "data": self.data_sha256, "backbone": self.fingerprint})

    def key(self, cell: Cell) -> str:
        """All that decides a run's result, as 16 hexadecimal digits."""
        code = code_sha256(cell.method, cell.loss)
        least = self.options.least if cell.kind == RUN else 1
        apart = [each for each in (cell.fold, f"least {least}" if least > 1 else None) if each is not None]
        return _digest([self.setting_key(cell), cell.kind, cell.keep, cell.seed, code, *apart])

    def run_key(self, run: Run) -> str:
        """The key of a run's row: its cell's, or one of all its folds."""
        keys = [self.key(cell) for cell in run]
        return keys[0] if run[0].fold is None else _digest([*keys, self.options.least])


def used_options(config: TrainConfig) -> dict[str, Any]:
    """The options that decide what a run of `config` comes to, but for its seed: those that its method and loss use."""
    unused = unused_options(config.method, config.loss or losses.PARTIAL)
    return {name: value for name, value in asdict(config).items() if name not in {*WITHOUT_EFFECT, "seed", *unused}}


def _digest(decides: object) -> str:
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


def sweep_problems(options: SweepOptions) -> list[str]:
    """Everything that is wrong in `options`: one sentence each."""
    found = [mask_problem(keep, 0) for keep in options.keeps] + [mask_problem(1, seed) for seed in options.seeds]
    found += [backbone_problem(options.config)] if options.config.backbone is not None else []
    for written in options.methods:
        try:
            variant = parse_variant(written)
        except ConfigError as error:
            found.append(str(error))
            continue
        found += config_problems(replace(_of_variant(options.config, variant), backbone=None))
    found += _clashes(options) if not any(found) else []
    tuned = ("lr", "epochs", "loss") if options.tune else ()
    told = {name: f"chosen by the grid; name its values with {FLAGS[name]}, or add --no-tune" for name in tuned}
    told |= {
        "context_lr": "in a sweep contexts learn at lr; leave it out",
        "selection": "a sweep chooses on validation labels; leave it out",
        "method": "name it with --methods",
        "method_options": "give them with --variant",
        "seed": "name it with --seeds",
        "data": "name it with --data",
        "run": "runs of a sweep go to --out; leave it out",
    }
    defaults = TrainConfig()
    set_here = [name for name in told if getattr(options.config, name) != getattr(defaults, name)]
    found += [f"{name}: {told[name]}" for name in set_here]  # it would not be used
    found += grid_problems(options.grid, options.tune, options.config)
    if options.least < 1:
        found.append(f"least_positives: expected a whole number of at least 1, got {options.least}")
    if options.folds == OF_PREPARED and options.source:
        found.append("--folds prepared takes the folds that mlrpl prepare --folds drew; name that folder with --data")
    if options.engine and (options.engine.threads or 1) < 1:
        found.append(f"ray_threads: expected a whole number of at least 1, got {options.engine.threads}")
    if options.jobs is not None and options.jobs < 1:
        found.append(f"jobs: expected a whole number of at least 1, got {options.jobs}")
    if not (options.methods and options.keeps and options.seeds):
        found.append("a sweep needs at least one method, one proportion and one seed")
    return [problem for problem in dict.fromkeys(found) if problem]


def _of_variant(config: TrainConfig, variant: Variant) -> TrainConfig:
    return replace(config, method=variant.method, method_options=dict(variant.options))


def _clashes(options: SweepOptions) -> list[str]:
    """Rows of one name, which no table could tell apart, and variants that are the same."""
    variants = options.variants
    names, same = Counter(each.name for each in variants), Counter((each.method, each.options) for each in variants)
    found = [f"two variants are called '{name}'; name their rows apart" for name, count in names.items() if count > 1]
    twice = [each.name for each in variants if same[each.method, each.options] > 1 and names[each.name] == 1]
    return found + ([f"these variants are the same: {', '.join(twice)}; leave all but one out"] if twice else [])


def tuning_cells(options: SweepOptions, folds: Sequence[Fold] = (None,)) -> list[Cell]:
    """The runs that choose each variant's setting, for each fold its own; none without tuning.

    Of a method that does not learn in steps, the first learning rate and number of epochs with each loss.
    """
    grid = options.grid
    still = replace(grid, lr=grid.lr[:1], epochs=grid.epochs[:1])
    cells = product(options.variants, folds, grid.keeps) if options.tune else ()
    return [
        Cell(TUNING, variant, keep, TUNING_SEED, *setting, fold)
        for variant, fold, keep in cells
        for setting in (grid if load_method(variant.method).steps else still).settings
    ]


def wanted_runs(
    options: SweepOptions, settings: Mapping[tuple[str, Fold], Setting], folds: Sequence[Fold] = (None,)
) -> list[Run]:
    """The runs whose figures are wanted, each variant at its settings, by name and fold; none of one that lacks any."""
    tuned = [each for each in options.variants if all((each.name, fold) in settings for fold in folds)]
    return [
        tuple(
            Cell(RUN if fold is None else FOLD, variant, keep, seed, *settings[variant.name, fold], fold)
            for fold in folds
        )
        for keep, seed, variant in product(options.keeps, options.seeds, tuned)
    ]


def what_to_sweep(
    data: Path | None, dataset: str | None, reading: Mapping[str, Any], out: Path | None
) -> tuple[Path, Path, PrepareOptions | None]:
    """`SweepOptions.data`, by default the newest, `out`, by default sweeps/ITS-NAME, and `source`, out/data's.

    A `dataset` is read with the options `reading` of its format. Raises ConfigError for what does not go together.
    """
    if dataset is None:
        if reading:
            told = ", ".join(map(flag, reading))
            raise ConfigError(f"{told} says how to read the data set of --dataset, which was not given; name it too")
        data = data or newest_prepared()
        return data, out or SWEEPS / data.resolve().name, None
    if data is not None:
        raise ConfigError("--data and --dataset were both given; give the one that names what to sweep over")
    out = out or SWEEPS / dataset
    # With every label known: each run draws the mask of its own proportion and seed.
    return out / DATA, out, PrepareOptions(dataset, keep=1.0, out=out / DATA, reading=reading)
