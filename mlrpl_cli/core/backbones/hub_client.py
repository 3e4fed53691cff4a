"""The client of the Hugging Face hub, without what it says of its own retries, and its failures in one line."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mlrpl_cli.core.io.errors import one_line

LOGGER = "huggingface_hub"


@contextmanager
def quiet_hub() -> Iterator[None]:
    """The client tries five times and tells each try: here only its errors count, which are raised."""
    import huggingface_hub.utils.logging  # noqa: F401 - which sets the level when it is imported

    logger = logging.getLogger(LOGGER)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def reason_of(error: BaseException) -> str:
    """Why the hub gave nothing: the first error that is not merely of a file that is not there now, in one line."""
    errors = [error]
    while cause := errors[-1].__cause__ or errors[-1].__context__:
        errors.append(cause)
    first = next((cause for cause in errors if not isinstance(cause, FileNotFoundError)), errors[-1])
    return one_line(first).partition(" For more information check")[0][:200] or type(first).__name__
