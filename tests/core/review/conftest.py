"""A desk with answers in a file, and a server around it that trains nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mlrpl_cli.core.labels.answers.records import DataSet
from mlrpl_cli.core.labels.answers.store import AnswerStore
from mlrpl_cli.core.prepared.folder import read_prepared
from mlrpl_cli.core.review.beginning import data_set_of
from mlrpl_cli.core.review.desk import Desk
from mlrpl_cli.core.review.serving.pictures import Pictures
from mlrpl_cli.core.review.serving.server import make_app
from tests import small
from tests.core.review.asking import SECRET, Client, Idle, no_predictor


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    return data_set_of(read_prepared(small.write_prepared(tmp_path / "data")))


@pytest.fixture
def desk(data: DataSet, tmp_path: Path) -> Iterator[Desk]:
    with AnswerStore.open(tmp_path / "answers.sqlite", data) as store:
        yield Desk(data, store, "ann", "unknown")


@pytest.fixture
def client(desk: Desk) -> Client:
    data = desk.data
    pictures = Pictures([data.image_root / name for name in data.images], False, no_predictor)
    return Client(make_app(desk, pictures, Idle(), SECRET))


@pytest.fixture
def open_cell(desk: Desk) -> Callable[[], tuple[int, int]]:
    """An unknown cell of a reviewed image."""
    cells = iter(np.argwhere(desk.known()[0] == 0).tolist())

    def one() -> tuple[int, int]:
        place, column = next(cells)
        return int(desk.rows[place]), column

    return one
