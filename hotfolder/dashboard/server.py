"""Runs the dashboard in a thread of the daemon."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import uvicorn

from ..dashboard_address import keep_address
from ..health import HealthDocument
from ..settings import HotFolderSettings, HttpSettings
from .app import dashboard
from .folder_view import FolderView
from .guard import Guard, own_token

CLOSE_S = 5.0


class DashboardServer:
    """A server that listens from the moment it is made; a port that is taken is an OSError."""

    def __init__(
        self,
        http: HttpSettings,
        health: Callable[[], HealthDocument],
        root: Path,
        state: Path,
        settings: HotFolderSettings,
    ) -> None:
        family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((http.host, http.port))
            self._socket.listen()  # whoever asks before the thread runs waits for it
        except OSError:
            self._socket.close()
            raise
        guard = Guard(http.host, http.token or own_token(state), open_reading=http.token is None)
        app = dashboard(FolderView(root, state, settings, health), guard)
        config = uvicorn.Config(
            app, log_level="critical", access_log=False, lifespan="off", server_header=False
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )
        self._thread.start()
        keep_address(state, self.url, own_token=http.token is None)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def close(self) -> None:
        """Stop listening."""
        self._server.should_exit = True
        self._thread.join(timeout=CLOSE_S)
        self._socket.close()
