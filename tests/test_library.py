"""The public API: what docs/library.md shows runs as it stands, and importing it costs and changes nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mlrpl_cli

PAGE = Path(__file__).parents[1] / "docs" / "library.md"


def examples() -> str:
    """The page's Python blocks, in order."""
    return "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))


def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(examples(), str(PAGE), "exec"), {})
    printed = capsys.readouterr()
    assert "2 epochs, best validation mAP in epoch" in printed.out
    assert "epochs: expected a whole number from 1" in printed.out
    assert printed.err == ""


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"classes": "cat"}, "classes: expected a list of names, got 'cat'"),
        ({"merge_classes": ["Car"]}, "merge_classes: expected a mapping, such as {'Car': 'car'}, got ['Car']"),
    ],
)
def test_options_of_another_type_are_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(mlrpl_cli.MlrplError) as error:
        mlrpl_cli.prepare(root="labels.csv", **given)
    assert str(error.value) == sentence


def test_importing_the_package_imports_nothing_heavy() -> None:
    """Every name of `__all__` is there, and none is loaded before it is asked for."""
    code = "import sys, mlrpl_cli; print(any(name in sys.modules for name in ('torch', 'numpy', 'pydantic', 'typer')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert all(getattr(mlrpl_cli, name) is not None for name in mlrpl_cli.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mlrpl_cli.nothing  # noqa: B018
