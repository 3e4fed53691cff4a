"""How much of a run's features the cache keeps: what is asked for, or as much of it as there is room for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlrpl_cli.core.config import FLOAT16, UINT8, TrainConfig
from mlrpl_cli.core.features.filler import CacheFiller
from mlrpl_cli.core.io.errors import counted


@dataclass(frozen=True)
class Fitted:
    """A configuration whose views fit in the cache."""

    config: TrainConfig
    """Number format and number of views are settled; 0 views where not even one of each image fits."""
    problem: str | None
    """Why this is less than was asked for; None where it is not."""

    def sentence(self, without: str) -> str:
        """What was taken, why, and which options choose otherwise; `without` is what happens where nothing fits."""
        config, more = self.config, "--cache-gib, --cache or free disk space allow more"
        taken = f"keeping {counted(config.views, 'view')} of each training image in {config.cache_dtype}"
        chosen = f"{more}, --views and --cache-dtype choose otherwise"
        return f"{self.problem}: {taken if config.views else without}; {chosen}"


def fitted(filler: CacheFiller, training: Sequence[Path], plain: Sequence[Path]) -> Fitted:
    """What of the filler's configuration fits, for the views of `training` images and one view each of `plain` ones.

    It fits when cache_gib allows it and the disk has room for what is not there yet. The number format gives way first,
    to 8 bits, unless one was asked for; then views, one by one, each number of them in the finer format first, which
    may lie in the cache already. Of several processes, the one with least room decides.
    """
    problem: str | None = None
    for step in _ladder(filler):
        lack = replace(filler, config=step).lacks(training, plain)
        if lack is None:
            return Fitted(step, problem)
        problem = problem or lack
    return Fitted(replace(filler.config, views=0, cache_dtype=filler.config.cache_dtype or FLOAT16), problem)


def _ladder(filler: CacheFiller) -> Iterator[TrainConfig]:
    """Ever less to keep, from what its configuration asks for down to one view in the smaller format."""
    asked, formats = filler.config, [FLOAT16, UINT8]
    if asked.cache_dtype:
        formats = [asked.cache_dtype]
    elif filler.bytes_per_view(UINT8) >= filler.bytes_per_view(FLOAT16):
        formats = [FLOAT16]  # the scales of a grid of few positions take more than 8 bits spare
    for views in range(asked.views, 0, -1):
        yield from (replace(asked, views=views, cache_dtype=dtype) for dtype in formats)
