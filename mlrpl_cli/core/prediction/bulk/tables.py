"""The tables that a part is written as: Parquet in memory. Axes: C classes, H·W grid positions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from socket import gethostname
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mlrpl_cli.core.prediction.images import Prediction, Unreadable

METADATA = b"mlrpl"
"""The key of the schema's metadata; its value is JSON."""


class Predicted(NamedTuple):
    """A part that is done."""

    images: int
    predictions: bytes
    """Parquet: image, probabilities (C,), decisions (C,) and, where asked for, maps (C·H·W,) in this order."""
    errors: bytes | None
    """Parquet: image, reason; None where all images could be read."""
    failed: int
    machine: str
    """The name of the one that it was done on."""


class Writer:
    """Makes the tables of one job's parts."""

    def __init__(self, about: Mapping[str, Any], threshold: float | None, maps: bool) -> None:
        """`about` goes into each file; `threshold` decides in place of a run's own thresholds."""
        self.threshold, self.maps, self._told = threshold, maps, {METADATA: json.dumps(about).encode()}
        numbers = pa.large_list(pa.float32())  # a part may hold more of them than 32 bits count
        listed = {"probabilities": numbers, "decisions": pa.large_list(pa.string())}
        if maps:
            listed["maps"] = numbers
        self.schema = pa.schema({"image": pa.string(), **listed}, self._told)
        self.errors = pa.schema({"image": pa.string(), "reason": pa.string()}, self._told)

    def written(self, names: Iterable[str], results: Iterable[Prediction | Unreadable]) -> Predicted:
        """The tables of a part's results, which are taken one by one: of the maps no more than asked for is kept."""
        columns: dict[str, list[Any]] = {name: [] for name in self.schema.names}
        failed: dict[str, list[str]] = {name: [] for name in self.errors.names}
        for name, result in zip(names, results, strict=True):
            if isinstance(result, Unreadable):
                failed["image"].append(_text(name))
                failed["reason"].append(_text(result.reason))
                continue
            columns["image"].append(_text(name))
            columns["probabilities"].append(result.probabilities)
            columns["decisions"].append(self._decisions(result))
            if self.maps:
                columns["maps"].append(result.attention.reshape(-1))
        good, bad = len(columns["image"]), len(failed["image"])
        errors = _parquet(self.errors, failed) if bad else None
        return Predicted(good + bad, _parquet(self.schema, columns), errors, bad, gethostname())

    def _decisions(self, result: Prediction) -> Sequence[str] | None:
        """Of a threshold yes and no; of a run yes, no and unsure; None where nothing decides."""
        if self.threshold is None:
            return result.decisions
        return np.where(result.probabilities.astype(np.float64) > self.threshold, "yes", "no").tolist()


def _parquet(schema: pa.Schema, columns: Mapping[str, list[Any]]) -> bytes:
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(arrays, schema=schema), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def _text(name: str) -> str:
    """A name as Parquet can hold it: what is no text is escaped."""
    return name.encode("utf-8", "backslashreplace").decode()
