from __future__ import annotations

from pathlib import Path

import pytest

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.prepared.folder import Prepared, read_prepared
from mlrpl_cli.core.training.train import train
from tests import small


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> tuple[Prepared, Path]:
    """A prepared folder with hidden labels, and a run on it."""
    folder = tmp_path_factory.mktemp("place")
    data = small.write_prepared(folder / "data")
    made = small.write_training(folder, epochs=1) | {"data": str(data), "method": "linear", "loss": "asl"}
    return read_prepared(data), train(TrainConfig(**made)).run
