"""What happened to tasks lately, kept in Redis within bounds, so that ``dueq explain`` can tell a task's story.

The store notes producers' steps, together with the step itself. The roles note everything else, and a thread writes
these notes once a second. A process that is killed loses its notes of the last second. Of very many notes a second only
the latest are kept.

An entry is ``at|kind|token|who|id facts``: microseconds by the namespace's clock, what happened, under which claim (0:
none), by whom, to which task, and a JSON object. Entries lie in 16 lists by the first hex digit of SHA-1(id).
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import redis
from redis.exceptions import ResponseError

from ..client.failures import TRANSIENT
from ..client.protocol import Command
from ..client.transactions import Transactions
from ..client.wire import Wires
from .bounds import MOST_NOTES
from .helper_keys import is_of_type, repair
from .keys import Keys

Kind = Literal[
    "scheduled",
    "rescheduled",
    "cancelled",
    "ready",
    "started",
    "unclaimed",
    "done",
    "misfired",
    "retry",
    "snoozed",
    "dead",
    "refused",
    "lost",
    "revived",
    "discarded",
    "again",  # the task asked to run once more after this run
    "apart",  # the run became a dead letter under another id, since the task runs again
]

_encode = json.JSONEncoder(separators=(",", ":")).encode
_EVERY_S = 1.0
_BUFFER = 2000  # notes of one process between two writes; more would not be kept anyway
_AT_ONCE, _BREAK_S = 8, 0.0003  # notes put into words at once, and the break after them
_PAGE = 250  # entries read, or written, by one command


class Event(NamedTuple):
    """One thing that happened to a task."""

    at_us: int
    kind: Kind
    id: str
    token: int = 0
    who: str = ""
    facts: Mapping[str, Any] = {}


def encode(event: Event) -> bytes:
    """The entry of an event."""
    facts = _encode(event.facts) if event.facts else ""
    return f"{event.at_us}|{event.kind}|{event.token}|{event.who}|{event.id} {facts}".encode()


def decode(raw: bytes) -> Event | None:
    """The event of an entry; None if another version of dueq wrote it."""
    try:
        at, kind, token, who, rest = raw.decode().split("|", 4)
        task_id, _, facts = rest.partition(" ")  # an id may hold a |, but no space
        return Event(int(at), kind, task_id, int(token), who, json.loads(facts or "{}"))  # type: ignore[arg-type]
    except ValueError:
        return None


def append(keys: Keys, events: Iterable[Event]) -> list[Command]:
    """Commands that write events, the latest last."""
    lists: dict[str, list[bytes]] = {}
    for event in events:
        lists.setdefault(keys.journal(event.id), []).append(encode(event))
    commands: list[Command] = []
    for key, entries in lists.items():
        some = entries[-MOST_NOTES:]
        commands += [("LPUSH", key, *some[at : at + _PAGE]) for at in range(0, len(some), _PAGE)]
        commands.append(("LTRIM", key, 0, MOST_NOTES - 1))
    return commands


def events_of(client: redis.Redis, keys: Keys, task_id: str) -> list[Event]:
    """The known events of a task, oldest first. Raises redis-py's errors."""
    # each once: a write whose reply was lost is repeated, and new entries shift the pages that are being read
    entries = dict.fromkeys(_entries(client, keys.journal(task_id)))
    found = [event for raw in entries if (event := decode(raw)) is not None and event.id == task_id]
    found.reverse()  # the list has the latest first; for events at one time, the order of writing counts
    return sorted(found, key=lambda event: event.at_us)


def all_events(client: redis.Redis, keys: Keys) -> Iterator[Event]:
    """All events in the journal of a namespace, in no order, for looking at many tasks.

    Raises redis-py's errors.
    """
    for key in keys.journals():
        for raw in dict.fromkeys(_entries(client, key)):
            if (event := decode(raw)) is not None:
                yield event


def _entries(client: redis.Redis, key: str) -> Iterator[bytes]:
    for at in range(0, MOST_NOTES, _PAGE):
        page: Any = client.lrange(key, at, at + _PAGE - 1)
        yield from page


def _with_breaks(events: Iterable[Event]) -> Iterator[Event]:
    """``events``, with breaks in which the main thread can have the interpreter: it may have a task to begin."""
    for number, event in enumerate(events, 1):
        yield event
        if number % _AT_ONCE == 0:
            time.sleep(_BREAK_S)


class Journal:
    """Takes notes for one process, and writes them from a thread of its own once it is started."""

    def __init__(self, client: redis.Redis, keys: Keys, who: str) -> None:
        self._client, self._keys, self._who = client, keys, who
        self._wires = Wires(client)
        self._notes: deque[Event] = deque(maxlen=_BUFFER)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def note(self, at_us: int, kind: Kind, task_id: str, token: int = 0, **facts: Any) -> None:
        """Note what happened, ``at_us`` by the namespace's clock. Any thread may; nothing is sent here."""
        self._notes.append(Event(at_us, kind, task_id, token, self._who, facts))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write the last notes, if Redis takes them, and end."""
        self._stopping.set()
        self._thread.join()
        self.flush()

    def flush(self) -> None:
        """Write the notes. If Redis is away they are kept for the next time, as far as there is room."""
        events = []
        while self._notes:
            events.append(self._notes.popleft())
        if not events:
            return
        commands = append(self._keys, _with_breaks(events))
        try:
            replies = self._wires.call_many(commands)
            error = next((reply for reply in replies if isinstance(reply, ResponseError)), None)
            if error is not None and not is_of_type(error):
                raise error
            if error is not None:
                Transactions(self._client, repair(self._keys)).trip(commands)  # notes written twice are read once
        except TRANSIENT:  # roles report that Redis is away
            if room := _BUFFER - len(self._notes):
                self._notes.extendleft(reversed(events[-room:]))

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY_S):
            self.flush()
