"""A browser, tabs in it, and what they are shown: every test of this folder is marked `browser`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.decisions.after_training import train_and_decide
from tests import small
from tests.browser import chromium
from tests.browser.served import Review, kept_up, write_hostile

PATIENCE = 120_000
"""Milliseconds that a page may take on a machine that has much else to do."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", type=Path, help="folder that pictures of the pages are left in")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker("browser")


def pytest_collection_finish(session: pytest.Session) -> None:
    wanted = any(item.get_closest_marker("browser") for item in session.items)
    if wanted and (told := chromium.missing()):
        raise pytest.UsageError(told)


@pytest.fixture(scope="session")
def screenshots(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = request.config.getoption("--screenshots", None) or tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with chromium.driven() as driven:
        yield driven


@pytest.fixture
def tab(browser: Any) -> Iterator[Callable[..., tuple[Any, chromium.Heard]]]:
    """`tab(address, color_scheme="dark", …)` opens a page in a context of its own and hears what it does."""
    contexts = []

    def opened(address: str, **options: Any) -> tuple[Any, chromium.Heard]:
        contexts.append(browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **options}))
        contexts[-1].set_default_timeout(PATIENCE)
        page, heard = contexts[-1].new_page(), chromium.Heard()
        heard.listen(page)
        page.goto(address)
        return page, heard

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A prepared folder of hostile names, and a run on it."""
    folder = tmp_path_factory.mktemp("hostile")
    prepared = write_hostile(folder / "data")
    made = small.write_training(folder, epochs=1) | {"data": str(prepared), "method": "linear", "loss": "asl"}
    return prepared, train_and_decide(TrainConfig(**made)).run


@pytest.fixture
def review(hostile: tuple[Path, Path], tmp_path: Path) -> Iterator[Review]:
    """A server of these that listens, and has no answer yet."""
    yield from kept_up(Review(*hostile, tmp_path))
