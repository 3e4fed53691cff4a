"""Answers on the page of `mlrpl review`: those that the page confirmed are in the file, whatever happens."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.answering import Given, answer, asked, batch, saved
from tests.browser.served import CLASSES, Review

GONE = "the server is not there"


@pytest.fixture
def page(tab, review: Review) -> Any:
    return tab(review.url)[0]


def standing(review: Review, person: str = "ann") -> list[Given]:
    return [Given(*found[:3]) for found in review.standing() if found.person == person]


def confirm_batch(page: Any, column: int) -> list[Given]:
    """Mark the third and the fourth image of the grid, and confirm; what was given."""
    page.wait_for_selector("#grid .tile:focus")
    for key in ("ArrowRight", "ArrowRight", "x", "ArrowRight", "u"):
        page.keyboard.press(key)
    given = batch(page, CLASSES[column])
    assert [one.state for one in given[:5]] == ["present", "present", "absent", "unsure", "present"]
    page.keyboard.press("Enter")
    return given


def test_two_hundred_cells_are_answered_by_keyboard_in_both_modes(page, review):
    given = answer(page, 100)
    saved(page, 100)
    page.keyboard.press("g")
    column = int(page.locator("#class").input_value())
    first = confirm_batch(page, column)
    second = confirm_batch(page, column)
    assert {one.image for one in first}.isdisjoint(one.image for one in second)
    saved(page, 200)
    assert standing(review) == [*given, *first, *second]


def test_an_answer_that_is_taken_back_is_asked_again_and_stands_no_more(page, review):
    given = answer(page, 5)
    page.keyboard.press("z")
    assert asked(page) == given[-1][:2]
    saved(page, 4)
    assert standing(review) == given[:4]
    assert review.rows("SELECT count(*) FROM answers WHERE undoes IS NOT NULL") == [(1,)]
    for _ in range(4):
        page.keyboard.press("z")
    assert asked(page) == given[0][:2]
    saved(page, 0)
    assert standing(review) == []
    page.keyboard.press("z")
    assert page.locator("#spoken").inner_text() == "There is nothing to take back."


def test_a_batch_is_taken_back_whole_and_shown_as_it_was(page, review):
    asked(page)
    page.keyboard.press("g")
    column = int(page.locator("#class").input_value())
    given = confirm_batch(page, column)
    saved(page, len(given))
    page.keyboard.press("z")
    saved(page, 0)
    assert standing(review) == []
    assert batch(page, CLASSES[column]) == given


def test_a_reload_keeps_the_place_the_name_and_what_can_be_taken_back(page, review):
    asked(page)
    page.locator("#person").fill("bob")
    page.keyboard.press("Enter")
    page.locator("#by").select_option("class")
    page.locator("#class").select_option("1")
    given = answer(page, 3)
    assert {one.name for one in given} == {CLASSES[1]}
    saved(page, 3)
    page.reload()
    saved(page, 3)
    assert asked(page)[1] == CLASSES[1]
    assert asked(page) not in [one[:2] for one in given]
    assert [page.locator(f"#{one}").input_value() for one in ("by", "class", "person")] == ["class", "1", "bob"]
    page.keyboard.press("z")
    saved(page, 2)
    assert standing(review, "bob") == given[:2]
    page.keyboard.press("b")
    page.locator("#show").select_option("open")
    page.reload()
    page.wait_for_selector("#browse .tile img")
    assert (page.locator("#show").input_value(), page.locator("#class").input_value()) == ("open", "1")


def test_two_tabs_answer_at_once_and_what_they_disagree_on_is_shown(tab, page, review):
    other, _ = tab(review.url)
    for one in (page, other):
        asked(one)
    other.locator("#person").fill("bob")
    other.keyboard.press("Enter")
    image, name = asked(page)
    assert asked(other) == (image, name)
    page.keyboard.press("y")
    other.keyboard.press("n")
    mine = [Given(image, name, "present"), *answer(page, 10)]
    theirs = [Given(image, name, "absent"), *answer(other, 10)]
    for one in (page, other):
        saved(one, 11)
    assert standing(review) == mine
    assert standing(review, "bob") == theirs
    page.keyboard.press("d")
    shown = page.locator("#disputes li").filter(has_text=image)
    shown = shown.filter(has_text=name)
    shown.wait_for()
    assert sorted(shown.locator(".tag").all_inner_texts()) == ["ann: yes", "bob: no"]
    shown.get_by_role("button").click()
    assert asked(page) == (image, name)
    assert page.locator("#one [role=option]").first.locator(".tag").all_inner_texts()[:1] == ["bob: no"]


def test_a_server_that_is_killed_loses_nothing_that_was_confirmed_and_the_tab_nothing_at_all(page, review):
    """One goes on answering meanwhile."""
    given = answer(page, 20)
    page.wait_for_selector('#saved:not([data-saved="0"])')
    review.kill()
    confirmed = int(page.locator("#saved").get_attribute("data-saved"))
    assert standing(review)[:confirmed] == given[:confirmed]
    more = answer(page, 5)
    page.locator("#banner").wait_for()
    told = page.locator("#trouble").inner_text()
    assert told.startswith(f"Not saved: {GONE}. ")
    assert told.endswith("of this tab will be sent again; leave it open.")
    review.start()
    saved(page, 25)
    page.locator("#banner").wait_for(state="hidden")
    assert standing(review) == [*given, *more]


def test_what_is_not_saved_is_sent_after_a_reload_too(page, review):
    given = answer(page, 2)
    saved(page, 2)
    address = page.url
    page.route("**/answers", lambda route: route.abort())
    given += answer(page, 3)
    page.locator("#banner").wait_for()
    page.goto("about:blank")
    page.unroute("**/answers")
    page.goto(address)
    saved(page, 5)
    assert standing(review) == given


def test_a_tab_with_unsaved_answers_asks_before_it_closes(tab, review):
    page, _ = tab(review.url)
    answer(page, 1)
    saved(page, 1)
    page.route("**/answers", lambda route: route.abort())
    answer(page, 1)
    page.locator("#banner").wait_for()
    with page.expect_event("dialog") as asks:
        page.close(run_before_unload=True)
    assert asks.value.type == "beforeunload"


def test_the_next_question_does_not_wait_for_the_server(page, review):
    asked(page)
    held = []
    page.route("**/answers", lambda route: held.append(route))
    given = answer(page, 6)
    assert page.evaluate("document.querySelector('#one .frame img').naturalWidth > 0")
    assert page.locator("#saved").inner_text() == "0 saved here, 6 not saved yet"
    page.unroute("**/answers")  # which lets go what is held
    saved(page, 6)
    assert standing(review) == given


def test_a_full_disk_is_told_and_tried_again(page, review):
    asked(page)
    told = "there is no space left for the answer; make room"
    page.route("**/answers", lambda route: route.fulfill(status=507, json={"error": told}))
    given = answer(page, 2)
    page.locator("#banner").wait_for()
    assert page.locator("#trouble").inner_text().startswith(f"Not saved: {told}. ")
    page.unroute("**/answers")
    page.get_by_role("button", name="Try now").click()
    saved(page, 2)
    assert standing(review) == given


def test_what_the_server_refuses_is_told_and_the_others_are_saved(page, review):
    """It says the same each time, so that nothing would be saved any more."""
    asked(page)
    held = []
    page.route("**/answers", lambda route: held.append(route))
    given = answer(page, 1)
    given += answer(page, 2)
    held[0].fulfill(status=400, json={"error": "no such cell"})
    page.unroute("**/answers")
    saved(page, 2)
    assert page.locator("#trouble").inner_text() == "1 refused: no such cell"
    assert standing(review) == given[1:]
    page.get_by_role("button", name="Dismiss").click()
    assert page.locator("#banner").is_hidden()
