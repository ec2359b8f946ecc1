"""What ``dueq status`` shows of a namespace's supervisors, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from ..core.clock import US
from ..core.upkeep.engines import Process, Supervisor
from .format import duration, timestamp

_NAMED = 5  # queues in one line


class Waiting(Protocol):
    """The properties of a queue that warnings need."""

    @property
    def name(self) -> str: ...

    @property
    def ready(self) -> int: ...

    @property
    def overdue_s(self) -> float: ...


def as_json(one: Supervisor, now_us: int) -> dict[str, Any]:
    """One supervisor as JSON values."""
    about = one.about
    return {
        "supervisor": one.name,
        "alive": one.alive(now_us),
        "last_seen_at": timestamp(one.seen_us),
        "host": about.host,
        "pid": about.pid,
        "started_at": timestamp(about.started_us),
        "version": about.version,
        "strategy": about.strategy,
        "queues": list(one.served.queues),
        "tasks": len(one.served.tasks),
        "roles": {
            name: {"wanted": role.wanted, "processes": [asdict(process) for process in role.processes]}
            for name, role in one.roles.items()
        },
    }


def line(one: Supervisor, now_us: int) -> str:
    """One supervisor in a line."""
    about, quiet = one.about, max(0, now_us - one.seen_us) / US
    who = f"supervisor on {about.host}, pid {about.pid}, dueq {about.version}"
    if about.ended():
        return f"{who}: its process is gone; last sign of life {duration(quiet)} ago"
    if not one.alive(now_us):
        return f"{who}: no sign of life for {duration(quiet)}"
    roles = ", ".join(f"{_ready(role.processes)} of {role.wanted} {name}s ready" for name, role in one.roles.items())
    served = f"serves {_some(one.served.queues)}" if one.served.queues else "serves no queue"
    since = duration(max(0, now_us - about.started_us) / US)
    return f"{who}, since {since}: {roles}; {served}; last sign of life {duration(quiet)} ago"


def processes(supervisors: Iterable[Supervisor]) -> dict[str, str]:
    """Where each child process is, by its name."""
    return {
        process.name: f"pid {process.pid} on {one.about.host}"
        for one in supervisors
        for role in one.roles.values()
        for process in role.processes
    }


def warnings(supervisors: Sequence[Supervisor], queues: Sequence[Waiting], scheduled: int, now_us: int) -> list[str]:
    """What keeps tasks from being run, if there are any to run."""
    alive = [one for one in supervisors if one.alive(now_us)]
    waiting = [queue.name for queue in queues if queue.ready or queue.overdue_s > 0]
    if not alive:
        return ["no supervisor is alive: no task is run (dueq run MODULE:APP)"] if waiting or scheduled else []
    said = []
    if not any(_ready(one.roles["dispatcher"].processes) for one in alive if "dispatcher" in one.roles):
        said.append("no dispatcher is alive: no due task is made ready (dueq run with --dispatchers 1 or more)")
    served = {queue for one in alive if "worker" in one.roles for queue in one.served.queues}
    if unserved := [name for name in waiting if name not in served]:
        said.append(f"no live worker serves {_some(unserved)}, where tasks are due (dueq run --queues)")
    return said


def _ready(processes: Iterable[Process]) -> int:
    return sum(process.state == "ready" for process in processes)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")
