"""Which task names a process knows: a claim puts tasks of other names aside (see ``unclaimed``).

The scripts read the names from a field of ``meta``, ``names:<digest>``: when it was written, in seconds, then the names
between quotes, as they stand in a call: ``1764372000"shop.mail"shop.bill"``. Processes of one application share the
field. A process that finds it gone (Redis lost it, or it was cleared away as old) writes it again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable

from ..client.protocol import Command
from ..schema.keys import Keys
from ..schema.record import name_in_call
from ..schema.wakeups import push_wakeups

NEWER = '"newer"'
"""Stands for the name of a record that a newer dueq wrote: no name has quotes in it."""
NOWHERE = "?"
"""Stands for the queue of such a record where only the record itself has the queue: no queue has this name."""

_FIELD = b"names:"
_OLD_S = 86_400


class KnownNames:
    """The names that one process knows; all of them, until it says which."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._names: frozenset[str] | None = None
        self.field = ""
        """The field of ``meta`` that has the names; empty: every name is known."""
        self._text = ""

    def learn(self, names: Iterable[str] | None) -> None:
        """Know these names from now on, and no others; None: every name."""
        if names is None:
            self._names, self.field = None, ""
            return
        self._names = frozenset(map(name_in_call, names))
        self._text = '"' + "".join(f'{name}"' for name in sorted(self._names))
        self.field = (
            "names:"
            + hashlib.sha1(self._text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()[:16]
        )

    def __contains__(self, name: str) -> bool:
        """Whether a task of this name can be run. ``name`` is as it stands in a call (see ``record.task_of``)."""
        return name != NEWER and (self._names is None or name in self._names)

    @property
    def text(self) -> str:
        """What ``field`` is to have: when this was asked, and the names."""
        return f"{int(time.time())}{self._text}"

    def wakeup_keys(self) -> list[str]:
        """The keys that receive a wake-up when a task was put aside whose name this process knows."""
        return [self._keys.of("wakeup", self.field)] if self.field else []


def wake_knowing(keys: Keys, meta: dict[bytes, bytes], names: Iterable[str]) -> list[Command]:
    """Wake a worker of each application that knows one of ``names``; ``meta`` is the whole hash."""
    quoted = [f'"{name}"'.encode("utf-8", "surrogateescape") for name in names]
    return [
        command
        for field, text in meta.items()
        if field.startswith(_FIELD) and any(name in text for name in quoted)
        for command in push_wakeups(keys, field.decode("utf-8", "replace"), 1)
    ]


def outdated(keys: Keys, meta: dict[bytes, bytes]) -> list[Command]:
    """Commands that clear away names written more than a day ago: a process that still needs them writes them again."""
    latest, commands = time.time() - _OLD_S, list[Command]()
    for field, text in meta.items():
        written = text.partition(b'"')[0]
        if field.startswith(_FIELD) and not (written.isdigit() and len(written) < 16 and int(written) > latest):
            commands += [("HDEL", keys.plain("meta"), field)]
            commands += [("DEL", keys.of("wakeup", field.decode("utf-8", "replace")))]
    return commands
