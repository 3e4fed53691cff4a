"""What several tests need: the command line as a user types it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from mlrpl_cli.app import main


@dataclass(frozen=True)
class Outcome:
    """What a user sees of one command."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _outside_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)


@pytest.fixture
def mlrpl(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """`mlrpl("prepare", "--keep", 0.5)` runs the command in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(int(stopped.value.code or 0), captured.out, captured.err)

    return run
