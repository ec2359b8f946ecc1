"""A slow link to a server: all data arrives later, in each direction by its own delay, and delays nothing else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Queue
from urllib.parse import quote, unquote, urlsplit


class Link:
    """The delays of a link, in seconds. ``url`` is the address of its near end."""

    def __init__(self, url: str, there_s: float, back_s: float) -> None:
        self.url, self._there_s, self._back_s = url, there_s, back_s
        self._stalls: list[float] = []

    def stall(self, *seconds: float) -> None:
        """Delay the next replies by so much more."""
        self._stalls = list(seconds)

    def join(self, client: socket.socket, server: str) -> None:
        """Pass on data between the client and the server, until one closes the connection."""
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(server)
        _pass_on(client, upstream, lambda: self._there_s)
        _pass_on(upstream, client, self._back)

    def _back(self) -> float:
        return self._back_s + (self._stalls.pop(0) if self._stalls else 0.0)


def _pass_on(source: socket.socket, sink: socket.socket, delay: Callable[[], float]) -> None:
    """One direction of a connection: a thread that reads, and one that writes what is to wait, when it is time.

    What need not wait, and has nothing before it that does, is passed on at once: to wake a thread may take
    milliseconds.
    """
    waiting: Queue[tuple[float, bytes]] = Queue()

    def read() -> None:
        data = b"something"
        while data:
            try:
                data = source.recv(1 << 16)
                pause = delay()
                if data and not pause and not waiting.unfinished_tasks:
                    sink.sendall(data)
                    continue
            except OSError:  # it was closed from here, or the other end hung up, which is passed on
                data, pause = b"", 0.0
            waiting.put((time.monotonic() + pause, data))

    def write() -> None:
        with suppress(OSError):
            while (item := waiting.get())[1]:
                time.sleep(max(0.0, item[0] - time.monotonic()))
                sink.sendall(item[1])
                waiting.task_done()
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    for work in (read, write):
        threading.Thread(target=work, daemon=True).start()


@contextmanager
def slow(url: str, directory: Path, *, there_s: float = 0.0, back_s: float = 0.0) -> Iterator[Link]:
    """A link to the server at ``url``, at an address of its own."""
    path, server = directory / "link", unquote(urlsplit(url).path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(128)
        link = Link(f"unix://{quote(str(path))}?db=0", there_s, back_s)

        def accept() -> None:
            with suppress(OSError):  # the end
                while True:
                    link.join(listener.accept()[0], server)

        threading.Thread(target=accept, daemon=True).start()
        yield link
        listener.shutdown(socket.SHUT_RDWR)
