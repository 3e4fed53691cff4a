"""Who may speak to the server: pages that it served itself, to somebody who knows its secret.

A page of another site may make a browser send requests to 127.0.0.1. It cannot read the secret in the address, its
Origin is not ours, and where it lets its own name lead here (DNS rebinding), the Host is not ours either.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.ASCII)
"""Names of this machine for itself, with any port: a tunnel may have another one at its near end."""
POLICY = (
    "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",  # addresses hold the secret
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """Lets requests through to `app` whose first part of the path is the secret; `app` sees the path after it."""

    def __init__(self, app: ASGIApp, secret: str) -> None:
        self.app, self.secret = app, secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing else is served
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal, rest = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, guarded)
        else:
            inside: dict[str, Any] = {**scope, "path": rest, "raw_path": rest.encode(), "root_path": ""}
            await self.app(inside, receive, guarded)

    def _refusal(self, scope: Scope) -> tuple[JSONResponse | None, str]:
        """What is answered instead, if anything, and the path after the secret."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not HOST.fullmatch(host) or len(headers.getlist("host")) != 1:
            return _refused(403, "this server answers to 127.0.0.1 alone; open the address that mlrpl review printed")
        origin = headers.get("origin")
        if (origin is not None and origin != f"http://{host}") or _is_foreign(headers):
            return _refused(403, "another site asked for this; open the address that mlrpl review printed")
        secret, slash, rest = scope["path"].removeprefix("/").partition("/")
        if not hmac.compare_digest(secret.encode(errors="replace"), self.secret.encode()) or not slash:
            return _refused(404, "there is nothing here; open the address that mlrpl review printed")
        return None, f"/{rest}"


def _is_foreign(headers: Headers) -> bool:
    """Whether the browser says that another site's page, or one of this machine at another port, asked."""
    return headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")


def _refused(status: int, sentence: str) -> tuple[JSONResponse, str]:
    return JSONResponse({"error": sentence}, status), ""
