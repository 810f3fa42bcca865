"""The HTTP server of a daemon, which other settings open, move and close."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .logs import log_event
from .settings import HttpSettings


class Server(Protocol):
    """What answers while it is open."""

    @property
    def url(self) -> str:
        """Where it listens."""

    def close(self) -> None:
        """Stop listening."""


class OptionalServer:
    """At most one server; `trouble` says why there is none although there should be one."""

    def __init__(self, serve: Callable[[HttpSettings], Server]) -> None:
        self.trouble: str | None = None
        self._serve = serve
        self._server: Server | None = None

    @property
    def url(self) -> str | None:
        """Where it listens, if it does."""
        return None if self._server is None else self._server.url

    def open(self, settings: HttpSettings | None) -> None:
        """Listen as the settings say, and not as they said before."""
        self.close()
        self.trouble = None
        if settings is None:
            return
        try:
            self._server = self._serve(settings)
        except OSError as error:
            self.trouble = f"http: {error.strerror}"
        else:
            log_event("listening", url=self._server.url)

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            self._server = None
