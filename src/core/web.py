"""The supervisor's web page: /metrics for Prometheus, /livez and /readyz for whoever restarts or routes."""

from __future__ import annotations

import errno
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from .errors import ConfigurationError
from .exposition import Board
from .health import Health

Answer = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _IPv6Server(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """A scrape is no news."""


def serve(board: Board, health: Health, host: str, port: int) -> tuple[str, Callable[[], None]]:
    """Show both over HTTP from a daemon thread; returns the URL of the metrics, and what stops it (within 1 s).

    Port 0 takes any free one. Raises ConfigurationError if the address cannot be used.
    """
    registry = CollectorRegistry()
    registry.register(board)
    try:
        kind = _IPv6Server if ":" in host else _Server
        server = make_server(host, port, _application(registry, health), kind, _Quiet)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"port {port} on {host} is taken, perhaps by another dueq: choose another for the metrics page, or let "
                f"--metrics-port 0 take any free one"
            ) from error
        raise ConfigurationError(
            f"the metrics page cannot be served on {host}, port {port}: {error}; choose another address or port "
            f"(--metrics-port 0 takes any free one)"
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="web", daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()
        board.close()

    return f"http://{_reachable(host)}:{server.server_port}/metrics", stop


def _application(registry: CollectorRegistry, health: Health) -> Answer:
    metrics: Answer = make_wsgi_app(registry)
    questions = {"/livez": health.not_live, "/readyz": health.not_ready}

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"].rstrip("/")
        if path in ("/metrics", ""):
            return metrics(environ, start_response)
        if path in questions:
            reasons = questions[path]()
            return _json(start_response, "503 Service Unavailable" if reasons else "200 OK", reasons)
        return _json(start_response, "404 Not Found", ["there are /metrics, /livez and /readyz"])

    return answer


def _json(start_response: Callable[..., Any], status: str, reasons: list[str]) -> list[bytes]:
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps({"ok": not reasons, "reasons": reasons}).encode() + b"\n"]


def _reachable(host: str) -> str:
    if host in ("", "0.0.0.0"):  # every address of this host: name one that can be opened
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host
