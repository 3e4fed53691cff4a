from __future__ import annotations

from pathlib import Path

import pytest

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.heads.fitted import map_estimate
from mlrpl_cli.core.training.train import train
from tests import small


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One λ to choose from."""
    monkeypatch.setattr(map_estimate, "PRECISIONS", (1.0,))


@pytest.fixture(scope="session")
def asked_of(tmp_path_factory) -> tuple[Path, Path]:
    """A prepared folder with hidden labels, and a run on it."""
    made = small.write_training(tmp_path_factory.mktemp("asked"), epochs=1)
    return Path(made["data"]), train(TrainConfig(**made, method="linear", loss="bce")).run
