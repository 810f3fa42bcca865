"""Who may ask what: the Host that a browser names, where a request comes from, the token.

A page from anywhere can make a browser send requests to this machine. Three things keep such
pages out: the Host must be one of ours (a name that was rebound to 127.0.0.1 is not), a request
that changes something must come from our own page, and it must bear the token in a header,
which no foreign page can set.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import secrets
import socket
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ..dashboard_address import TOKEN_FILE

COOKIE = "stemwright"
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class Guard:
    """A guard that lets a request pass or says why not.

    `open_reading` lets whoever reaches a loopback address read without the token, as `/health`
    always did; a changing request needs the token everywhere.
    """

    def __init__(self, host: str, token: str, *, open_reading: bool) -> None:
        self._token, self._open = token, open_reading
        own = {host, f"[{host}]", socket.gethostname().lower(), socket.getfqdn().lower()}
        self._hosts = {*LOOPBACK, *own}
        self._anywhere = not _is_loopback(host)

    def refuse(self, request: Request) -> Response | None:
        """The refusal, or None for a request that may pass."""
        if not self._is_our_host(request.headers.get("host", "")):
            return PlainTextResponse("this name is not one of this server's\n", 421)
        if request.method in ("GET", "HEAD"):
            if (
                self._open
                or request.url.path in ("/", "/login")
                or self._has_token(request, cookie=True)
            ):
                return None
            return PlainTextResponse("a bearer token is needed\n", 401)
        if not self._is_our_page(request):
            return PlainTextResponse("the request comes from another page\n", 403)
        if not self._has_token(request, cookie=False):
            return PlainTextResponse("a bearer token is needed\n", 401)
        return None

    @property
    def cookie(self) -> str:
        """What a browser shows for reading, so that sound can be played from an address."""
        return hmac.new(self._token.encode(), b"read", "sha256").hexdigest()

    def _has_token(self, request: Request, *, cookie: bool) -> bool:
        header = request.headers.get("authorization", "")
        if hmac.compare_digest(header.encode(), f"Bearer {self._token}".encode()):
            return True
        shown = request.cookies.get(COOKIE, "")
        return cookie and hmac.compare_digest(shown.encode(), self.cookie.encode())

    def _is_our_host(self, host: str) -> bool:
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if name.lower() in self._hosts:
            return True
        return self._anywhere and _is_address(name.strip("[]"))

    def _is_our_page(self, request: Request) -> bool:
        origin = request.headers.get("origin")
        return origin is None or origin == f"{request.url.scheme}://{request.headers.get('host')}"


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def own_token(state: Path) -> str:
    """The token of a hot folder whose settings name none: made once, readable by its owner."""
    path = state / TOKEN_FILE
    try:
        kept = path.read_text(encoding="ascii").strip()
        if len(kept) >= 32:
            return kept
    except (OSError, UnicodeDecodeError):
        pass
    token = secrets.token_urlsafe(32)
    aside = path.with_name(f".{TOKEN_FILE}-{secrets.token_hex(4)}")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(token + "\n")
    aside.replace(path)
    return token
