"""What commands with an engine share of their options. Help reads it: no Ray."""

from __future__ import annotations

from collections.abc import Mapping

from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.io.schema import flag


def refuse_without_engine(options: Mapping[str, object]) -> None:
    """Raise ConfigError where one of the options of --engine ray is given, and the engine is not."""
    if given := [flag(name) for name, value in options.items() if value not in (None, False)]:
        raise ConfigError(f"{given[0]} is for --engine ray, which is not given; add that, or leave this out")
