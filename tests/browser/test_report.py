"""The report of a run in a browser, opened from disk; its names are hostile ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlrpl_cli.core.io.errors import printable
from tests.browser.seen import CONTRAST, ENOUGH_CONTRAST, FOCUS_VISIBLE
from tests.core.reports.test_report_page import HOSTILE, renamed, report, trained

LABELS = "#data details"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    return report(trained(folder, renamed(folder / "data").folder), check=True)[0].path.as_uri()


@pytest.fixture
def page(tab, address) -> Any:
    return tab(address)[0]


def columns(page: Any, table: int) -> int:
    return page.locator("table.sortable").nth(table).locator("thead th").count()


def column(page: Any, table: int, place: int) -> list[str]:
    """What a column is sorted by, from its top."""
    rows = page.locator("table.sortable").nth(table).locator("tbody tr")
    script = "(rows, place) => rows.map((row) => row.cells[place].dataset.value ?? row.cells[place].textContent.trim())"
    return rows.evaluate_all(script, place)


def head(page: Any, table: int, place: int) -> Any:
    return page.locator("table.sortable").nth(table).locator("thead th").nth(place)


def figures(values: list[str]) -> list[float]:
    return [float(value) for value in values if value not in ("", "–")]


def test_it_opens_from_disk_and_asks_for_nothing(tab, address):
    page, heard = tab(address)
    decoded = "(image) => { image.loading = 'eager'; return image.decode(); }"
    page.evaluate(f"Promise.all([...document.images].map({decoded}))")
    assert (heard.elsewhere, heard.errors) == ([], [])
    assert all(printable(name) in page.inner_text("body") for name in HOSTILE)


def test_every_column_sorts_either_way(page):
    tables = page.locator("table.sortable").count()
    assert tables >= 3
    page.locator(f"{LABELS} summary").click()
    for table in range(tables):
        for place in range(columns(page, table)):
            before = column(page, table, place)
            numeric = head(page, table, place).get_attribute("data-kind") == "number"
            orders = []
            for _ in range(2):
                head(page, table, place).get_by_role("button").click()
                orders.append((head(page, table, place).get_attribute("aria-sort"), column(page, table, place)))
            for order, values in orders:
                assert sorted(values) == sorted(before)
                if numeric:
                    found = figures(values)
                    assert found == sorted(found, reverse=order == "descending")
                    assert found == figures(values[: len(found)]), "cells without a figure come last"
            assert {order for order, _ in orders} == {"ascending", "descending"}
            if not numeric:
                assert orders[0][1] == orders[1][1][::-1] or len(set(before)) < len(before)


def test_the_gallery_shows_the_class_and_the_group_that_are_chosen(page):
    pictures = page.locator(".group [data-class]")
    everything = pictures.count()
    for number in ("0", "1", "2"):
        page.locator('select[data-gallery="class"]').select_option(number)
        shown = page.locator(".group [data-class]:visible")
        assert set(shown.evaluate_all("(items) => items.map((item) => item.dataset.class)")) <= {number}
        assert page.locator('[data-count="gallery"]').inner_text() == f"{shown.count()} of {everything} pictures"
        assert shown.count() == page.locator(f'.group [data-class="{number}"]').count()
    page.locator('select[data-gallery="class"]').select_option("")
    page.locator('select[data-gallery="group"]').select_option("sure-right")
    assert page.locator(".group:visible").count() == 1


def test_the_table_of_classes_keeps_those_whose_name_has_what_is_typed(page):
    page.get_by_role("searchbox").fill("ONLOAD")
    assert page.locator("#class-table tbody tr:visible").count() == 1
    assert page.locator('[data-count="class-table"]').inner_text() == "1 of 3 classes"


def test_without_javascript_everything_is_there_and_nothing_that_would_do_nothing(tab, address):
    page, heard = tab(address, java_script_enabled=False)
    assert page.locator(".controls:visible").count() == 0
    assert page.locator("th button").count() == 0
    assert page.locator(".group [data-class]:visible").count() == page.locator(".group [data-class]").count() > 0
    assert page.locator("#class-table tbody tr:visible").count() == 3
    page.locator(f"{LABELS} summary").click()
    assert page.locator(f"{LABELS} table").is_visible()
    assert heard.errors == []


def test_it_can_be_used_by_keyboard_alone(page):
    """Tab goes from the link over the head through contents and controls, and one sees where it is."""
    reached = []
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement !== document.body"):
        reached.append(page.evaluate("document.activeElement.textContent.trim() || document.activeElement.type"))
        assert page.evaluate(FOCUS_VISIBLE), reached[-1]
        page.keyboard.press("Tab")
    assert reached[0] == "To the content"
    assert {"Figures", "search", "AP (%)", "Open all", "Options of the training"} <= set(reached)
    head(page, 0, 1).get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert head(page, 0, 1).get_attribute("aria-sort") == "descending"
    page.keyboard.press("Space")
    assert head(page, 0, 1).get_attribute("aria-sort") == "ascending"
    page.locator("#curves summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#curves svg").first.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_the_light_and_in_the_dark(tab, address, scheme):
    page, _ = tab(address, color_scheme=scheme)
    shade = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (shade == "rgb(255, 255, 255)") == (scheme == "light")
    assert {text: of for text, of in page.evaluate(CONTRAST) if of < ENOUGH_CONTRAST} == {}


@pytest.mark.parametrize("script", [True, False])
def test_on_paper_what_is_closed_on_screen_is_there(tab, address, script, tmp_path: Path):
    page, _ = tab(address, java_script_enabled=script)
    assert not page.locator(f"{LABELS} table").is_visible()
    page.emulate_media(media="print")
    assert page.locator("#curves svg").first.is_visible()
    assert page.locator(f"{LABELS} table").is_visible()
    assert page.locator("nav:visible, .controls:visible, .skip:visible").count() == 0
    page.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("width", [400, 800, 1600])
def test_it_is_never_wider_than_the_window(tab, address, width):
    page, _ = tab(address, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
