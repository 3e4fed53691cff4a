"""Processes that work together and read the same: each has folders of its own, and one of them may be given others."""

from __future__ import annotations

from accelerate.utils import gather_object

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.prepared.folder import Prepared


def check_same_data(prepared: Prepared) -> None:
    """Raise DataError, in every process, unless all read the same images, splits, labels and classes."""
    told = {
        "data SHA-256": prepared.sha256[:16],
        "mask SHA-256": prepared.mask_sha256[:16],
        "classes": ", ".join(prepared.classes),
    }
    [first, *others] = gather_object([told])
    for rank, other in enumerate(others, 1):
        for name, expected in first.items():
            if other[name] != expected:
                differs = f"rank {rank} reads other data than rank 0: {name} expected {expected}, got {other[name]}"
                raise DataError(f"{differs}; give every rank the same data with --data")
