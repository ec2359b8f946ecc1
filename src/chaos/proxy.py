"""A bad network between dueq and Redis: a proxy on a Unix socket that can delay data, cut connections, swallow replies.

It knows the process at the other end of each connection (SO_PEERCRED), so a fault can hit one process alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

_CHUNK = 1 << 16


@dataclass(eq=False)
class _Link:
    """One connection of an engine's process."""

    pid: int
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    cut_request: bool = False  # pass on only a part of the next request
    cut_reply: bool = False  # pass on only a part of the next reply; Redis has executed its request
    number: int = 0
    """Its number in the order in which connections came."""
    trap: Trap | None = None
    trapped: bytes = b""
    """The request whose reply the trap waits for."""


@dataclass(frozen=True, slots=True)
class Trap:
    """Swallows the reply to a request that has one of ``commands``, and calls ``spring``.

    ``worth`` decides, by request and reply, whether the trap springs; if not, the trap waits for the next request.
    """

    commands: tuple[bytes, ...]
    spring: Callable[[], None]
    worth: Callable[[bytes, bytes], bool] = lambda request, reply: True


@dataclass
class _Faults:
    delay_s: float = 0.0
    silent_until: dict[int, float] = field(default_factory=dict)
    traps: dict[int, Trap] = field(default_factory=dict)


class Proxy:
    """Runs in a thread of its own from the constructor until ``close``."""

    def __init__(self, redis_url: str, directory: Path, seed: str) -> None:
        """``seed`` decides its random choices."""
        parts = urlsplit(redis_url)
        self._path, self._server = directory / "proxy.sock", unquote(parts.path)
        self.url = f"unix://{quote(str(self._path))}?{parts.query}"
        self.cuts = 0
        """How many connections were cut."""
        # one generator for each thread: with a single one, the order of draws would depend on the machine
        self._choices, self._lengths = random.Random(f"{seed} cut"), random.Random(f"{seed} length")
        self._faults, self._accepted = _Faults(), itertools.count()
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="proxy", daemon=True)
        self._thread.start()
        started.wait()

    # -- faults, from any thread

    def delay(self, seconds: float) -> None:
        """Delay all data by half of ``seconds`` in each direction."""
        self._faults.delay_s = seconds / 2

    def cut(self, *, reply: bool) -> int:
        """Cut one open connection in the middle of its next request or reply. Returns the pid of its process."""
        links = sorted(list(self._links), key=lambda link: link.number)  # noqa: C414 - the loop changes the set meanwhile
        if not links:
            return 0
        link = self._choices.choice(links)
        if reply:
            link.cut_reply = True
        else:
            link.cut_request = True
        return link.pid

    def partition(self, pid: int, seconds: float) -> None:
        """Hold back all data to and from a process for ``seconds``, then let it pass."""
        self._faults.silent_until[pid] = time.monotonic() + seconds

    def trap(self, pid: int, trap: Trap) -> None:
        """Set a trap for the next fitting request of a process."""
        self._faults.traps[pid] = trap

    def disarm(self) -> None:
        """Remove every trap that has not sprung yet."""
        self._faults.traps.clear()

    def close(self) -> None:
        """End the proxy and every connection."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._path.unlink(missing_ok=True)

    # -- the loop's thread

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(started))
        self._loop.close()

    async def _serve(self, started: threading.Event) -> None:
        server = await asyncio.start_unix_server(self._accept, str(self._path))
        started.set()
        async with server:
            await self._stopping.wait()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._spawn(self._connect(reader, writer, next(self._accepted)))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        try:
            from_server, to_server = await asyncio.open_unix_connection(self._server)
        except OSError:
            writer.close()  # Redis cannot be reached, so neither can the proxy
            return
        link = _Link(_peer(writer), writer, to_server, number=number)
        self._links.add(link)
        with contextlib.suppress(OSError):
            # the end of one direction ends both
            pumps = [
                asyncio.ensure_future(self._up(reader, link)),
                asyncio.ensure_future(self._down(from_server, link)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        self._links.discard(link)
        writer.close()
        to_server.close()

    async def _up(self, reader: asyncio.StreamReader, link: _Link) -> None:
        while data := await reader.read(_CHUNK):
            await self._hold_up(link.pid)
            if link.cut_request:
                self.cuts += 1
                link.server.write(data[: self._lengths.randrange(len(data))])
                await link.server.drain()
                return
            trap = self._faults.traps.get(link.pid)
            if trap is not None and any(b"\r\n" + command + b"\r\n" in data for command in trap.commands):
                link.trap, link.trapped = trap, data
            link.server.write(data)
            await link.server.drain()

    async def _down(self, reader: asyncio.StreamReader, link: _Link) -> None:
        while data := await reader.read(_CHUNK):
            await self._hold_up(link.pid)
            trap, link.trap = link.trap, None
            if trap is not None and trap.worth(link.trapped, data):
                self._faults.traps.pop(link.pid, None)
                trap.spring()
                return
            if link.cut_reply:
                self.cuts += 1
                link.client.write(data[: self._lengths.randrange(len(data))])
                await link.client.drain()
                return
            link.client.write(data)
            await link.client.drain()

    async def _hold_up(self, pid: int) -> None:
        if self._faults.delay_s:
            await asyncio.sleep(self._faults.delay_s)
        while (left := self._faults.silent_until.get(pid, 0.0) - time.monotonic()) > 0:
            await asyncio.sleep(left)


def _peer(writer: asyncio.StreamWriter) -> int:
    peer = writer.get_extra_info("socket")
    pid, _, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(pid)
