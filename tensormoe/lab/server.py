"""The page's server: three files and one question. It reads and writes no other file."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import TimeoutError as TooLong
from contextlib import asynccontextmanager
from importlib.resources import files
from multiprocessing import get_context

from pebble import ProcessExpired, ProcessPool
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .view import View, show

# Layers that are planned, proved and drawn for longer are given up, with the process that does it.
SECONDS = 10
_MOST_BYTES = 16_384
# Nothing but the page's own files runs or is loaded, and no other page shows it.
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
_FILES = {
    "/": ("index.html", "text/html"),
    "/lab.js": ("lab.js", "text/javascript"),
    "/lab.css": ("lab.css", "text/css"),
}
_TOO_LONG = f"this takes more than {SECONDS} seconds: choose fewer or smaller cores"
_FAILED = "this could not be shown, which is a fault of ours: the terminal says more"


def make_app(seconds: float = SECONDS) -> Starlette:
    """The application.

    Requests that name another host are refused: a page elsewhere could otherwise ask by a name that its
    owner points at this machine. So are questions that a page elsewhere may send without being allowed to.

    Args:
        seconds: how long an answer may take.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        # A process of its own can be ended when it takes too long. Ctrl-C is the server's to hear.
        own = get_context("spawn")
        with ProcessPool(max_workers=1, initializer=_ignore_interrupts, context=own) as pool:
            app.state.pool = pool
            # What it imports is there before the first question.
            pool.schedule(show, args=((),))
            yield
            pool.stop()  # type: ignore[no-untyped-call]

    async def ask(request: Request) -> Response:
        forms = await _read(request)
        if forms is None:
            return Response("pass a list of one or two layers as JSON", 400, headers=_HEADERS)
        return JSONResponse(await _compute(request.app.state.pool, forms, seconds), headers=_HEADERS)

    routes = [Route(path, _serve(*file)) for path, file in _FILES.items()]
    return Starlette(
        routes=[*routes, Route("/show", ask, methods=["POST"])],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
        lifespan=lifespan,
    )


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


async def _read(request: Request) -> Sequence[object] | None:
    """The forms of a question; None if it is not one."""
    if request.headers.get("content-type") != "application/json":
        return None
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BYTES:
            return None
    try:
        forms = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return forms if isinstance(forms, list) and 1 <= len(forms) <= 2 else None


async def _compute(pool: ProcessPool, forms: Sequence[object], seconds: float) -> View:
    future = pool.schedule(show, args=(forms,), timeout=seconds)
    try:
        return await asyncio.wrap_future(future)
    except TooLong:
        text = _TOO_LONG
    except (ProcessExpired, Exception) as error:
        print(f"tensormoe lab: {error!r}", file=sys.stderr)
        text = _FAILED
    return {"layers": [{"error": text, "field": "notation"} for _ in forms], "together": ""}


def _serve(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    content = files(__package__).joinpath(name).read_bytes()

    async def respond(request: Request) -> Response:
        return Response(content, media_type=kind, headers=_HEADERS)

    return respond
