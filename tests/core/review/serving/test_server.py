"""The server: who may speak to it, what it answers, and that whatever is sent to it ends in a sentence."""

from __future__ import annotations

import io
import json
import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mlrpl_cli.core.labels.answers.database import FullDiskError, told
from mlrpl_cli.core.labels.answers.store import AnswerStore
from mlrpl_cli.core.review.desk import Desk
from mlrpl_cli.core.review.serving import server
from mlrpl_cli.core.review.serving.guard import POLICY
from mlrpl_cli.core.review.serving.pictures import SMALL, Pictures
from tests.core.review.asking import SECRET, Client, Idle, no_predictor

PAGES = ("", "state", "queue", "grid?column=0", "disagreements", "image/0", "attention/0/99", "review.js")


def body(cell: tuple[int, int], token: str = "a", more: dict | None = None) -> dict:
    row, column = cell
    one = {"token": token, "row": row, "column": column, "state": "present", "p": 0.25}
    return {"person": "ann", "answers": [one | (more or {})]}


def test_an_answer_is_in_the_file_before_the_reply(client: Client, desk: Desk, open_cell: Callable) -> None:
    cell = open_cell()
    reply = client.post("answers", body(cell))
    (kept,) = desk.store.standing
    assert (reply.status, reply.told) == (200, {"answers": 1})
    assert (kept.row, kept.column, kept.state, kept.person, kept.probability) == (*cell, "present", "ann", 0.25)


def test_a_name_is_the_same_with_spaces_around_it(client: Client, desk: Desk, open_cell: Callable) -> None:
    client.post("answers", body(open_cell()) | {"person": " ann "})
    assert [one.person for one in desk.store.standing] == ["ann"]
    assert client.post("undo", {"person": "ann  ", "tokens": ["a"]}).told["undone"] == 1


def test_an_answer_that_is_sent_again_counts_once(client: Client, open_cell: Callable) -> None:
    """The browser cannot tell an answer that was lost from a reply that was."""
    sent = body(open_cell())
    assert client.post("answers", sent).told == client.post("answers", sent).told == {"answers": 1}


def test_answers_are_taken_back_by_those_who_gave_them(client: Client, open_cell: Callable) -> None:
    client.post("answers", body(open_cell()))
    assert client.post("undo", {"person": "bob", "tokens": ["a"]}).status == 400
    assert client.post("undo", {"person": "ann", "tokens": ["a"]}).told == {"undone": 1, "answers": 0}


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "example.org"}, 403),
        ({"host": "127.0.0.1.example.org:8000"}, 403),
        ({"host": "example.org:8000@127.0.0.1"}, 403),
        ({"host": ""}, 403),
        ({"host": "[::1"}, 403),
        ({"origin": "http://example.org"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9000"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
    ],
)
def test_other_sites_and_names_of_this_machine_are_refused(
    path: str, headers: dict, status: int, client: Client
) -> None:
    reply = client.get(path, **headers)
    assert reply.status == status
    assert "open the address that mlrpl review printed" in reply.told["error"]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("secret", ["", "x", SECRET[:-1], f"{SECRET}x", "é", SECRET.upper()])
def test_nothing_is_told_without_the_secret(path: str, secret: str, client: Client) -> None:
    reply = client.ask("GET", f"/{secret}/{path}", {})
    assert (reply.status, list(reply.told)) == (404, ["error"])


def test_a_tunnel_may_have_another_port(client: Client) -> None:
    assert client.get("state", host="localhost:1234", origin="http://localhost:1234").status == 200
    assert client.get("state", host="[::1]:1234").status == 200


@pytest.mark.parametrize("path", [*PAGES, "nothing"])
def test_every_reply_says_what_the_page_may_do(path: str, client: Client) -> None:
    found = client.get(path).headers
    assert found["content-security-policy"] == POLICY
    assert found["referrer-policy"] == "no-referrer"
    assert found["x-content-type-options"] == "nosniff"
    assert found["cache-control"] in ("no-store", server.KEPT)


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd", "image/../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "image/%2e%2e", "lite.safetensors",
        "report.css", "tiny.safetensors", "review.html.j2", "..%2freport.js", "review.js/..", "/etc/passwd", "image/-1",
        "image/0/0/0", "image//0", "image/1e3", "attention/0", "attention/0/99",
    ],
)  # fmt: skip
def test_no_path_leads_anywhere_else(path: str, client: Client) -> None:
    reply = client.get(path)
    assert reply.status in (400, 404)
    assert list(reply.told) == ["error"]


@pytest.mark.parametrize("row", ["test", 36, 10**9, 10**30])
def test_no_image_is_sent_but_those_that_are_reviewed(row: object, client: Client, desk: Desk) -> None:
    number = desk.data.splits.index("test") if row == "test" else row
    assert client.get(f"image/{number}").status in (400, 404)
    assert client.get(f"attention/{number}/0").status in (400, 404)


def test_an_image_is_sent_small_and_its_file_is_not(client: Client, desk: Desk) -> None:
    Image.new("RGB", (3000, 1000), "red").save(desk.data.image_root / desk.data.images[0])
    for path, size in (("image/0", (1024, 341)), (f"image/0?side={SMALL}", (192, 64))):
        reply = client.get(path)
        assert reply.headers["content-type"] == "image/jpeg"
        assert Image.open(io.BytesIO(reply.body)).size == size
    assert client.get("image/0?side=100000").status == 422


