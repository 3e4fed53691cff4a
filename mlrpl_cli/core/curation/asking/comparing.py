"""Curves of a simulation from its runs. Axes: S seeds, T rounds, R resamples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mlrpl_cli.core.curation.asking.curves import Curve, Point
from mlrpl_cli.core.evaluation.comparison import paired_difference


class Measured(NamedTuple):
    """A classifier after some answers, of one seed."""

    answers: int
    cost: float
    known: int
    """Known cells, those known at first included."""
    map: float
    complete: float
    maps: np.ndarray
    """(R,) mAP of resamples of the test images, the same ones for all strategies and rounds."""


def curve_of(strategy: str, runs: list[list[Measured]], random: list[list[Measured]]) -> Curve:
    """The mean over seeds; both are S lists of T rounds, of the same seeds."""
    reached = [(_mean(at, "answers"), _mean(at, "map")) for at in zip(*random, strict=True)]
    points = []
    for ours, theirs in zip(zip(*runs, strict=True), zip(*random, strict=True), strict=True):
        value = _mean(ours, "map")
        maps, random_maps = (np.mean([each.maps for each in side], axis=0) for side in (ours, theirs))
        gap = paired_difference(maps, random_maps, value - _mean(theirs, "map"))
        answers, cost, known, complete = (_mean(ours, name) for name in ("answers", "cost", "known", "complete"))
        ends = (gap.value, gap.low, gap.high, needed(reached, value))
        points.append(Point(answers, cost, known, value, complete, *ends))
    return Curve(strategy, points)


def needed(reached: list[tuple[float, float]], value: float) -> float | None:
    """The x at which a curve of (x, y), straight between its points, first has `value`; None where it never does."""
    x, y = reached[0]
    if y >= value:
        return x
    for after, higher in reached[1:]:
        if higher >= value:
            return x + (after - x) * (value - y) / (higher - y)
        x, y = after, higher
    return None


def _mean(rounds: tuple[Measured, ...], name: str) -> float:
    return float(np.mean([getattr(each, name) for each in rounds]))


def by_strategy(found: Mapping[str, list[list[Measured]]], random: str) -> list[Curve]:
    """The curves, that of `random` first."""
    return [curve_of(name, found[name], found[random]) for name in sorted(found, key=lambda name: name != random)]
