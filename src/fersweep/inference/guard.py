"""Access to the page of ``fersweep demo``: for its owner alone, and to uploaded files alone.

A port on 127.0.0.1 is open to every user and web page of the machine. As in Jupyter, the address that is printed holds
a token, which the browser keeps as a cookie.
"""

from __future__ import annotations

import hmac
import secrets
import sys
from abc import ABCMeta
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from fersweep.errors import extra

ASKING = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing, so that their origin need not be known."""

NO_TOKEN = "Open the address that fersweep demo has printed, with its token.\n"
NOT_UPLOADED = "This is not an uploaded file."
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
        raise NotUploadedError(NOT_UPLOADED) from error
    raise NotUploadedError(NOT_UPLOADED)


def only_uploads(page: Any, folder: Path) -> None:
    """Have every component of a Gradio page refuse paths outside ``folder`` before Gradio copies or reads them.

    Gradio compares paths with its upload folder only after its own ``launch``, which a mounted page has not. An update
    makes Gradio create a component anew from its class, so the class is replaced, not the object's method. A request
    that is refused, or makes no sense, is one line on standard error.
    """
    with extra("fersweep demo"):
        from gradio import Error
        from gradio.components import Component
        from gradio.exceptions import InvalidPathError

    page.has_launched = True
    for block in page.blocks.values():
        if isinstance(block, Component):
            block.__class__ = _careful(type(block), folder)
    read = page.preprocess_data

    async def checked(*arguments: Any, **options: Any) -> Any:
        try:
            return await read(*arguments, **options)
        except Exception as error:
            path = isinstance(error, NotUploadedError | InvalidPathError)
            reason = NOT_UPLOADED if path else "The request does not fit the page."
            print(f"Refused: {reason}", file=sys.stderr, flush=True)
            raise Error(reason, print_exception=False) from error

    page.preprocess_data = checked


def _careful(kind: Any, folder: Path) -> type:
    """Return a subclass of a Gradio component, by the same name, that moves uploaded files only."""

    async def moved(self: Any, path: Any) -> Any:
        return None if path is None else await kind.async_move_resource_to_block_cache(self, uploaded(path, folder))

    own = {"__module__": kind.__module__, "__doc__": kind.__doc__, "async_move_resource_to_block_cache": moved}
    # Not by a call: Gradio's metaclass would rewrite the stub files of its installation for a class of this name.
    return ABCMeta.__new__(type(kind), kind.__name__, (kind,), own)
