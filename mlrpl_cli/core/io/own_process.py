"""Settings of a process that runs nothing but mlrpl: the command line's own, and the workers that it starts.

A program that imports the package keeps its own settings, whatever it imports and calls.
"""

from __future__ import annotations

import logging
import os
import warnings
from functools import partial

_settings: dict[str, bool] = {}


def is_own_process() -> bool:
    """Whether `own_process` was called, so that what libraries keep for the whole process may be set."""
    return "own" in _settings


def own_process() -> None:
    """Silence what libraries say that no user can act on, and give back the memory of pixels as soon as it is free.

    To be called before Pillow is imported.
    """
    _settings["own"] = True
    # Above 32 MiB the C library gives a block back to the system when it is freed. Of Pillow's usual 16 MiB every
    # thread would keep as many as its largest image had.
    os.environ.setdefault("PILLOW_BLOCK_SIZE", "64m")
    silence = partial(warnings.filterwarnings, "ignore")
    silence("", UserWarning, r"PIL\.")  # damaged metadata of files whose pixels are whole
    silence(r"Image size .* exceeds limit", RuntimeWarning)  # and is within images.decode's own limit
    silence(r"Glyph \d+ .* missing from", UserWarning)  # drawn as a box, which says as much
    silence(r"`broadcast_buffers` is deprecated", FutureWarning)  # by which accelerate, in each process, means no harm
    silence(r"Detected pickle protocol", UserWarning)  # of a checkpoint that is then read, or refused for a reason
    # Without a handler Python prints what Pillow logs of a damaged file, beside the reason that it raises.
    if not (pillow := logging.getLogger("PIL")).handlers:
        pillow.addHandler(logging.NullHandler())
