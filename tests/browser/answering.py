"""How somebody answers on the page of `mlrpl review`, by keyboard, and what the page then shows."""

from __future__ import annotations

from typing import Any, NamedTuple

STATES = {"y": "present", "n": "absent", "u": "unsure"}
KEYS = "ynyu"
QUESTION = """() => [
  document.querySelector("#one .name bdi").textContent, document.querySelector("#one h2 bdi").textContent
]"""
SHOWN = """() => document.querySelector("#one .frame .unread")
  || document.querySelector("#one .frame img:not(.attention)")?.naturalWidth"""
LOADED = "() => [...document.querySelectorAll('#grid .tile img')].every((image) => image.complete)"
TILES = """(tiles) => tiles.map((tile) => {
  const label = tile.getAttribute("aria-label");
  return [label.slice(0, label.lastIndexOf(": ")), label.slice(label.lastIndexOf(": ") + 2)];
})"""


class Given(NamedTuple):
    """One answer as it was given."""

    image: str
    name: str
    state: str


def asked(page: Any) -> tuple[str, str]:
    """The image and the class that are asked about."""
    page.wait_for_selector("#one h2 bdi")
    page.wait_for_function(SHOWN)
    image, name = page.evaluate(QUESTION)
    return image, name


def answer(page: Any, count: int) -> list[Given]:
    """Answer so many questions, one after another; no cell may be asked twice."""
    given = []
    for turn in range(count):
        key = KEYS[turn % len(KEYS)]
        given.append(Given(*asked(page), STATES[key]))
        page.keyboard.press(key)
    assert len({cell[:2] for cell in given}) == count
    return given


def batch(page: Any, name: str) -> list[Given]:
    """The images of the grid of a class, and what each would get."""
    page.wait_for_selector("#grid .tile")
    page.wait_for_function(LOADED)
    return [Given(image, name, state) for image, state in page.locator("#grid .tile").evaluate_all(TILES)]


def saved(page: Any, count: int) -> None:
    """Wait until so many answers are confirmed, and none waits."""
    page.wait_for_selector(f'#saved[data-saved="{count}"][data-waiting="0"]')
