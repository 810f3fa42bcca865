"""The optional HTTP endpoint: `/health` for people and monitors, `/metrics` for Prometheus."""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .health import HealthDocument, metrics_of
from .settings import HttpSettings

REQUEST_TIMEOUT_S = 5


class HealthServer:
    """Serves what `health` returns at the moment of the request, from its own thread."""

    def __init__(self, settings: HttpSettings, health: Callable[[], HealthDocument]) -> None:
        self._server = ThreadingHTTPServer(
            (settings.host, settings.port), _handler(settings.token, health)
        )
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


def _handler(
    token: str | None, health: Callable[[], HealthDocument]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_TIMEOUT_S
        server_version = "stemwright"
        sys_version = ""

        def do_GET(self) -> None:
            if not self._is_authorised():
                self._send(401, "text/plain", "a bearer token is needed\n")
                return
            document = health()
            if self.path == "/metrics":
                self._send(200, "text/plain; version=0.0.4", metrics_of(document))
            elif self.path == "/health":
                code = 200 if document["healthy"] else 503
                self._send(code, "application/json", json.dumps(document, indent=2) + "\n")
            else:
                self._send(404, "text/plain", "/health or /metrics\n")

        def _is_authorised(self) -> bool:
            if token is None:
                return True
            header = self.headers.get("Authorization", "")
            return hmac.compare_digest(header.encode(), f"Bearer {token}".encode())

        def _send(self, code: int, kind: str, text: str) -> None:
            body = text.encode()
            self.send_response(code)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Requests are not transitions; they are not logged."""

    return Handler
