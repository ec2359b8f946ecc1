"""The supervisor's web page: /metrics for Prometheus, /livez and /readyz for orchestrators and load balancers."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from prometheus_client import CollectorRegistry, make_wsgi_app

from ..errors import ConfigurationError
from .collector import Collector
from .health import Health
from .http_server import Reply, Request, Server


def serve(collector: Collector, health: Health, host: str, port: int) -> tuple[str, Callable[[], None]]:
    """Serve metrics and health over HTTP from a daemon thread. Returns the URL of the metrics, and a function that
    stops the server within a second.

    Port 0 takes any free one. Raises ConfigurationError if the address cannot be used.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        server = Server(host, port, _pages(registry, health))
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
    server.start()

    def stop() -> None:
        server.stop()
        collector.close()

    return f"http://{_reachable(host)}:{server.port}/metrics", stop


def _pages(registry: CollectorRegistry, health: Health) -> Callable[[Request], Reply]:
    checks = {"/livez": health.not_live, "/readyz": health.not_ready}

    def respond(request: Request) -> Reply:
        path = request.path.rstrip("/")
        if path in ("/metrics", ""):
            return _metrics(registry, request)
        if path in checks:
            reasons = checks[path]()
            return _json(HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK, reasons)
        return _json(HTTPStatus.NOT_FOUND, ["there are /metrics, /livez and /readyz"])

    return respond


def _metrics(registry: CollectorRegistry, request: Request) -> Reply:
    headers: list[tuple[str, str]] = []
    environ: dict[str, Any] = {"REQUEST_METHOD": "GET", "PATH_INFO": request.path, "QUERY_STRING": request.query}
    for name in ("Accept", "Accept-Encoding"):
        if (value := request.headers.get(name)) is not None:
            environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
    body = make_wsgi_app(registry)(environ, lambda status, found: headers.extend(found))
    return Reply(HTTPStatus.OK, headers, b"".join(body))


def _json(status: HTTPStatus, reasons: list[str]) -> Reply:
    body = json.dumps({"ok": not reasons, "reasons": reasons}).encode() + b"\n"
    return Reply(status, [("Content-Type", "application/json")], body)


def _reachable(host: str) -> str:
    if host in ("", "0.0.0.0"):  # every address of this host: name one that can be opened
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host
