"""Where a replay happens: a server and namespace of its own, and a directory, all gone afterwards."""

from __future__ import annotations

import contextlib
import secrets
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from ..core.config import Settings
from ..core.connection import explained
from ..core.embedded import EmbeddedServer
from ..core.housekeeping import purge
from ..core.namespace import Namespace


@contextlib.contextmanager
def temporary_directory() -> Iterator[Path]:
    """A private directory, removed at the end."""
    # a server or child that had to be killed may write while this goes: not worth an error
    with tempfile.TemporaryDirectory(prefix="dueq-run-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.contextmanager
def namespace(redis_url: str | None, strategy: str, directory: Path) -> Iterator[Namespace]:
    """A fresh namespace: on a server started for it in ``directory``, or on that at ``redis_url``, purged at the end.

    Raises ServerUnavailable, ServerRefused or EmbeddedServerError.
    """
    name = f"replay-{secrets.token_hex(6)}"
    server = None if redis_url else EmbeddedServer(directory / "redis")
    try:
        url = redis_url or (server.start() if server else "")
        opened = Namespace.open(Settings(url, name, strategy))
        try:
            yield opened
        finally:
            if server is None:
                with explained(url):
                    purge(opened)
            opened.close()
    finally:
        if server is not None:
            server.stop()


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP end the program as SystemExit does: with everything cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
