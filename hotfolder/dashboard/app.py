"""The routes of the dashboard: a page, its data as JSON, and requests that change something."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
)
from starlette.routing import Route

from presets import StemwrightError

from ..health import metrics_of
from .folder_view import FolderView
from .guard import COOKIE, Guard

Handler = Callable[[Request], Awaitable[Response]]

LONGEST_BODY = 4096
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "SAMEORIGIN",
    "Cache-Control": "no-store",
}
NOT_FOUND = ("unknown-job", "no-such-file", "no-such-group", "not-done", "manifest-unreadable")


def dashboard(view: FolderView, guard: Guard) -> Starlette:
    """The application for one hot folder."""

    async def guarded(request: Request, answer: Handler) -> Response:
        response = guard.refuse(request) or await answer(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    app = Starlette(
        routes=[*_open_routes(view, guard), *_reading_routes(view), *_changing_routes(view)],
        exception_handlers={StemwrightError: _refused},
    )
    app.add_middleware(BaseHTTPMiddleware, dispatch=guarded)
    return app


def _open_routes(view: FolderView, guard: Guard) -> list[Route]:
    """The page, its login, and what monitors ask."""

    async def page(_: Request) -> Response:
        return HTMLResponse(_asset())

    async def login(request: Request) -> Response:
        response = JSONResponse({"message": "welcome"})
        response.set_cookie(COOKIE, guard.cookie, httponly=True, samesite="strict")
        return response

    async def health(_: Request) -> Response:
        document = view.health()
        return JSONResponse(document, 200 if document["healthy"] else 503)

    async def metrics(_: Request) -> Response:
        return PlainTextResponse(metrics_of(view.health()), media_type="text/plain; version=0.0.4")

    return [
        Route("/", page),
        Route("/login", login, methods=["POST"]),
        Route("/health", health),
        Route("/metrics", metrics),
    ]


def _reading_routes(view: FolderView) -> list[Route]:
    return [
        Route("/api/overview", _reading(lambda request: view.overview())),
        Route("/api/jobs", _reading(lambda r: view.jobs(_group(r), _page(r)))),
        Route("/api/jobs/{job}", _reading(lambda r: view.job(r.path_params["job"]))),
        Route("/api/jobs/{job}/files/{number:int}", _file(
            lambda r: view.stem_file(r.path_params["job"], r.path_params["number"]))),
        Route("/sets/{job}/report.html", _file(
            lambda r: view.page_file(r.path_params["job"], None))),
        Route("/sets/{job}/report/{name}", _file(
            lambda r: view.page_file(r.path_params["job"], r.path_params["name"]))),
    ]  # fmt: skip


def _changing_routes(view: FolderView) -> list[Route]:
    return [
        Route("/api/jobs/{job}/retry", _changing(
            lambda r, preset: view.retry(r.path_params["job"], preset)), methods=["POST"]),
        Route("/api/jobs/{job}/cancel", _changing(
            lambda r, _: view.cancel(r.path_params["job"])), methods=["POST"]),
        Route("/api/pause", _changing(lambda r, _: view.pause()), methods=["POST"]),
        Route("/api/resume", _changing(lambda r, _: view.resume()), methods=["POST"]),
    ]  # fmt: skip


def _asset() -> str:
    return files(__package__).joinpath("assets", "dashboard.html").read_text(encoding="utf-8")


def _reading(ask: Callable[[Request], Mapping[str, object]]) -> Handler:
    async def answer(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(ask, request))

    return answer


def _file(find: Callable[[Request], Path]) -> Handler:
    """A file, in pieces where a player asks for a range."""

    async def answer(request: Request) -> Response:
        return FileResponse(await run_in_threadpool(find, request))

    return answer


def _changing(act: Callable[[Request, str | None], str]) -> Handler:
    """A request that changes something; its body may name a preset."""

    async def answer(request: Request) -> Response:
        preset = _preset_in(await request.body())
        return JSONResponse({"message": await run_in_threadpool(act, request, preset)})

    return answer


def _preset_in(body: bytes) -> str | None:
    if len(body) > LONGEST_BODY:
        raise StemwrightError("bad-request", f"expected at most {LONGEST_BODY} bytes.")
    try:
        found = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise StemwrightError("bad-request", "expected a JSON object.")
    preset = found.get("preset")
    if preset is not None and not isinstance(preset, str):
        raise StemwrightError("bad-request", "expected a preset's name.")
    return preset


def _group(request: Request) -> str:
    return request.query_params.get("group", "work")


def _page(request: Request) -> int:
    text = request.query_params.get("page", "0")
    return int(text) if text.isdecimal() and len(text) < 8 else 0


async def _refused(_: Request, error: Exception) -> Response:
    code = getattr(error, "code", "")
    return JSONResponse({"message": str(error), "code": code}, 404 if code in NOT_FOUND else 409)
