"""How many tasks two workers do a second if there is always a next one: tasks that do nothing, all ready already.

The workers are held at a gate until every task is ready, so that dispatching, scheduling and the start of the workers
are not part of the rate. The cost of a task to Redis is measured from its scheduling to its ack.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ...core.errors import BootFailure
from ..figures import Figure
from ..floors import BARE
from ..place import Place
from ..redis_cost import spent
from ..tasks import gate
from ..work import Found, Work, cpu_s_of, rate

_WORKERS = 2
_PATIENCE_S = 30.0
_POLL_S = 0.01


def play(place: Place) -> Found:
    """The rate is from the first start to the last; each start but the first follows an ack by the same worker."""
    count = place.sizes.throughput
    work = Work(place)
    two, bare_us = place.floors.benchmark(_WORKERS), place.floors.bare_us
    with place.engine(workers=_WORKERS) as host:
        doors = [place.directory / f"door{number}" for number in range(_WORKERS)]
        try:
            for door in doors:
                _hold_a_worker(place, door)
            unused = spent(place.client)
            work.schedule([place.now_us()] * count)
            _until(lambda: place.ready() >= count, "made all tasks ready")
            workers = host.children("worker")
            before = cpu_s_of(workers)
        finally:
            for door in doors:
                door.touch()
        work.wait()
        cost = spent(place.client).since(unused)
        worker_us = 1e6 * (cpu_s_of(workers) - before)
    found = work.judge(host)
    found.figures += [
        Figure("throughput", "done", rate(work.starts_us()), "/s", two.per_second, two.name),
        Figure("throughput", "worker CPU a task", worker_us / count, "µs"),
        Figure("throughput", "Redis CPU a task", cost.cpu_us / count, "µs", bare_us, BARE),
        Figure("throughput", "Redis commands a task", cost.commands / count, ""),
    ]
    if not place.own:
        found.notes.append("throughput: the commands and the CPU time of other clients of this Redis are counted, too")
    return found


def _hold_a_worker(place: Place, door: Path) -> None:
    # one after the other: otherwise a worker that takes several tasks at once could take both gate tasks
    place.producer.schedule_many([gate.call_after(0)(str(door))])
    _until(Path(f"{door}.in").exists, "had a worker at the gate")


def _until(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not happened():
        if time.monotonic() >= deadline:
            raise BootFailure(f"dueq run has not {what} after {_PATIENCE_S:.0f} s")
        time.sleep(_POLL_S)
