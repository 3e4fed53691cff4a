"""How numbers are said in lines, tables and beside bars."""

from __future__ import annotations

from collections.abc import Mapping

MISSING = "–"
"""What stands in a table for a number that there is not."""
WARNING = "mlrpl: warning: "
"""What a warning begins with."""


def amount_text(done: int, total: int, unit: str) -> str:
    """`120/2000 images`; `120 images` when the total is unknown; bytes with their own prefixes."""
    if unit == "bytes":
        from rich.filesize import decimal  # here, since help and usage errors do not wait for Rich

        return f"{decimal(done)} of {decimal(total)}" if total else decimal(done)
    return f"{done}/{total} {unit}" if total else f"{done} {unit}"


def figures_text(figures: Mapping[str, float]) -> str:
    """`loss 0.3475  lr 0.001`: figures beside a task."""
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
