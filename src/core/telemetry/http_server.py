"""A small HTTP server for pages that are made per request; it withstands clients that mean harm.

Each connection has a thread, one request and one reply. There are at most ``MOST_CONNECTIONS``: a process has a
limit of files, and dueq needs them for its children. A connection that sends no request in time, or does not take its
reply, is closed; if there are too many, the oldest one without a request makes way for the next.
"""

from __future__ import annotations

import errno
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

log = logging.getLogger("dueq.supervisor")

MOST_CONNECTIONS = 64
REQUEST_S = 5.0
"""How long a connection may take to send its request."""
REPLY_S = 30.0
"""How long a connection may last in all."""

_LOOK_S = 0.25  # between looks for connections whose time is up
_NO_ROOM_S = 0.1  # before another try, when there is no room for a connection: it still waits
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_TOO_MANY = b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Request(NamedTuple):
    """A request; ``query`` is what stands behind the question mark."""

    path: str
    query: str
    headers: Message


class Reply(NamedTuple):
    status: HTTPStatus
    headers: Sequence[tuple[str, str]]
    body: bytes


@dataclass(slots=True, eq=False)
class _Connection:
    socket: socket.socket
    since: float = field(default_factory=time.monotonic)
    requested: bool = False
    dropped: bool = False

    def drop(self) -> None:
        """End it: its thread reads and writes no more, and closes it."""
        self.dropped = True
        _shut(self.socket)


class Server(socketserver.TCPServer):
    """Serves what ``respond`` makes of each GET and HEAD, from threads of its own."""

    allow_reuse_address = True
    request_queue_size = MOST_CONNECTIONS

    def __init__(self, host: str, port: int, respond: Callable[[Request], Reply]) -> None:
        """Port 0 takes any free one. Raises OSError if the address cannot be used."""
        self.respond = respond
        self._connections: dict[socket.socket, _Connection] = {}
        self._lock = threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)
        self.port = int(self.server_address[1])
        self._thread = threading.Thread(target=self.serve_forever, args=(_LOOK_S,), name="dueq-web", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close every connection; returns when no request is served any more, within about a second."""
        self.shutdown()
        self.server_close()
        with self._lock:
            for connection in self._connections.values():
                connection.drop()
        self._thread.join()

    def requested(self, request: socket.socket) -> None:
        """The request has come: from now on the connection is not idle."""
        with self._lock:
            if (connection := self._connections.get(request)) is not None:
                connection.requested = True

    # -- by the thread that accepts

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in _NO_ROOM:
                with self._lock:
                    self._drop_the_oldest_idle()
                time.sleep(_NO_ROOM_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if sum(not each.dropped for each in self._connections.values()) >= MOST_CONNECTIONS:
                self._drop_the_oldest_idle()
            taken = len(self._connections) < 2 * MOST_CONNECTIONS and (
                sum(not each.dropped for each in self._connections.values()) < MOST_CONNECTIONS
            )
            if taken:
                self._connections[request] = _Connection(request)
        if not taken:
            _refuse(request)
            return
        thread = threading.Thread(target=self._serve, args=(request, client_address), name="dueq-web", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no room for a thread
            self._forget(request)
            _refuse(request)

    def service_actions(self) -> None:
        now = time.monotonic()
        with self._lock:
            for connection in self._connections.values():
                if now - connection.since > (REPLY_S if connection.requested else REQUEST_S) and not connection.dropped:
                    connection.drop()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors of the server itself, such as a connection that was gone before it was accepted."""

    def _drop_the_oldest_idle(self) -> None:
        for connection in self._connections.values():  # in the order in which they came
            if not connection.requested and not connection.dropped:
                connection.drop()
                return

    # -- by the thread of a connection

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            return  # the other side is gone, or has used up its time
        finally:
            self._forget(request)
            self.shutdown_request(request)

    def _forget(self, request: socket.socket) -> None:
        with self._lock:
            self._connections.pop(request, None)


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):  # any other method
            return self._not_allowed
        raise AttributeError(name)

    def do_GET(self) -> None:
        self._reply(with_body=True)

    def do_HEAD(self) -> None:
        self._reply(with_body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """A scrape is not logged."""

    def _not_allowed(self) -> None:
        self.server.requested(self.connection)
        self._send(Reply(HTTPStatus.METHOD_NOT_ALLOWED, [("Allow", "GET, HEAD")], b"use GET or HEAD\n"), with_body=True)

    def _reply(self, *, with_body: bool) -> None:
        self.server.requested(self.connection)
        path, _, query = self.path.partition("?")
        try:
            reply = self.server.respond(Request(path, query, self.headers))
        except Exception:  # a fault of one page must not stop the server
            log.exception("the page %s cannot be made", path)
            reply = Reply(HTTPStatus.INTERNAL_SERVER_ERROR, [], b"see the log of dueq\n")
        self._send(reply, with_body=with_body)

    def _send(self, reply: Reply, *, with_body: bool) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if with_body:
            self.wfile.write(reply.body)


def _refuse(request: socket.socket) -> None:
    with suppress(OSError):
        request.send(_TOO_MANY, socket.MSG_DONTWAIT)
    _shut(request)
    request.close()


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
