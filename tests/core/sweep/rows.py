"""Stored rows of sweeps, as little of them as tests need."""

from __future__ import annotations

from typing import Any

from mlrpl_cli.core.sweep import code

PRESENT = code.code_sha256("sarl", "asl")


def row(variant: str, seed: int = 0, **more: Any) -> dict[str, Any]:
    """A tested row of `sarl` and the present code."""
    told = {
        "key": f"{variant}{seed}{sorted(more.items())}",
        "kind": "run",
        "method": "sarl",
        "variant": variant,
        "keep": 0.5,
    }
    settings = {"keep": 0.5, "seed": seed, "lr": 0.1, "epochs": 5, "loss": "asl", "setting": "s", "data_sha256": "d"}
    return {**told, **settings, "code": PRESENT, "fingerprint": "f", **more}
