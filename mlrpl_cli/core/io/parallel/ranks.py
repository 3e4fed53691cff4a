"""The processes that train together: when one of them ends, all do, and one of them says why.

PyTorch is not imported here: a command that needs none does not wait for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from mlrpl_cli.core.io.errors import MlrplError, RunError, one_line

_TOLD = "mlrpl: told why it ended"
_GONE = ("gloo", "NCCL", "TCPStore", "Connection closed by peer", "Connection reset by peer", "Broken pipe")
"""What PyTorch's plain errors of lost connections name."""


def is_main() -> bool:
    """Whether this process speaks for all: true outside `torchrun` and on its rank 0."""
    return os.environ.get("RANK", "0") == "0"


def is_several() -> bool:
    """Whether this process has begun to work together with others."""
    return _store() is not None


@contextmanager
def ending_together() -> Iterator[None]:
    """Raise RunError where another process that this one waits for has ended."""
    try:
        yield
    except RuntimeError as error:
        if _store() is None or isinstance(error, MlrplError) or not _is_of_connections(error):
            raise
        raise RunError(
            "another process of this training ended, and so does this one: its own message, or the system's, says why; "
            f"the same command goes on from the last epoch; PyTorch says: {one_line(error)}"
        ) from error


def is_first_to_tell() -> bool:
    """Whether no other process has said yet why it ends; from then on this one has.

    True where it cannot be known: outside of several processes, and where the one that all ask is gone.
    """
    with suppress(RuntimeError):
        if (store := _store()) is not None:
            rank = os.environ.get("RANK", "0")
            return store.compare_set(_TOLD, "", rank).decode() == rank
    return True


def somebody_told() -> bool:
    """Whether a process has said why it ends."""
    with suppress(RuntimeError):
        return (store := _store()) is not None and store.check([_TOLD])
    return True


def _store() -> Any:
    """Where the processes leave notes to each other; None outside of several."""
    torch = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed.distributed_c10d._get_default_store() if distributed.get_world_size() > 1 else None


def _is_of_connections(error: RuntimeError) -> bool:
    distributed = sys.modules["torch"].distributed
    return isinstance(error, distributed.DistError) or any(word in str(error) for word in _GONE)
