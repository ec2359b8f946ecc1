"""A namespace at one moment: what ``dueq status`` and ``dueq show`` print. Reads only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from redis.exceptions import AuthenticationError, ResponseError

from ..core.app.lookup import reason_of_death, state_of
from ..core.app.payload import shown_call
from ..core.client.redaction import redact
from ..core.clock import US
from ..core.namespace import Namespace
from ..core.schema.ownership import StoreKind
from ..core.schema.quarantine import Kind, counts
from ..core.schema.record import Record, task_of
from ..core.schema.states import State
from ..core.store.names import NEWER
from ..core.store.unclaimed import legible, list_of
from ..core.upkeep import engines as registry
from ..core.upkeep.engines import Supervisor
from . import engines
from .format import timestamp
from .housekeeping import holders


@dataclass(frozen=True, slots=True)
class QueueView:
    """One queue: how many tasks are in each state, and its first due times (epoch microseconds)."""

    name: str
    scheduled: int
    ready: int
    leased: int
    unclaimed: int
    dead: int
    next_due_us: int | None
    overdue_s: float
    """How late the oldest due task is that has not started; 0 if there is none."""

    @property
    def depth(self) -> int:
        """How many tasks there are in all."""
        return self.scheduled + self.ready + self.leased + self.unclaimed + self.dead


@dataclass(frozen=True, slots=True)
class Overview:
    """What ``dueq status`` shows."""

    redis_url: str
    server: str
    namespace: str
    strategy: str
    store: StoreKind
    now_us: int
    queues: list[QueueView]
    ever: bool
    """Whether a task was ever scheduled here."""
    supervisors: list[Supervisor]
    workers: dict[str, int]
    unclaimed: dict[tuple[str, str], int]
    """How many tasks are put aside, by queue and by the name of their task."""
    quarantined: dict[Kind, int]
    """How many things of each kind could not be read and are in quarantine."""

    @property
    def newer(self) -> int:
        """How many tasks were put aside because a newer dueq wrote them."""
        return sum(tasks for (_, name), tasks in self.unclaimed.items() if name == NEWER)

    @property
    def warnings(self) -> list[str]:
        """What keeps tasks from being run."""
        scheduled = sum(queue.scheduled for queue in self.queues)
        return engines.warnings(self.supervisors, self.queues, scheduled, self.now_us)

    def as_json(self) -> dict[str, Any]:
        queues = [
            {
                "queue": queue.name,
                "scheduled": queue.scheduled,
                "ready": queue.ready,
                "leased": queue.leased,
                "unclaimed": queue.unclaimed,
                "dead": queue.dead,
                "next_due_at": timestamp(queue.next_due_us),
                "oldest_overdue_s": queue.overdue_s,
            }
            for queue in self.queues
        ]
        return {
            "redis_url": self.redis_url,
            "server": self.server,
            "namespace": self.namespace,
            "strategy": self.strategy,
            "store": self.store,
            "now": timestamp(self.now_us),
            "queues": queues,
            "supervisors": [engines.as_json(one, self.now_us) for one in self.supervisors],
            "warnings": self.warnings,
            "workers": [{"worker": worker, "holds": holds} for worker, holds in self.workers.items()],
            "unclaimed": [
                {"queue": queue, "task": legible(name), "tasks": tasks}
                for (queue, name), tasks in self.unclaimed.items()
            ],
            "quarantined": self.quarantined,
            "newer": self.newer,
        }


def overview(namespace: Namespace) -> Overview:
    """Read everything once. The counts are not one snapshot: they are read a moment apart."""
    names, now = namespace.store.queues(), namespace.store.time_us()
    queues, aside, depths = [], namespace.store.unclaimed(), namespace.store.depths(names)
    put_aside: Counter[str] = Counter()
    for (queue, _), tasks in aside.items():
        put_aside[queue] += tasks
    for name, census in zip(names, namespace.strategy.census(names), strict=True):
        depth = depths[name]
        waiting = [due for due in (census.oldest_due_us, depth.oldest_ready_us) if due is not None]
        overdue = max(0, now - min(waiting)) / US if waiting else 0.0
        due = census.oldest_due_us
        numbers = census.scheduled, depth.ready, depth.leased, put_aside[name], depth.dead
        queues.append(QueueView(name, *numbers, due, overdue))
    info = _info(namespace)
    return Overview(
        redact(namespace.settings.redis_url or ""),
        server_name(info),
        namespace.keys.namespace,
        namespace.strategy.name,
        namespace.strategy.store,
        now,
        queues,
        bool(names or namespace.client.exists(namespace.keys.plain("stats"))),
        registry.supervisors(namespace),
        holders(namespace),
        aside,
        counts(namespace.client, namespace.keys),
    )


def _info(namespace: Namespace) -> dict[str, Any]:
    """The reply to INFO; empty if the server refuses INFO, which is common."""
    try:
        return dict(namespace.client.info())
    except AuthenticationError:
        raise
    except ResponseError:
        return {}


def server_name(info: dict[str, Any]) -> str:
    """Product and version of a server, from INFO."""
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info.get('redis_version', '(version unknown)')}"


def task_view(namespace: Namespace, record: Record) -> dict[str, Any]:
    """One task, in words and JSON values."""
    view: dict[str, Any] = {
        "id": record.id,
        "state": state_of(record, namespace.store.time_us()),
        "due_at": timestamp(record.due_us),
        "scheduled_at": timestamp(record.scheduled_us) if record.scheduled_us else None,
        "queue": record.queue,
        **shown_call(record.body),
        "starts": record.starts,
        "retries": record.retries,
        "losses": record.losses,
    }
    if record.expires_us:
        view["expires_at"] = timestamp(record.expires_us)
    if record.headers:
        view["headers"] = dict(record.headers)
    if record.worker:
        view |= {"worker": record.worker, "token": record.token}
    if record.cause:
        view["starts_again_because"] = record.cause
    if record.state != State.DEAD and (again := namespace.store.kept_again(record.id)) is not None:
        view["after_this_run"] = {"due_at": timestamp(again.due_us), "queue": again.queue, **shown_call(again.body)}
    if record.state == State.UNCLAIMED:
        since = namespace.client.zscore(list_of(namespace.keys, record.queue, task_of(record.body)), record.id)
        view["put_aside_at"] = None if since is None else timestamp(int(since))
    if record.state == State.DEAD:
        keys, client = namespace.keys, namespace.client
        died = client.zscore(keys.of("dead", record.queue), record.id)
        view |= {
            "died_at": None if died is None else timestamp(int(died)),
            "reason": reason_of_death(namespace, record),
        }
    return view
