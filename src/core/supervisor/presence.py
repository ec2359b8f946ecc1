"""A supervisor's presence in Redis: a thread that keeps the supervisor's entry in the registry.

The entry has a thread of its own, since a Redis that hangs must not hold up the loop that looks after the children. The
thread sends a command every 15 seconds, and one more only if the children have changed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from redis.exceptions import ResponseError

from ..client.failures import TRANSIENT, Patience, described
from ..client.redaction import redact
from ..errors import DueqError
from ..namespace import Namespace
from ..upkeep import engines as registry
from ..upkeep.engines import Role, Served, about_me

log = logging.getLogger("dueq.supervisor")

_BEAT_S = 15.0
_LOOK_S = 5.0  # at the children


class Duty(Protocol):
    """Something to do now and then."""

    def run_once(self) -> float:
        """Take a step; returns in how many seconds to take the next."""


class Entry:
    """The entry of this supervisor: written anew whenever Redis turns out not to have it."""

    def __init__(
        self, namespace: Namespace, name: str, version: str, served: Served, roles: Callable[[], Mapping[str, Role]]
    ) -> None:
        """``served`` is what the workers serve now; ``roles`` returns which children there are, in any thread."""
        self._namespace, self.name, self._version = namespace, name, version
        self._served, self._roles_now = served, roles
        self._started_at = time.monotonic()
        self._roles: Mapping[str, Role] | None = None  # as they were written; None: nothing was
        self._beat_at = 0.0
        self._doubted = False

    def run_once(self) -> float:
        """Give a sign of life if it is time for one, and write which children there are if they have changed."""
        now = time.monotonic()
        if self._doubted:
            self._doubted, self._roles = False, None
        if self._roles is not None and now >= self._beat_at and self._namespace.store.alive(self.name):
            self._roles = None  # Redis lost its data, or somebody purged the namespace
        roles = self._roles_now()
        if self._roles is None:
            self._enter(roles)
        elif roles != self._roles:
            registry.note_roles(self._namespace, self.name, roles)
        if now >= self._beat_at:
            self._beat_at = now + _BEAT_S
        self._roles = roles
        return _LOOK_S

    def doubt(self) -> None:
        """Redis may have lost the entry: write it anew next time. Any thread may call this, also during a write."""
        self._doubted = True

    def renewed(self) -> None:
        """The children have new code by now, and have written what they serve: keep that, to write it again."""
        for one in registry.supervisors(self._namespace):
            if one.name == self.name:
                self._served = one.served

    def clear(self) -> None:
        """Delete a key of another type in the entry's place."""
        registry.clear(self._namespace, self.name)
        self._roles = None

    def leave(self) -> None:
        """Take the entry away."""
        registry.leave(self._namespace, self.name)

    def _enter(self, roles: Mapping[str, Role]) -> None:
        space = self._namespace
        age_us = round((time.monotonic() - self._started_at) * 1_000_000)
        about = about_me(self._version, space.strategy.name, space.store.time_us() - age_us)
        registry.enter(space, self.name, about, roles, self._served)


class Presence:
    """The thread. ``start`` it once the children may be started, and ``stop`` it when they are gone."""

    def __init__(self, entry: Entry, duties: Sequence[Duty] = ()) -> None:
        self._entry = entry
        self._due = dict.fromkeys((entry, *duties), 0.0)  # in monotonic seconds
        self._patience = Patience(_LOOK_S / 4, _LOOK_S)
        self._wake = threading.Event()
        self._leaving = self._renewed = self._wanted = False
        self._thread = threading.Thread(target=self._run, name="dueq-presence", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def look(self, *, renewed: bool = False) -> None:
        """Something has changed: look now. ``renewed`` says that the children have new code."""
        self._renewed = self._renewed or renewed
        self._wanted = True
        self._wake.set()

    def stop(self, seconds: float = 3.0) -> None:
        """Take the entry away and end, within about ``seconds``; if Redis is away, the entry ends by itself."""
        self._leaving = True
        self._wake.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._leaving:
            self._wake.clear()
            self._wake.wait(max(0.0, self._turn()))
        self._tried(self._entry.leave)

    def _turn(self) -> float:
        """Do what is due; returns seconds until something is."""
        if self._wanted:
            self._wanted = False
            self._due[self._entry] = 0.0
        for duty, due in list(self._due.items()):
            if due <= time.monotonic() and not self._leaving:
                self._due[duty] = time.monotonic() + self._step(duty)
        return min(self._due.values()) - time.monotonic()

    def _step(self, duty: Duty) -> float:
        seconds = _LOOK_S

        def step() -> None:
            nonlocal seconds
            if self._renewed and duty is self._entry:
                self._entry.renewed()
                self._renewed = False
            seconds = duty.run_once()

        clear = self._entry.clear if duty is self._entry else None
        return seconds if self._tried(step, clear) else self._patience.failed()

    def _tried(self, step: Callable[[], None], clear: Callable[[], None] | None = None) -> bool:
        """Whether ``step`` was done. An error is logged quietly: the children log the same louder, as they cannot work.

        ``clear`` deletes a key of another type in the step's place.
        """
        try:
            step()
        except ResponseError as error:
            if clear is not None and str(error).startswith("WRONGTYPE"):
                self._tried(clear)
            return False
        except (*TRANSIENT, DueqError) as error:
            log.debug("the supervisor's entry could not be written: %s", redact(str(error)))
            return False
        except Exception as error:  # whatever Redis holds in its place: the thread has other duties
            log.warning("a duty beside the tasks failed, it is tried again: %s", described(error), exc_info=error)
            return False
        self._patience.succeeded()
        return True
