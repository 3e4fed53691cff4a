"""The grid that chooses each variant's learning rate, epochs and loss on validation labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from typing import Any

from mlrpl_cli.core.config import OptionsError, TrainConfig
from mlrpl_cli.core.labels.masks import mask_problem
from mlrpl_cli.core.runs.options import config_problems

Setting = tuple[float, int, str]
"""Learning rate, epochs and loss."""
FLAGS = {"lr": "--tune-lr", "epochs": "--tune-epochs", "loss": "--tune-loss", "keeps": "--tune-keep"}


@dataclass(frozen=True)
class Grid:
    """What is tried for every variant: each learning rate with each number of epochs and each loss.

    The order in which values are given, and how often, do not matter: they are kept in ascending order, each once.
    """

    lr: tuple[float, ...] = (1.25e-4, 5e-4, 2e-3, 8e-3, 3.2e-2)
    """Peak learning rates, as `TrainConfig.lr`."""
    epochs: tuple[int, ...] = (5, 10)
    loss: tuple[str, ...] = ("asl", "bce")
    keeps: tuple[float, ...] = (0.2, 0.8)
    """Proportions of known labels, in (0, 1], whose validation mAP is averaged to choose by."""

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, tuple(sorted(set(getattr(self, each.name)))))

    @property
    def settings(self) -> list[Setting]:
        """Every combination."""
        return list(product(self.lr, self.epochs, self.loss))

    def row(self) -> dict[str, list[Any]]:
        """What the row of a run says whose setting it chose: "lr", "epochs", "loss" and "keep"."""
        return {"lr": [*self.lr], "epochs": [*self.epochs], "loss": [*self.loss], "keep": [*self.keeps]}


def grid_of(row: Mapping[str, Any]) -> Grid | None:
    """The grid that chose the setting of a row's run: the default one where a tuned row names none; None untuned."""
    if not row.get("tuned"):
        return None
    named = row.get("grid")
    return Grid(named["lr"], named["epochs"], named["loss"], named["keep"]) if named else Grid()


def grid_problems(grid: Grid, tune: bool, config: TrainConfig) -> list[str]:
    """Everything that is wrong in the grid of a sweep whose other options of training are `config`: a sentence each.

    A grid that is not the default one has no use without tuning.
    """
    given = [flag for name, flag in FLAGS.items() if getattr(grid, name) != getattr(Grid(), name)]
    if given and not tune:
        return [f"{', '.join(given)}: --no-tune tries no grid; leave one or the other out"]
    return list(_problems(grid, replace(config, backbone=None)))


def _problems(grid: Grid, config: TrainConfig) -> Iterator[str]:
    for name, values in asdict(grid).items():
        if not values:
            yield f"{FLAGS[name]}: expected at least one value, got none"
    for name in ("lr", "epochs"):
        for value in getattr(grid, name):
            try:
                TrainConfig(**{name: value})
            except OptionsError as error:
                yield f"--tune-{error}"
    others = config_problems(replace(config, loss=None))
    for loss in grid.loss:
        yield from (f"--tune-{each}" for each in config_problems(replace(config, loss=loss)) if each not in others)
    for keep in grid.keeps:
        if problem := mask_problem(keep, 0, FLAGS["keeps"]):
            yield f"{FLAGS['keeps']}: {problem}"
