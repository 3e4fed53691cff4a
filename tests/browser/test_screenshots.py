"""Pictures of both pages, of scenes: `make browser-test SCREENSHOTS=FOLDER`, to look at and for the README."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mlrpl_cli.core.config import TrainConfig
from mlrpl_cli.core.decisions.after_training import train_and_decide
from mlrpl_cli.core.prepared.folder import read_prepared
from tests import warm
from tests.browser.answering import asked, batch
from tests.browser.served import Review, kept_up
from tests.core.reports.test_report_page import report

MOST_BYTES = 300_000
WINDOW = {"width": 1180, "height": 740}
MARKED = "guitar"
"""The class of the grid: its images that do not show it are marked."""
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A prepared folder of scenes and a short run on it."""
    folder = tmp_path_factory.mktemp("scenes")
    given = ("--dataset", "scenes", "--train-images", 400, "--test-images", 200, "--keep", 0.3)
    made = warm.run(["prepare", *given, "--out", folder / "scenes"])
    assert made.code == 0, made.err
    options = {"data": str(folder / "scenes"), "run": str(folder / "mine"), "epochs": 6, "device": "cpu"}
    return folder / "scenes", train_and_decide(TrainConfig(**options)).run


@pytest.fixture(scope="module")
def review(scenes, tmp_path_factory) -> Any:
    yield from kept_up(Review(*scenes, tmp_path_factory.mktemp("review")))


def leave(page: Any, path: Path) -> None:
    """A picture of what the window shows, of few enough colours for a README."""
    page.evaluate("Promise.all([...document.images].filter((one) => one.checkVisibility()).map((one) => one.decode()))")
    with Image.open(io.BytesIO(page.screenshot())) as image:
        assert len(image.convert("RGB").getcolors(image.width * image.height) or []) > 100, "nothing is shown"
        image.convert("RGB").quantize(128).save(path, optimize=True)
    assert path.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("scheme", SCHEMES)
def test_pictures_of_a_report(tab, scenes, screenshots, scheme):
    page, _ = tab(report(scenes[1])[0].path.as_uri(), viewport=WINDOW, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('img').forEach((one) => { one.loading = 'eager'; })")
    leave(page, screenshots / f"report-{scheme}.png")
    for section in ("classes", "gallery"):
        page.locator(f'nav a[href="#{section}"]').click()
        leave(page, screenshots / f"report-{section}-{scheme}.png")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_pictures_of_review(tab, review, scenes, screenshots, scheme):
    page, _ = tab(review.url, viewport=WINDOW, color_scheme=scheme)
    page.wait_for_selector('#learning[data-state="idle"]')
    page.reload()
    truth = read_prepared(scenes[0])
    for _ in range(12):
        image, name = asked(page)
        here = truth.full_labels[truth.images.index(image), truth.classes.index(name)] > 0
        page.keyboard.press("y" if here else "n")
    page.wait_for_selector('#saved[data-waiting="0"]')
    page.locator("#learning").get_by_text(
        f"knows {review.rows('SELECT count(*) FROM answers')[0][0]} answers"
    ).wait_for()
    leave(page, screenshots / f"review-{scheme}.png")
    page.keyboard.press("a")
    page.locator("#one .attention").wait_for()
    leave(page, screenshots / f"review-attention-{scheme}.png")
    page.keyboard.press("g")
    page.locator("#class").select_option(str(truth.classes.index(MARKED)))
    page.wait_for_selector("#grid .tile:focus")
    for place, one in enumerate(batch(page, MARKED)):
        if truth.full_labels[truth.images.index(one.image), truth.classes.index(MARKED)] < 0:
            page.locator("#grid .tile").nth(place).click()
    page.mouse.move(0, 0)
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowDown", "u"):
        page.keyboard.press(key)
    leave(page, screenshots / f"review-grid-{scheme}.png")
    page.keyboard.press("b")
    page.wait_for_selector("#browse .tile img")
    leave(page, screenshots / f"review-browse-{scheme}.png")
