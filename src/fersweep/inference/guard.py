"""Access to the page of ``fersweep demo``: for its owner alone, and to uploaded files alone.

A port on 127.0.0.1 is open to every user and web page of the machine. As in Jupyter, the address that is printed holds
a token, which the browser keeps as a cookie.
"""

from __future__ import annotations

import hmac
import secrets
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

ASKING = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing, so that their origin need not be known."""

NO_TOKEN = "Open the address that fersweep demo has printed, with its token.\n"
OTHER_PAGE = "This request comes from another page.\n"


def new_token() -> str:
    """Return 192 random bits as text for a URL."""
    return secrets.token_urlsafe(24)


class Guard:
    """ASGI application that answers requests with the token, or its cookie, and refuses others with status 403.

    Requests that a page of another origin sends (``Origin``, ``Sec-Fetch-Site``) are refused even with the cookie,
    except for following a link to the page.

    Args:
        app: the application behind it.
        token: from `new_token`.
        port: of the application; cookies do not distinguish ports, so its name does.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self.app, self.token, self.cookie = app, token, f"fersweep-demo-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or pass on one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page has no web sockets
            await send({"type": "websocket.close", "code": 1008})
            return
        request = HTTPConnection(scope)
        answer: ASGIApp = self.app
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and self._is_token(given):
            answer = RedirectResponse("/", status_code=303, headers={"Referrer-Policy": "no-referrer"})
            answer.set_cookie(self.cookie, self.token, httponly=True, samesite="lax")
        elif not self._is_token(_cookie(request, self.cookie)):
            answer = PlainTextResponse(NO_TOKEN, status_code=403)
        elif not _is_own(request, scope["method"]):
            answer = PlainTextResponse(OTHER_PAGE, status_code=403)
        await answer(scope, receive, send)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(errors="replace"), self.token.encode())


def _cookie(request: HTTPConnection, name: str) -> str:
    try:
        found = SimpleCookie(request.headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


def _is_own(request: HTTPConnection, method: str) -> bool:
    """Return whether a request comes from this page, or from no page."""
    host = request.headers.get("host", "")
    if (origin := request.headers.get("origin")) is not None and origin != f"http://{host}":
        return False
    site = request.headers.get("sec-fetch-site", "same-origin")
    follows = (
        request.headers.get("sec-fetch-mode") == "navigate" and request.headers.get("sec-fetch-dest") == "document"
    )
    return site in ("same-origin", "none") or (method in ASKING and follows)


def opener(folder: Path, address: str) -> str:
    """Write a page that leads to ``address``, readable for its owner only; return its URL.

    A browser is started with a URL that every user sees in the list of processes, as the token must not be.
    """
    page = folder / "open.html"
    page.touch(mode=0o600)
    page.write_text(f'<meta http-equiv="refresh" content="0; url={address}">', encoding="utf-8")
    return page.as_uri()


class NotUploadedError(ValueError):
    """Path in a request that is not that of an uploaded file."""


def uploaded(path: Any, folder: Path) -> str:
    """Return the path of an uploaded file; nothing is opened.

    Args:
        path: as the request gives it.
        folder: of the uploads.

    Raises:
        NotUploadedError: it is a URL, lies elsewhere, or is not a regular file.
    """
    try:
        real = Path(str(path)).resolve(strict=True)
        if real.is_relative_to(folder.resolve()) and real.is_file():
            return str(real)
    except (OSError, RuntimeError, ValueError) as error:
        raise NotUploadedError("This is not an uploaded file.") from error
    raise NotUploadedError("This is not an uploaded file.")


def only_uploads(page: Any, folder: Path) -> None:
    """Have every component of a Gradio page refuse paths outside ``folder`` before Gradio copies or reads them.

    Gradio compares paths with its upload folder only after its own ``launch``, which a mounted page has not.
    """
    page.has_launched = True
    for block in page.blocks.values():
        move = block.async_move_resource_to_block_cache

        async def checked(path: Any, move: Any = move) -> Any:
            return None if path is None else await move(uploaded(path, folder))

        block.async_move_resource_to_block_cache = checked
