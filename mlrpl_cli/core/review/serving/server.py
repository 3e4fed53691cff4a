"""What the page asks for, by HTTP. Everything is below the secret, and every error is a sentence."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Annotated, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from mlrpl_cli.core.io.errors import ConfigError, DataError, MlrplError
from mlrpl_cli.core.labels.answers.database import FullDiskError, NotSavedError
from mlrpl_cli.core.labels.answers.records import NewAnswer
from mlrpl_cli.core.reports.pages import render_page
from mlrpl_cli.core.review.desk import Desk
from mlrpl_cli.core.review.serving.guard import Guard
from mlrpl_cli.core.review.serving.pictures import LARGE, Pictures
from mlrpl_cli.core.review.teaching import Teacher

PAGE = "review.html"
KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
"""Of the assets that the page loads: all that begin with its name."""
DIGITS = 10
MOST_BYTES, MOST_ANSWERS, MOST_ITEMS = 1024**2, 1000, 500
"""Of what a browser may send, and ask for, at once."""
KEPT = "private, max-age=86400"
"""How long a browser may keep a picture, by the address that holds this server's secret."""
AT_ONCE = 4
"""Images that are decoded together, each of which may be large."""
STATUS = {FullDiskError: 507, NotSavedError: 503, ConfigError: 400, DataError: 400, MlrplError: 500}
"""What is told of an error, by the first kind that it is of: above 500 the page sends the same again."""
Body = TypeVar("Body", bound=BaseModel)


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    token: str
    row: int
    column: int
    state: str
    p: float | None = None


