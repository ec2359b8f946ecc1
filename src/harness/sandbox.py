"""Where a replay happens: a server and namespace of its own, and a directory, all gone afterwards."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from ..admin.housekeeping import purge
from ..core.client.embedded import EmbeddedServer
from ..core.client.failures import explained
from ..core.config import Settings
from ..core.namespace import Namespace
from ..core.process.insistence import Insistence

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_S = 0.001  # after a finalizer in which the end was ignored, and until it is heard


@contextlib.contextmanager
def temporary_directory() -> Iterator[Path]:
    """A private directory, removed at the end."""
    name = tempfile.mkdtemp(prefix="dueq-run-")
    try:
        yield Path(name)
    finally:
        with undisturbed():
            # a server or child that had to be killed may write while this goes: not worth an error
            shutil.rmtree(name, ignore_errors=True)


@contextlib.contextmanager
def namespace(redis_url: str | None, strategy: str, directory: Path, purpose: str = "replay") -> Iterator[Namespace]:
    """A fresh namespace: on a server started for it in ``directory``, or on that at ``redis_url``, purged at the end.

    Its name is ``purpose`` and something random. Raises ServerUnavailable, ServerRefused or EmbeddedServerError.
    """
    name = f"{purpose}-{secrets.token_hex(6)}"
    server = None if redis_url else EmbeddedServer(directory / "redis")
    try:
        with undisturbed():  # a server that is just starting cannot be stopped
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
            with undisturbed():
                server.stop()


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Inside, the first SIGINT, SIGTERM or SIGHUP ends the program as an exception does: with everything cleaned up.

    Those that follow it are ignored: an impatient second Ctrl-C must not cut the cleaning up short. What was ignored
    already (``nohup``) still is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    caught = 0
    over = False
    ringing = threading.Lock()
    main = threading.get_ident()

    def leave(number: int, frame: FrameType | None) -> None:
        nonlocal caught
        if caught:
            return
        caught = number
        error = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
        insistence.insist(error, frame)

    def again() -> None:
        nonlocal caught
        number, caught = caught, 0
        threading.Thread(target=ring, args=(number,), daemon=True).start()

    def ring(number: int) -> None:
        # more than once, since a signal just before a blocking call does not interrupt it
        while not caught:
            time.sleep(_AGAIN_S)
            with ringing:
                if over:
                    return
                signal.pthread_kill(main, number)

    insistence = Insistence(again)
    with _handled(leave):
        try:
            with insistence:
                yield
        finally:
            with ringing:  # no ring comes when the signal means something else again
                over = True


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, SIGINT, SIGTERM and SIGHUP wait until the end: for what must not be left half done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    try:
        with _handled(lambda number, frame: came.append(number)):
            yield
    finally:
        if came:
            signal.raise_signal(came[0])


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Inside, ``handler`` gets those of the signals that are not ignored."""
    wanted = [number for number in _ENDING if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, handler) for number in wanted}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
