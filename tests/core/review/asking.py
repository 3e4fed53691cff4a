"""A server without a socket: requests as they arrive, in any shape, and what comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from starlette.types import ASGIApp

SECRET = "s" * 43


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> Any:
        return json.loads(self.body)


class Client:
    """Speaks to an ASGI `app` below the secret."""

    def __init__(self, app: ASGIApp, host: str = "127.0.0.1:8000") -> None:
        self.app, self.host = app, host

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", f"/{SECRET}/{path}", headers)

    def post(self, path: str, body: object, **headers: str) -> Reply:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", f"/{SECRET}/{path}", {"content_type": "application/json"} | headers, content)

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Reply:
        return asyncio.run(self._ask(method, path, {"host": self.host} | dict(headers), body))

    async def _ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        path, _, query = path.partition("?")
        told = [(name.replace("_", "-").lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "", "headers": told,
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000),
        }  # fmt: skip
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start, *rest = sent
        found = {name.decode(): value.decode() for name, value in start["headers"]}
        return Reply(start["status"], found, b"".join(part.get("body", b"") for part in rest))


class Idle:
    """A teacher who only counts."""

    changes = 0

    def heard(self, answers: int) -> None:
        self.changes += answers


def no_predictor() -> None:
    raise AssertionError("nobody asked for attention")
