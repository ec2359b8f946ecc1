"""WATCH/MULTI/EXEC over one connection, for servers without scripts: read, decide here, and write if nothing changed.

Watch only keys that change together with the decision: a hot key would abort every attempt. An aborted attempt is made
again after a random pause that grows, so that no client starves, however many there are ("Exponential Backoff And
Jitter", Marc Brooker, AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import redis
from redis.exceptions import ReadOnlyError, ResponseError

from .connection import server_version
from .protocol import Command
from .wire import Wire, Wires

T = TypeVar("T")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0002, 0.02
_PATIENCE_S = 10.0


class Aborted(Exception):
    """EXEC did nothing: a watched key had changed. ``rest`` has the replies to the commands after EXEC."""

    def __init__(self, rest: list[Any]) -> None:
        super().__init__()
        self.rest = rest


class Contention(ResponseError):
    """Others changed the same keys at every attempt, for seconds."""


Repair = Callable[[Command, ResponseError], Sequence[Command]]
"""Returns commands that remove the cause of a refused command, and repeat it; none if that cannot be done at once."""


class Session:
    """One attempt: reads and watches first, then one commit. Made by ``Transactions``."""

    def __init__(self, wire: Wire, *, careful: bool = False, repair: Repair | None = None) -> None:
        """``careful``: check before EXEC that every command was queued, for servers that would execute the others.
        ``repair`` is called for each command that EXEC refused in a step that it did otherwise."""
        self._wire, self._careful, self._repair = wire, careful, repair
        self._to_watch: list[str | bytes] = []
        self._watching = False

    def watch(self, *keys: str | bytes) -> None:
        """Abort the commit if one of ``keys`` changes from the next ``read`` on."""
        self._to_watch += keys

    def read(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to ``commands``, in one round trip; raises the first error among them."""
        watch: list[Command] = [("WATCH", *dict.fromkeys(self._to_watch))] if self._to_watch else []
        self._watching = self._watching or bool(watch)
        self._to_watch.clear()
        replies = self._repaired([*watch, *commands], self._trip([*watch, *commands]))
        return _sound(replies)[len(watch) :]

    def commit(self, commands: Sequence[Command], then: Sequence[Command] = ()) -> tuple[list[Any], list[Any]]:
        """Do ``commands`` as one step, then ``then`` one by one, in one round trip; returns the replies of both.

        Without ``commands`` only stops watching. Raises Aborted if a watched key had changed, or the first error among
        the replies to ``commands``: then none of them was done. ``then`` is done in any case.
        """
        if not commands:
            unwatch: list[Command] = [("UNWATCH",)] if self._watching else []
            self._watching = False
            return [], _sound(self._trip([*unwatch, *then]))[len(unwatch) :]
        queued = [("MULTI",), *commands]
        closing: list[Command] = [("EXEC",), *then]
        if self._careful:
            _sound(self._trip(queued))  # an error closes the connection, and that discards the rest
            queued = []
        replies = self._trip([*queued, *closing])
        self._watching = False
        _sound(replies[: len(queued)])
        done, *rest = replies[len(queued) :]
        if isinstance(done, ResponseError):
            raise done
        if done is None:
            raise Aborted(_sound(rest))
        return _sound(self._repaired(commands, done)), _sound(rest)

    def _repaired(self, commands: Sequence[Command], done: list[Any]) -> list[Any]:
        """``done``, with new replies to the commands that were refused and could be repaired and repeated."""
        for at, reply in enumerate(done):
            again = self._repair(commands[at], reply) if self._repair and isinstance(reply, ResponseError) else []
            if again:
                done[at] = self._trip(again)[-1]
        return done

    def let_go(self) -> None:
        """Stop watching, if anything is watched."""
        if self._watching:
            self.commit([])

    def _trip(self, commands: Sequence[Command]) -> list[Any]:
        if not commands:
            return []
        self._wire.send_many(commands)
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(self._wire.receive())
            except ResponseError as error:
                replies.append(error)
        return replies


class Transactions:
    """Transactions over the connections of one client. Any thread may use it."""

    def __init__(self, client: redis.Redis, repair: Repair | None = None) -> None:
        """``repair`` is for keys that must not stop a step half-way."""
        self._client, self._wires, self._repair = client, Wires(client), repair
        self._careful: bool | None = None

    def run(self, attempt: Callable[[Session], T]) -> T:
        """Call ``attempt`` until its commit is not aborted, and return what it returns. Raises Contention."""
        deadline = time.monotonic() + _PATIENCE_S
        for pause in pauses():
            try:
                return self.once(attempt)
            except Aborted:
                if time.monotonic() > deadline:
                    raise Contention("BUSY: other clients change the same tasks without end") from None
                time.sleep(pause)
        raise AssertionError("pauses never end")

    def tried(self, attempt: Callable[[Session], T], most: int) -> tuple[T | None, int]:
        """Call ``attempt`` up to ``most`` times, until its commit is not aborted; returns what it returned (None if all
        were aborted), and how many commits were aborted."""
        for aborted, pause in enumerate(islice(pauses(), most)):
            time.sleep(pause)
            try:
                return self.once(attempt), aborted
            except Aborted:
                continue
        return None, most

    def once(self, attempt: Callable[[Session], T]) -> T:
        """Call ``attempt`` once. Raises Aborted if its commit was aborted."""
        # Any error but Aborted closes the wire: it may still watch keys, or (READONLY) its server was demoted. After
        # Aborted it watches nothing: EXEC has ended that.
        with self._wires.lent(Aborted) as wire:
            session = Session(wire, careful=self._is_careful(), repair=self._repair)
            result = attempt(session)
            session.let_go()
            return result

    def trip(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to plain commands in one round trip; raises the first error among them when all are done."""
        return self.once(lambda session: session.read(commands)) if commands else []

    def _is_careful(self) -> bool:
        if self._careful is None:
            version = server_version(self._client)
            self._careful = version is not None and version < (2, 6, 5)
        return self._careful


def pauses() -> Iterator[float]:
    """Seconds to wait after each aborted attempt in a row: none, then random and growing."""
    yield 0.0
    longest = _FIRST_PAUSE_S
    while True:
        yield random.uniform(0, longest)
        longest = min(2 * longest, _LONGEST_PAUSE_S)


def _sound(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, ReadOnlyError):
            raise reply  # before others: it says why they failed
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise reply
    return replies
