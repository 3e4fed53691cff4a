"""Registries are dicts of "module:name" strings: to list what there is imports none of it."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load(reference: str) -> Any:
    """The function or class that "module:name" names. Raises ImportError or AttributeError where there is none."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
