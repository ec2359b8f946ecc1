"""Workers that serve more queues than a step can name: a set in Redis has the names, once for all such workers.

A worker that serves up to sixteen queues names them in each of its steps, and waits for the wake-ups of each. A worker
of more queues would send thousands of names a task, and Redis would look at them all. So its queues are written into a
zset, named by a digest of them, which every worker of the same queues shares. A step takes tasks from those queues of
the set that have work, and one wake-up list stands for the whole set. A step that makes tasks ready pushes to that
list, beside the queue's own. ``meta`` names the sets that exist, so where there is none this costs nothing. Each use
keeps a set alive; a set that nobody has used for an hour is cleared away.

There are sets only where the server runs scripts: else a worker names all its queues in every step.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..client.protocol import SHOWN, Command
from ..client.transactions import Session
from ..schema.bounds import MOST_NAMED_QUEUES
from ..schema.keys import Keys
from ..schema.script import Script
from ..schema.wakeups import push_wakeups, wake_workers

_TRUSTED_S = 30.0
_NAMES = 500  # written by one step
_UNFINISHED_S = 60


class Crowd(list[str]):
    """More queues than can be named in every step; served ``in_turns``, or else in this order of preference."""

    def __init__(self, queues: Sequence[str], *, in_turns: bool) -> None:
        super().__init__(queues)
        names = sorted(queues) if in_turns else queues
        self.in_turns = in_turns
        self.name = hashlib.sha1(" ".join((str(in_turns), *names)).encode(), usedforsecurity=False).hexdigest()[:16]

    @property
    def mark(self) -> str:
        """The name that stands for all of them in a step: no queue has such a name."""
        return ("*" if self.in_turns else "=") + self.name

    @property
    def wakeup(self) -> str:
        """The name of the wake-up list that stands for all of them."""
        return f"*{self.name}"


def served(queues: Sequence[str], *, in_turns: bool) -> list[str]:
    """``queues`` as a worker passes them to the store."""
    return Crowd(queues, in_turns=in_turns) if len(queues) > MOST_NAMED_QUEUES else list(queues)


def named(queues: Sequence[str]) -> Sequence[str]:
    """How a step names ``queues``."""
    return (queues.mark,) if isinstance(queues, Crowd) else queues


class Crowds:
    """The sets that this process uses."""

    def __init__(self, keys: Keys, keep: Script, write: Script) -> None:
        self._keys, self._keep, self._write_some = keys, keep, write
        self._kept_at: dict[str, float] = {}

    def keep(self, queues: Sequence[str], *, trusted_s: float = _TRUSTED_S) -> bool:
        """Make sure that the set of ``queues`` exists, unless that was done in the last ``trusted_s`` seconds.

        True if it was missing. Nothing is done for queues that are named in every step.
        """
        if not isinstance(queues, Crowd) or time.monotonic() < self._kept_at.get(queues.name, -trusted_s) + trusted_s:
            return False
        missing = not self._keep(queues.name, "")
        if not missing or self._write(queues):
            self._kept_at[queues.name] = time.monotonic()
        return missing

    def _write(self, crowd: Crowd) -> bool:
        """Write the set under another name first, so that a set that exists is whole. False if it does not exist after
        all."""
        fresh = self._keys.of("serves", f"{crowd.name}.{secrets.token_hex(6)}")
        for at in range(0, len(crowd), _NAMES):
            self._write_some(fresh, _UNFINISHED_S, at, *crowd[at : at + _NAMES])
        return bool(self._keep(crowd.name, fresh))


def crowds_question(keys: Keys) -> Command:
    """The command whose reply names the sets that exist, for ``wakeups_for``."""
    return ("HGET", keys.plain("meta"), "crowds")


def wakeups_for(session: Session, keys: Keys, tasks: Mapping[str, int], crowds: bytes | None) -> list[Command]:
    """Commands that wake the workers of sets for ``tasks``, the number made ready in each queue; for the same MULTI.

    ``crowds`` is the reply to ``crowds_question``, read while ``meta`` was watched.
    """
    names = (crowds or b"").decode(errors=SHOWN).split()
    pairs = [(name, queue) for name in names for queue in tasks]
    places = session.read([("ZSCORE", keys.of("serves", name), queue) for name, queue in pairs]) if pairs else []
    unnamed = [pair for pair, place in zip(pairs, places, strict=True) if place is not None]
    return [
        *(command for queue, count in tasks.items() for command in wake_workers(keys, queue, count)),
        *(command for name, queue in unnamed for command in push_wakeups(keys, f"*{name}", tasks[queue])),
    ]


def keys_of_all(client: Any, keys: Keys) -> list[str]:
    """The keys of every set that ``meta`` names."""
    names = (client.hget(keys.plain("meta"), "crowds") or b"").decode(errors=SHOWN).split()
    return [key for name in names for key in (keys.of("serves", name), keys.of("wakeup", f"*{name}"))]