def test_an_image_that_cannot_be_read_is_told(client: Client, desk: Desk) -> None:
    (desk.data.image_root / desk.data.images[0]).write_bytes(b"no image")
    reply = client.get("image/0")
    assert (reply.status, "cannot read" in reply.told["error"]) == (422, True)
    (desk.data.image_root / desk.data.images[1]).unlink()
    assert client.get("image/1").status == 422


NAMES = ('<img src=x onerror="alert(1)">.png', "'\"><script>.png", "\u202egnp.exe.png", "a\nb.png", "ab\udcffcd.png")


@pytest.mark.parametrize("name", NAMES)
def test_names_go_out_as_json_alone(name: str, desk: Desk, tmp_path: Path) -> None:
    data = replace(desk.data, images=(name, *desk.data.images[1:]), classes=("</script>", *desk.data.classes[1:]))
    with AnswerStore.open(tmp_path / "named.sqlite", data) as store:
        named = Desk(data, store, "ann", "unknown")
        client = Client(server.make_app(named, Pictures([], False, no_predictor), Idle(), SECRET))
        for path in ("state", "queue?by=class&column=0&most=500", "grid?column=0&show=all"):
            reply = client.get(path)
            assert reply.headers["content-type"] == "application/json"
            assert reply.status == 200
        names = [item["name"] for item in client.get("grid?column=0&show=all").told["items"]]
        assert name.encode(errors="replace").decode() in names


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"row": 99999}, "no image that is reviewed has the number 99999"),
        ({"row": -1}, "no image that is reviewed has the number -1"),
        ({"row": True}, "answers.1.row"),
        ({"row": "0"}, "answers.1.row"),
        ({"column": 3}, "expected the number of a class below 3, got 3"),
        ({"state": "yes"}, "expected an answer of present, absent, unsure, got 'yes'"),
        ({"p": 1.5}, "expected a probability"),
        ({"token": ""}, "expected a token"),
        ({"token": "x" * 1000}, "expected a token"),
        ({"more": 1}, "answers.1.more"),
    ],
)
def test_what_can_be_no_answer_is_refused_whole(more: dict, sentence: str, client: Client, desk: Desk) -> None:
    sent = body((0, 0), "good")
    sent["answers"] += body((0, 1), "bad", more)["answers"]
    reply = client.post("answers", sent)
    assert (reply.status, desk.store.count) == (400, 0)
    assert sentence in reply.told["error"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"[]", b'{"person": 1}', b"\xff", b"[" * 100_000, b'"' + b"a" * 99]
)
def test_what_is_no_json_of_ours_is_a_sentence(content: bytes, client: Client) -> None:
    for path in ("answers", "undo"):
        reply = client.post(path, content)
        assert (reply.status, list(reply.told)) == (400, ["error"])


def test_a_form_is_refused_for_any_site_may_send_one(client: Client) -> None:
    content = json.dumps(body((0, 0))).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        assert client.post("answers", content, content_type=kind).status == 415


def test_more_than_a_page_would_send_is_refused(client: Client) -> None:
    assert client.post("answers", b" " * (server.MOST_BYTES + 1)).status == 413


def test_reading_by_post_and_writing_by_get_are_refused(client: Client) -> None:
    assert client.get("answers").status == 404
    assert client.post("state", {}).status == 405


def test_a_disk_that_is_full_is_told_and_nothing_is_lost(
    client: Client, desk: Desk, open_cell: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post("answers", body(open_cell()))

    def full(answers: object) -> None:
        raise FullDiskError("the answer is not saved: the disk is full")

    monkeypatch.setattr(desk.store, "add", full)
    sent = body(open_cell(), "b")
    reply = client.post("answers", sent)
    assert (reply.status, reply.told["error"]) == (507, "the answer is not saved: the disk is full")
    monkeypatch.undo()
    assert client.post("answers", sent).told == {"answers": 2}


PASSING = (
    "disk I/O error",
    "database is locked",
    "attempt to write a readonly database",
    "unable to open database file",
)


@pytest.mark.parametrize("said", PASSING)
def test_what_passes_is_answered_so_that_the_page_sends_it_again(
    said: str, client: Client, desk: Desk, open_cell: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(answers: object) -> None:
        with told(Path("a.sqlite")):
            raise sqlite3.OperationalError(said)

    monkeypatch.setattr(desk.store, "add", failing)
    assert client.post("answers", body(open_cell())).status == 503


def test_a_file_that_is_put_back_goes_on(client: Client, open_cell: Callable, tmp_path: Path) -> None:
    sent = body(open_cell())
    (tmp_path / "answers.sqlite").rename(tmp_path / "elsewhere")
    assert client.post("answers", sent).status == 503
    (tmp_path / "elsewhere").rename(tmp_path / "answers.sqlite")
    assert client.post("answers", sent).told == {"answers": 1}


def test_paths_that_are_no_utf8_are_told_as_well_as_can_be(desk: Desk, tmp_path: Path) -> None:
    data = replace(desk.data, source=Path(os.fsdecode(b"/data/\xff")))
    with AnswerStore.open(tmp_path / "odd.sqlite", data) as store:
        odd = Desk(data, store, "ann", "unknown")
        client = Client(server.make_app(odd, Pictures([], False, no_predictor), Idle(), SECRET))
        assert client.get("state").told["title"] == "/data/?"


def test_a_number_of_any_length_is_no_image(client: Client) -> None:
    assert client.get(f"image/{'9' * 5000}").status == 404


def test_the_page_and_its_parts_are_ours_alone(client: Client) -> None:
    page = client.get("")
    assert page.headers["content-type"].startswith("text/html")
    assert b"<script>" not in page.body
    assert os.fsencode(SECRET) not in page.body
