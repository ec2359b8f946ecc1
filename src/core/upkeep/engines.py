"""The registry of supervisors: which of them serve a namespace, and which queues and tasks. ``dueq status`` and the
checks of task names read it.

A supervisor has a hash of its own, and a member in one zset that says until when it is taken to be alive, by the
namespace's clock. One command now and then renews that (see presence.py). What it serves may be ten thousand names of
queues and tasks: they are kept in pages of bounded size, fields of the same hash, read and written a few at a time.

    supervisors              zset: name -> until when it is alive, epoch microseconds
    supervisor:<name>        hash: about, roles, served (digest and numbers of pages), queues:<n>, tasks:<n>
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError, ResponseError

from ..client.redaction import redact
from ..clock import US
from ..namespace import Namespace
from ..schema.format import FORMATS, NEWEST
from ..store.values import ALIVE_S

log = logging.getLogger("dueq.worker")

FORGOTTEN_S = 86_400.0
"""How long a supervisor that is gone without a word is still shown."""

_MOST = 100  # supervisors that are read, or forgotten, at a time
_PAGE_ITEMS, _PAGE_BYTES = 200, 16 * 1024
_PAGES_PER_TRIP = 16
_MOST_PROCESSES = 100  # of a role


@dataclass(frozen=True, slots=True)
class About:
    """What does not change while a supervisor runs. ``boot`` and ``pid_namespace`` say what its pid means: they are
    empty where the system does not tell. ``started_us`` is epoch microseconds by the namespace's clock."""

    host: str
    boot: str
    pid_namespace: str
    pid: int
    started_us: int
    version: str
    strategy: str
    format: str = FORMATS[0]
    """The newest format of records that it can read; an older dueq did not say."""

    def ended(self) -> bool:
        """Whether its process is known to be gone. Only its own host can tell, where a pid means the same."""
        if "" in (self.boot, self.pid_namespace) or (self.boot, self.pid_namespace) != _place():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # somebody else's
            return False
        return False


@dataclass(frozen=True, slots=True)
class Process:
    """A child process: its unique name, its pid, and its state (``booting``, ``ready`` or ``draining``)."""

    name: str
    pid: int
    state: str


@dataclass(frozen=True, slots=True)
class Role:
    """The processes of one role: how many there should be, and the first hundred that are there."""

    wanted: int
    processes: tuple[Process, ...] = ()


