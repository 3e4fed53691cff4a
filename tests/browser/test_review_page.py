"""The page of `mlrpl review` as one sees and uses it."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.browser.answering import asked, batch
from tests.browser.seen import CONTRAST, ENOUGH_CONTRAST, FOCUS_VISIBLE
from tests.browser.served import CLASSES, IMAGES, NAMES, Review, kept_up

MANY = 100_000
MODES = {"one": "#one .frame img", "grid": "#grid .tile img", "browse": "#browse .tile img", "disputes": "#disputes h2"}
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="module")
def review(hostile, tmp_path_factory) -> Any:
    yield from kept_up(Review(*hostile, tmp_path_factory.mktemp("review")))


def opened(tab: Any, review: Review, mode: str, **options: Any) -> tuple[Any, Any]:
    page, heard = tab(f"{review.url}#mode={mode}&class=", **options)
    page.wait_for_selector(MODES[mode])
    return page, heard


def test_it_asks_its_own_server_alone_and_names_are_text(tab, review):
    page, heard = opened(tab, review, "one")
    page.locator("#by").select_option("unlabelled")
    shown = set()
    for mode in ("grid", "browse", "disputes", "one"):
        page.locator(f'nav [data-mode="{mode}"]').click()
        page.wait_for_selector(MODES[mode])
        shown |= set(page.locator("bdi").all_inner_texts())
    assert heard.errors == []
    assert [url for url in heard.requests if not url.startswith(review.url)] == []
    assert set(CLASSES) & shown
    texts = page.locator("#class option").all_text_contents()[1:]
    assert [text.rpartition(" (")[0] for text in texts] == list(CLASSES)
    assert page.locator('img[src="x"], [onerror], script:not([src="review.js"])').count() == 0


def test_a_hostile_name_of_an_image_is_text(tab, review):
    page, heard = opened(tab, review, "browse")
    for name in NAMES:
        tile = page.locator("#browse .tile").filter(has=page.locator(f"img[alt={_quoted(name)}]"))
        while not tile.count():
            page.mouse.move(400, 400)
            page.locator("#browse .scroll").evaluate("(place) => { place.scrollTop += place.clientHeight / 2; }")
            page.wait_for_load_state("networkidle")
        tile.first.click()
        assert asked(page)[0] == name
        page.keyboard.press("b")
        page.wait_for_selector(MODES["browse"])
    assert heard.errors == []


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def test_a_hundred_thousand_images_are_scrolled_through_by_a_page_that_holds_few(tab, review):
    page, heard = tab(review.url)
    asked(page)
    page.route("**/grid?*", many_images)
    page.route("**/image/*", lambda route: route.fulfill(body=PIXEL, content_type="image/png"))
    page.keyboard.press("b")
    page.wait_for_selector('#browse [title="number 0"]')
    assert page.locator("#browse h2").inner_text().endswith(f": {MANY:,} images")
    for share in (0.1, 0.7, 0.35, 1):
        page.locator("#browse .scroll").evaluate(f"(place) => {{ place.scrollTop = {share} * place.scrollHeight; }}")
        page.wait_for_selector("#browse li:nth-child(20) img")
        assert page.locator("#browse li").count() < 100
    page.wait_for_selector(f'#browse [title="number {MANY - 1}"]')
    page.locator("#browse .tile").first.focus()
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.title") == f"number {MANY - 1}"
    page.keyboard.press("Home")
    page.wait_for_selector('#browse [title="number 0"]:focus')
    assert page.evaluate("document.querySelectorAll('*').length") < 1000
    assert heard.errors == []


def many_images(route: Any) -> None:
    from urllib.parse import parse_qs, urlsplit

    given = {name: int(of[0]) for name, of in parse_qs(urlsplit(route.request.url).query).items() if of[0].isdigit()}
    rows = range(given["start"], min(given["start"] + given["most"], MANY))
    of = {"p": 0.5, "given": None, "state": None, "answers": []}
    route.fulfill(json={"version": 1, "total": MANY, "items": [{"row": n, "name": f"number {n}", **of} for n in rows]})


def test_browsing_answers_too(tab, review):
    page, _ = opened(tab, review, "browse")
    page.locator("#show").select_option("open")
    page.wait_for_selector("#browse .tile img")
    page.keyboard.press("ArrowRight")
    place = page.evaluate("document.activeElement.title")
    page.keyboard.press("n")
    assert page.locator(f"#browse [title={_quoted(place)}] .word").inner_text() == "no"
    assert page.evaluate("document.activeElement.title") != place
    page.keyboard.press("z")
    assert page.evaluate("document.activeElement.title") == place
    assert page.locator(f"#browse [title={_quoted(place)}] .word").inner_text() == "open"


def test_the_queue_and_the_class_that_are_chosen_are_asked(tab, review):
    page, _ = opened(tab, review, "one")
    page.locator("#by").select_option("class")
    for number in ("1", "2"):
        page.locator("#class").select_option(number)
        page.locator("#one h2 bdi").get_by_text(CLASSES[int(number)]).wait_for()
    page.locator("#by").select_option("errors")
    page.wait_for_selector("#learning[data-state=idle]")
    page.wait_for_selector("#one [role=option] .tag:has-text('label: ')")


def test_left_leads_back_and_space_leaves_open(tab, review):
    page, _ = opened(tab, review, "one")
    page.locator("#by").select_option("unlabelled")
    first = asked(page)
    page.keyboard.press("ArrowDown")
    assert asked(page)[0] == first[0]
    page.keyboard.press("Space")
    assert asked(page)[0] != first[0]
    page.keyboard.press("ArrowLeft")
    assert asked(page) == first
    assert page.locator("#saved").inner_text() == "0 saved here"


def test_attention_is_laid_over_the_image_on_demand(tab, review):
    page, heard = opened(tab, review, "one")
    assert not [url for url in heard.requests if "/attention/" in url]
    page.keyboard.press("a")
    page.locator("#one .attention").evaluate("(image) => image.decode()")
    page.keyboard.press("a")
    assert page.locator("#one .attention").count() == 0


def test_an_image_that_cannot_be_read_is_told_and_left_by_space(tab, review):
    page, _ = tab(review.url)
    told = "images/7.png cannot be read: it is no image"
    page.route("**/image/*?side=1024", lambda route: route.fulfill(status=422, json={"error": told}))
    page.locator("#one .frame .unread").wait_for()
    assert page.locator("#one .frame").inner_text() == told
    before = asked(page)[0]
    page.keyboard.press("Space")
    assert asked(page)[0] != before


def test_what_cannot_be_seen_is_not_answered(tab, review):
    """Neither alone nor in a batch."""
    page, _ = tab(review.url)
    page.route("**/image/*", lambda route: route.fulfill(status=422, json={"error": "it is no image"}))
    page.reload()
    page.locator("#one .frame .unread").wait_for()
    page.keyboard.press("y")
    assert page.locator("#saved").inner_text() == "0 saved here"
    page.keyboard.press("g")
    page.wait_for_selector("#grid .tile .unread")
    page.wait_for_function("() => !document.querySelector('#grid .tile img')")
    assert page.locator("#grid .confirm").inner_text().startswith("Confirm: ")
    page.keyboard.press("Enter")
    assert page.locator("#saved").inner_text() == "0 saved here"


def test_a_browser_asks_once_who_answers(tab, hostile, tmp_path):
    """Where nobody said it on the command line."""
    review = Review(*hostile, tmp_path, person=None)
    review.start()
    try:
        page, _ = tab(review.url)
        page.wait_for_selector("#who[open]")
        page.keyboard.type("bob")
        page.keyboard.press("Enter")
        asked(page)
        page.keyboard.press("y")
        page.wait_for_selector('#saved[data-saved="1"][data-waiting="0"]')
        assert [one.person for one in review.standing()] == ["bob"]
        page.reload()
        asked(page)
        assert page.locator("#person").input_value() == "bob"
        assert not page.locator("#who[open]").count()
    finally:
        review.kill()


def test_keys_of_other_letters_answer_by_their_place_and_one_that_is_held_answers_once(tab, review):
    page, _ = opened(tab, review, "one")
    before = asked(page)
    page.evaluate("""() => ["keydown", "keydown"].forEach((kind, number) => document.body.dispatchEvent(
        new KeyboardEvent(kind, { key: "\u0433", code: "KeyU", repeat: number > 0, bubbles: true })))""")
    assert asked(page) != before
    page.wait_for_selector('#saved[data-saved="1"][data-waiting="0"]')
    page.keyboard.press("z")
    assert asked(page) == before


def test_the_link_over_the_head_leads_to_the_images_and_leaves_what_is_shown(tab, review):
    page, _ = opened(tab, review, "browse")
    address = page.url
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "work"
    assert (page.url, page.locator("#browse").is_visible()) == (address, True)


def test_keys_are_told_and_do_nothing_while_they_are_read(tab, review):
    page, _ = opened(tab, review, "one")
    before = asked(page)
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("y")
    page.keyboard.press("Escape")
    assert page.locator("#help").is_hidden()
    page.locator("#person").focus()
    page.keyboard.type("y")
    assert asked(page) == before


@pytest.mark.parametrize("mode", MODES)
def test_tab_reaches_every_control_and_one_sees_where_it_is(tab, review, mode):
    page, _ = opened(tab, review, mode)
    reached = set()
    page.keyboard.press("Tab")
    while not ("keys" in reached and page.evaluate("document.activeElement === document.body")):
        name = page.evaluate("document.activeElement.id || document.activeElement.dataset.mode || ''")
        reached.add(name)
        assert page.evaluate(f"document.activeElement === document.body || ({FOCUS_VISIBLE})()"), name
        page.keyboard.press("Tab")
    assert {"one", "grid", "browse", "disputes", "person", "keys"} <= reached


@pytest.mark.parametrize("width", [800, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_the_light_and_in_the_dark_in_narrow_and_wide_windows(tab, review, scheme, width):
    page, _ = opened(tab, review, "one", color_scheme=scheme, viewport={"width": width, "height": 700})
    for mode, shown in MODES.items():
        page.locator(f'nav [data-mode="{mode}"]').click()
        page.wait_for_selector(shown)
        assert {text: of for text, of in page.evaluate(CONTRAST) if of < ENOUGH_CONTRAST} == {}
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.keyboard.press("?")
    assert {text: of for text, of in page.evaluate(CONTRAST) if of < ENOUGH_CONTRAST} == {}


def test_the_grid_can_propose_absent_and_marks_by_click(tab, review):
    page, _ = opened(tab, review, "grid")
    page.wait_for_selector("#grid .tile:focus")
    page.keyboard.press("p")
    page.wait_for_selector("#grid .tile.absent")
    page.locator("#grid .tile").nth(1).click()
    assert [one.state for one in batch(page, "")[:3]] == ["absent", "present", "absent"]
    page.locator("#grid .tile").nth(1).click()
    assert {one.state for one in batch(page, "")} == {"absent"}
    assert len(batch(page, "")) == 50 < IMAGES
