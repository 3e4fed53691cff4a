"""Variants: what a sweep compares, each a method with options and the name of its row."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from mlrpl_cli.core.config import split_method
from mlrpl_cli.core.heads.methods import method_options
from mlrpl_cli.core.io.errors import ConfigError
from mlrpl_cli.core.io.reading import short

NAMES = r"^[\w.+:=,-]{1,100}$"
"""What rows may be called: what tables, figures and CSV show as it is."""


@dataclass(frozen=True)
class Variant:
    """A method with options."""

    name: str
    """Of its rows, in tables and figures."""
    method: str
    options: tuple[tuple[str, Any], ...] = ()
    """Every option of the method with its value, by name."""


def parse_variant(text: str) -> Variant:
    """The variant that is written "METHOD", "METHOD:option=value,…" or "ROW=METHOD:option=value,…".

    Without ROW its rows are called as it is written. Raises ConfigError for an unknown method or option.
    """
    head, colon, options = text.strip().partition(":")
    given, equals, method = head.rpartition("=")
    name, asked = (given, f"{method}{colon}{options}") if equals else (text.strip(), text.strip())
    if not re.match(NAMES, name):
        advice = "begin it with a name of letters and digits, as in cold=sa:attention_temperature=0.01"
        raise ConfigError(f"variant '{short(text)}': '{short(name)}' cannot be the name of a row; {advice}")
    method, values = split_method(asked)
    return Variant(name, method, tuple(sorted(asdict(method_options(method, values)).items())))