@dataclass(frozen=True, slots=True)
class Served:
    """The queues that a supervisor's workers serve, and the tasks that they know, each with its queue."""

    queues: tuple[str, ...] = ()
    tasks: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """A digest of the queues and tasks."""
        whole = json.dumps([self.queues, sorted(self.tasks.items())])
        return hashlib.sha1(whole.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Supervisor:
    """A registered supervisor. ``until_us`` is until when it is taken to be alive, by the namespace's clock."""

    name: str
    until_us: int
    about: About
    roles: Mapping[str, Role]
    served: Served

    @property
    def seen_us(self) -> int:
        """When it last gave a sign of life."""
        return self.until_us - round(ALIVE_S * US)

    def alive(self, now_us: int) -> bool:
        """Whether it is taken to be alive."""
        return self.until_us > now_us and not self.about.ended()


def about_me(version: str, strategy: str, started_us: int) -> About:
    """What the entry of this process, a supervisor, says about it."""
    return About(socket.gethostname(), *_place(), os.getpid(), started_us, version, strategy, NEWEST)


def _place() -> tuple[str, str]:
    """The scope in which a pid means the same process: a boot, and a namespace of pids."""
    namespace = Path("/proc/self/ns/pid")
    boot = Path("/proc/sys/kernel/random/boot_id")
    return (
        boot.read_text().strip() if boot.exists() else "",
        str(namespace.readlink()) if namespace.is_symlink() else "",
    )


# -- writing


def enter(namespace: Namespace, name: str, about: About, roles: Mapping[str, Role], served: Served) -> None:
    """Write a supervisor's entry, and forget those that are long gone."""
    # first the member in the zset: without it, a hash might be left that nobody finds
    namespace.store.alive(name)
    namespace.client.hset(_key(namespace, name), "about", json.dumps(asdict(about)))
    note_roles(namespace, name, roles)
    _write_served(namespace, name, served)
    _forget(namespace, namespace.store.time_us() - round(FORGOTTEN_S * US))


def note_roles(namespace: Namespace, name: str, roles: Mapping[str, Role]) -> None:
    """Write which child processes there are now."""
    namespace.client.hset(_key(namespace, name), "roles", _roles_text(roles))


def note_served(namespace: Namespace, name: str, served: Served) -> None:
    """Write what the workers serve, if that is not what the entry says. For a worker, which has the newest code.

    Without an entry nothing is written: its supervisor will say itself what it serves. If Redis refuses, for want of
    memory perhaps, that must not keep the worker from its work.
    """
    try:
        known: Any = namespace.client.hget(_key(namespace, name), "served")
        if known is not None and json.loads(known)["digest"] != served.digest:
            _write_served(namespace, name, served)
    except (RedisError, ValueError, TypeError, KeyError) as error:
        log.debug("what this worker serves could not be written: %s", redact(str(error)))


def leave(namespace: Namespace, name: str) -> None:
    """Take a supervisor's entry away."""
    namespace.client.delete(_key(namespace, name))
    namespace.client.zrem(namespace.keys.plain("supervisors"), name)


def clear(namespace: Namespace, name: str) -> None:
    """Delete keys of another type in the place of the registry or of this entry; other supervisors enter anew."""
    namespace.client.delete(namespace.keys.plain("supervisors"), _key(namespace, name))


def keys_of_all(namespace: Namespace) -> list[str]:
    """The hashes of all supervisors."""
    raw: Any = namespace.client.zrange(namespace.keys.plain("supervisors"), 0, -1)
    return [_key(namespace, one.decode("utf-8", "replace")) for one in raw]


def _write_served(namespace: Namespace, name: str, served: Served) -> None:
    key, client = _key(namespace, name), namespace.client
    before: Any = client.hget(key, "served")
    pages = {"queues": list(_pages(served.queues)), "tasks": list(_pages(sorted(served.tasks.items())))}
    fields = [(f"{kind}:{at}", page) for kind, some in pages.items() for at, page in enumerate(some)]
    for trip in _grouped(fields, _PAGES_PER_TRIP):
        pipe = client.pipeline(transaction=False)
        for page_field, page in trip:
            pipe.hset(key, page_field, page)
        pipe.execute()
    counts = {kind: len(some) for kind, some in pages.items()}
    client.hset(key, "served", json.dumps({"digest": served.digest, **counts}))
    surplus = [
        f"{kind}:{at}" for kind in counts for at in range(counts[kind], json.loads(before)[kind] if before else 0)
    ]
    if surplus:
        client.hdel(key, *surplus)


def _forget(namespace: Namespace, before_us: int) -> None:
    zset = namespace.keys.plain("supervisors")
    raw: Any = namespace.client.zrangebyscore(zset, "-inf", before_us, start=0, num=_MOST)
    for one in raw:
        leave(namespace, one.decode("utf-8", "replace"))


def _roles_text(roles: Mapping[str, Role]) -> str:
    return json.dumps(
        {
            name: {"wanted": role.wanted, "processes": [asdict(one) for one in role.processes[:_MOST_PROCESSES]]}
            for name, role in roles.items()
        }
    )


def _pages(items: Iterable[Any]) -> Iterator[str]:
    page: list[str] = []
    size = 0
    for item in items:
        text = json.dumps(item)
        if page and (len(page) == _PAGE_ITEMS or size + len(text) > _PAGE_BYTES):
            yield f"[{','.join(page)}]"
            page, size = [], 0
        page.append(text)
        size += len(text)
    if page:
        yield f"[{','.join(page)}]"


# -- reading


def supervisors(namespace: Namespace) -> list[Supervisor]:
    """The registered supervisors, the latest sign of life first, a hundred at most.

    Empty if a key of another type is in the registry's place: each supervisor clears it away with its next sign of
    life.
    """
    zset = namespace.keys.plain("supervisors")
    rows: Any = []
    with suppress(ResponseError):
        rows = namespace.client.zrevrange(zset, 0, _MOST - 1, withscores=True)
    pipe = namespace.client.pipeline(transaction=False)
    for raw, _ in rows:
        pipe.hmget(_key(namespace, raw.decode("utf-8", "replace")), ["about", "roles", "served"])
    replies = pipe.execute(raise_on_error=False) if rows else []
    alike: dict[bytes, Served] = {}  # mostly all serve the same
    found = []
    for (raw, until), reply in zip(rows, replies, strict=True):
        one = _read(namespace, raw.decode("utf-8", "replace"), int(until), reply, alike)
        if one is not None:
            found.append(one)
    return found


def task_queues(namespace: Namespace) -> dict[str, str]:
    """The queue of each task that a registered supervisor's workers know; empty if none is registered.

    Where supervisors differ, as in a rollout, the one that started last counts.
    """
    known: dict[str, str] = {}
    for one in sorted(supervisors(namespace), key=lambda one: one.about.started_us):
        known.update(one.served.tasks)
    return known


def _read(
    namespace: Namespace, name: str, until_us: int, reply: Sequence[Any] | ResponseError, alike: dict[bytes, Served]
) -> Supervisor | None:
    """None if the entry is not whole, since its supervisor is just coming or going, or if a newer dueq wrote it."""
    if isinstance(reply, ResponseError) or reply[0] is None:
        return None
    raw_about, raw_roles, raw_served = reply
    try:
        about = About(**_known(About, json.loads(raw_about)))
        roles = {
            role: Role(of["wanted"], tuple(Process(**_known(Process, one)) for one in of["processes"]))
            for role, of in json.loads(raw_roles or "{}").items()
        }
        head = raw_served or b"{}"
        if head not in alike:
            alike[head] = _read_served(namespace, name, json.loads(head))
        return Supervisor(name, until_us, about, roles, alike[head])
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _known(kind: type[About | Process], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without the fields that a newer dueq may have added."""
    return {name: value for name, value in fields.items() if name in kind.__slots__}


def _read_served(namespace: Namespace, name: str, counts: Mapping[str, Any]) -> Served:
    found: dict[str, list[Any]] = {"queues": [], "tasks": []}
    names = [(kind, f"{kind}:{at}") for kind in found for at in range(counts.get(kind, 0))]
    for trip in _grouped(names, _PAGES_PER_TRIP):
        pipe = namespace.client.pipeline(transaction=False)
        for _, page_field in trip:
            pipe.hget(_key(namespace, name), page_field)
        for (kind, _), page in zip(trip, pipe.execute(), strict=True):
            found[kind] += json.loads(page or "[]")
    return Served(tuple(found["queues"]), dict(found["tasks"]))


def _key(namespace: Namespace, name: str) -> str:
    return namespace.keys.of("supervisor", name)


def _grouped(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
