"""What `suggest` may be asked for. Help reads it: no numpy, no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from mlrpl_cli.core.config import OptionsError
from mlrpl_cli.core.io.schema import Name, Text, flag
from mlrpl_cli.core.runs.selection import RunOnDataOptions

_ASKING = "mlrpl_cli.core.curation.asking"
STRATEGIES = {
    "random": f"{_ASKING}.strategies:Random",
    "uncertainty": f"{_ASKING}.strategies:Uncertainty",
    "balanced": f"{_ASKING}.strategies:Balanced",
    "value": f"{_ASKING}.information:Information",
}
"""Name → a `choosing.Worth`, which is made of a `pool.Pool` and a generator."""
RANDOM, DEFAULT = "random", "value"
CELL, IMAGE = "cell", "image"
FORMATS = {"table": ".csv", "labelstudio": ".json", "cvat": ".xml", "fiftyone": ".json"}
"""What suggestions are written as, and how the file ends."""
OF_SIMULATION, OF_SUGGESTIONS = ("start", "rounds", "seeds"), ("format", "prefix", "seed")
"""Options that mean something with or without --simulate alone."""
KEEP, ROUNDS, SEEDS = "what the folder knows", 4, 3


@dataclass(frozen=True)
class SuggestOptions(RunOnDataOptions):
    """What to ask, and how it is ranked and written."""

    budget: Annotated[int, Field(ge=1)] = 100
    """How many cells or images to ask; with --simulate, in each round"""
    by: Literal["cell", "image"] = "cell"
    """"cell", or "image": all open cells of an image are asked together"""
    strategy: Name | None = Field(default=None, description=f"One of {', '.join(STRATEGIES)}. Default: {DEFAULT}")
    image_cost: Annotated[float | None, Field(ge=0)] = None
    """By image: what opening one costs. Default: 1"""
    cell_cost: Annotated[float | None, Field(ge=0)] = None
    """By image: what each answer costs, in the same unit. Default: 0.2"""
    format: Name | None = Field(default=None, description=f"One of {', '.join(FORMATS)}. Default: table")
    out: Path | None = None
    """File to write. Default: suggestions/NAME-STRATEGY-FORMAT below the current folder"""
    prefix: Text | None = None
    """Text in front of each image name, such as "/data/local-files/?d=photos/" for Label Studio"""
    seed: Annotated[int | None, Field(ge=0)] = None
    """Of what strategy random draws. Default: 0"""
    start: Annotated[float | None, Field(gt=0, lt=1)] = Field(
        default=None, description=f"With --simulate: share of cells that are known at first. Default: {KEEP}"
    )
    rounds: Annotated[int | None, Field(ge=1)] = Field(
        default=None, description=f"With --simulate: how often --budget is asked. Default: {ROUNDS}"
    )
    seeds: Annotated[int | None, Field(ge=1)] = Field(
        default=None, description=f"With --simulate: how many times it is replayed. Default: {SEEDS}"
    )

    @property
    def costs(self) -> tuple[float, float]:
        """Of opening an image and of an answer."""
        image, cell = self.image_cost, self.cell_cost
        return 1.0 if image is None else image, 0.2 if cell is None else cell


def check(options: SuggestOptions, simulate: bool) -> None:
    """Raises OptionsError for what would not be used, and for a place that is not named as the format needs."""
    from mlrpl_cli.core.io.errors import did_you_mean

    found = dict[str, str]()
    idle = OF_SUGGESTIONS if simulate else OF_SIMULATION
    why = "is of no use with --simulate" if simulate else "is for --simulate"
    found |= {name: f"{flag(name)} {why}; leave it out" for name in idle if getattr(options, name) is not None}
    if options.by == CELL:
        costs = (name for name in ("image_cost", "cell_cost") if getattr(options, name) is not None)
        found |= {name: f"{flag(name)} is for --by image: every cell costs the same; leave it out" for name in costs}
    elif sum(options.costs) <= 0:
        found["image_cost"] = "--image-cost and --cell-cost are both 0; an image has to cost something"
    for name, known in (("strategy", STRATEGIES), ("format", FORMATS)):
        asked = getattr(options, name)
        if asked is not None and asked not in known:
            found[name] = f"no {name} is called '{asked}'; {did_you_mean(asked, known)}"
    suffix = ".json" if simulate else FORMATS.get(options.format or "table")
    if options.out is not None and suffix and options.out.suffix.lower() != suffix:
        found["out"] = f"--out {options.out}: expected a file that ends in {suffix}; name one"
    if found:
        raise OptionsError(found)
