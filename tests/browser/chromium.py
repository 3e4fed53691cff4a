"""Which browser the tests drive, and what a test hears of a page in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VARIABLE = "MLRPL_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = (
    f"there is no Chromium; install it (Debian: apt-get install chromium) or name its program in {VARIABLE}, "
    "and run `make browser-test`, which installs what drives it"
)


def missing() -> str | None:
    """What is to be done before a browser can be driven; None where all is there."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "Playwright is missing; `make browser-test` installs it and runs these tests"
    return None if program() else MISSING


def program() -> Path | None:
    """The browser's program: the one of the variable, else one on the path."""
    given = os.environ.get(VARIABLE)
    found = shutil.which(given) if given is not None else next(filter(None, map(shutil.which, NAMES)), None)
    return Path(found) if found else None


@contextmanager
def driven() -> Iterator[Any]:
    """A headless browser of Playwright."""
    from playwright.sync_api import sync_playwright

    # A sandbox that root cannot have; and shared memory, of which containers have little.
    arguments = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(program()), args=arguments)
        yield browser
        browser.close()


@dataclass
class Heard:
    """What a page asked for, and what it complained of."""

    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def listen(self, page: Any) -> None:
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda said: self.errors.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", self._asked)

    def _asked(self, dialog: Any) -> None:
        if dialog.type == "beforeunload":
            dialog.accept()
        else:
            self.errors.append(f"dialog: {dialog.message}")
            dialog.dismiss()

    @property
    def elsewhere(self) -> list[str]:
        """Requests for what the page does not hold itself, beside the page."""
        return [url for url in self.requests[1:] if not url.startswith("data:")]
