"""The surroundings of a run: a server, a namespace and a directory of its own, all removed at the end."""

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
_AGAIN_S = 0.001  # between repeated signals, while the exception was swallowed in a finalizer


@contextlib.contextmanager
def temporary_directory() -> Iterator[Path]:
    """A private directory, removed at the end."""
    name = tempfile.mkdtemp(prefix="dueq-run-")
    try:
        yield Path(name)
    finally:
        with undisturbed():
            # a process that had to be killed may still write: not worth an error
            shutil.rmtree(name, ignore_errors=True)


@contextlib.contextmanager
def namespace(redis_url: str | None, strategy: str, directory: Path, purpose: str = "replay") -> Iterator[Namespace]:
    """A fresh namespace: on a server started for it in ``directory``, or on that at ``redis_url``, purged at the end.

    Its name is ``purpose`` and a random part. Raises ServerUnavailable, ServerRefused or EmbeddedServerError.
    """
    name = f"{purpose}-{secrets.token_hex(6)}"
    server = None if redis_url else EmbeddedServer(directory / "redis")
    try:
        with undisturbed():  # a server that is still starting cannot be stopped
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
    """Inside, the first SIGINT, SIGTERM or SIGHUP ends the program by an exception, so that everything is cleaned up.

    Later signals are ignored: an impatient second Ctrl+C must not cut the clean-up short. A signal that was ignored
    before (``nohup``) stays ignored.
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
            with ringing:  # no repeated signal may arrive after the old handlers are back
                over = True


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, SIGINT, SIGTERM and SIGHUP wait until the end: for steps that must not be left half done."""
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
    """Inside, ``handler`` handles those of the three signals that are not ignored."""
    wanted = [number for number in _ENDING if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, handler) for number in wanted}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
