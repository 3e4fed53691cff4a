"""Registries: dicts from a name to "module:attribute", so that listing the names imports nothing."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load(reference: str) -> Any:
    """The function or class that "module:attribute" names; imports its module."""
    module, _, attribute = reference.partition(":")
    return getattr(import_module(module), attribute)
