"""A package of someone else's, as pip leaves it: modules and a dist-info folder with entry points, without pip."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest


def install(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    entry_points: Mapping[str, Mapping[str, str]],
    distribution: str = "made-up",
    **modules: str,
) -> None:
    """Put `modules` and `entry_points` (group → name → "module:object") on the import path.

    A module is its source by its name, "package/module" for one in a package.
    """
    info = place / f"{distribution.replace('-', '_')}-1.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
    lines = [[f"[{group}]", *(f"{n} = {v}" for n, v in names.items())] for group, names in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join(line for section in lines for line in section) + "\n")
    for name, source in modules.items():
        file = place / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(source, encoding="utf-8")
    for name in {name.split("/")[0] for name in modules}:
        for loaded in [other for other in sys.modules if f"{other}.".startswith(f"{name}.")]:
            monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.syspath_prepend(place)