class _Answers(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    person: str
    answers: Annotated[list[_Answer], Field(max_length=MOST_ANSWERS)]


class _Undo(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    person: str
    tokens: Annotated[list[str], Field(max_length=MOST_ANSWERS)]


def make_app(desk: Desk, pictures: Pictures, teacher: Teacher, secret: str) -> ASGIApp:
    """The server of one data set. While it runs, `teacher` trains on what is answered."""
    service = Service(desk, pictures, teacher)
    routes = [
        Route("/", service.page),
        Route("/state", service.state),
        Route("/queue", service.queue),
        Route("/grid", service.grid),
        Route("/disagreements", service.disagreements),
        Route("/image/{row}", service.image),
        Route("/attention/{row}/{column}", service.attention),
        Route("/answers", service.answers, methods=["POST"]),
        Route("/undo", service.undo, methods=["POST"]),
        Route("/{asset}", service.asset),
    ]

    @asynccontextmanager
    async def teaching(app: Starlette) -> AsyncIterator[None]:
        async with teacher.running():
            yield

    handlers: Mapping[Any, Any] = dict.fromkeys((MlrplError, HTTPException, ValidationError, Exception), _told)
    return Guard(Starlette(routes=routes, exception_handlers=handlers, lifespan=teaching), secret)


class Service:
    """The handlers; those that are no coroutines run in threads."""

    def __init__(self, desk: Desk, pictures: Pictures, teacher: Teacher) -> None:
        self.desk, self.pictures, self.teacher = desk, pictures, teacher
        # Threads of their own, so that no answer waits for pictures.
        self._decoding, self._attending = CapacityLimiter(AT_ONCE), CapacityLimiter(1)

    def page(self, request: Request) -> Response:
        return HTMLResponse(render_page(f"{PAGE}.j2", {}))

    def asset(self, request: Request) -> Response:
        """One of the page's own files, by a name out of the list of them."""
        name = request.path_params["asset"]
        found = {path.name: path for path in (files("mlrpl_cli") / "assets").iterdir()}
        suffix = f".{name.rpartition('.')[2]}"
        if not name.startswith("review") or suffix not in KINDS or name not in found:
            raise HTTPException(404, "there is nothing of this name")
        return Response(found[name].read_bytes(), media_type=KINDS[suffix])

    def state(self, request: Request) -> Response:
        return _json(self.desk.state())

    def queue(self, request: Request) -> Response:
        by, person = request.query_params.get("by", "suggested"), self._person(request)
        return _json(self.desk.queue(by, person, _number(request, "column"), _most(request, 20)))

    def grid(self, request: Request) -> Response:
        column, start, version = (_number(request, name) for name in ("column", "start", "version"))
        if column is None:
            raise DataError("expected the number of a class as column; load the page again")
        show = request.query_params.get("show", "open")
        found = self.desk.grid(column, show, self._person(request), start or 0, _most(request, 50), version)
        return _json(found)

    def disagreements(self, request: Request) -> Response:
        return _json(self.desk.disagreements_told())

    async def image(self, request: Request) -> Response:
        row, side = _place(request, "row"), _number(request, "side")
        self.desk.check_row(row)
        return await self._picture(lambda: self.pictures.image(row, LARGE if side is None else side), self._decoding)

    async def attention(self, request: Request) -> Response:
        row, column = _place(request, "row"), _place(request, "column")
        self.desk.check_cell(row, column)
        return await self._picture(lambda: self.pictures.attention(row, column), self._attending)

    async def answers(self, request: Request) -> Response:
        given = await _body(request, _Answers)
        who = given.person.strip()
        new = [NewAnswer(one.token, one.row, one.column, one.state, who, one.p) for one in given.answers]
        return await self._changed(lambda: self.desk.record(new), len(new))

    async def undo(self, request: Request) -> Response:
        given = await _body(request, _Undo)
        return await self._changed(lambda: self.desk.undo(given.tokens, given.person.strip()), len(given.tokens))

    async def _changed(self, change: Callable[[], dict[str, Any]], answers: int) -> Response:
        told = await run_in_threadpool(change)
        self.teacher.heard(answers)
        return _json(told)

    async def _picture(self, make: Callable[[], bytes], limiter: CapacityLimiter) -> Response:
        try:
            content = await to_thread.run_sync(make, limiter=limiter)
        except DataError as error:
            raise HTTPException(422, str(error)) from error
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": KEPT})

    def _person(self, request: Request) -> str:
        return request.query_params.get("person", "").strip() or self.desk.person


async def _body(request: Request, kind: type[Body]) -> Body:
    """What a page sent, checked. JSON alone: a form of another site could send anything else without asking."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "expected application/json")
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MOST_BYTES:
            raise HTTPException(413, f"expected at most {MOST_BYTES} bytes at once")
    return kind.model_validate_json(bytes(content))


def _place(request: Request, name: str) -> int:
    """A row or column in the path. Raises HTTPException for what is none."""
    found = _whole(request.path_params[name])
    if found is None:
        raise HTTPException(404, "there is nothing of this name")
    return found


def _number(request: Request, name: str) -> int | None:
    """A whole number of the address, or None where it is not there."""
    text = request.query_params.get(name)
    if text is None or text == "":
        return None
    found = _whole(text)
    if found is None:
        raise DataError(f"expected a whole number as {name}, got '{text[:40]}'; load the page again")
    return found


def _whole(text: str) -> int | None:
    """A whole number of few digits; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < DIGITS else None


def _most(request: Request, usual: int) -> int:
    asked = _number(request, "most")
    return min(usual if asked is None else asked, MOST_ITEMS)


def _json(value: object, status: int = 200) -> Response:
    """Halves of characters, which stand for the bytes of paths that are no UTF-8, are replaced."""
    content = json.dumps(value, ensure_ascii=False, allow_nan=False).encode(errors="replace")
    return Response(content, status, media_type="application/json")


def _told(request: Request, error: Exception) -> Response:
    """An error as JSON: a sentence, and the status that says whose it is."""
    if isinstance(error, HTTPException):
        return _json({"error": error.detail}, error.status_code)
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the request"
        return _json({"error": f"{place}: {first['msg']}; load the page again"}, 400)
    if isinstance(error, MlrplError):
        return _json({"error": str(error)}, next(status for kind, status in STATUS.items() if isinstance(error, kind)))
    return _json({"error": f"this is a bug in mlrpl: {type(error).__name__}: {error}; please report it"}, 500)
