"""How many tasks two workers do a second if there is always a next one: tasks that do nothing, all ready already.

The workers are held at a gate until every task is ready, so that dispatching, scheduling and the start of the workers
are not part of the rate. The cost of a task to Redis is measured from its scheduling to its ack.
"""

from __future__ import annotations

from ..figures import Figure
from ..floors import BARE
from ..gate import held, until
from ..place import Place
from ..redis_cost import spent
from ..work import Found, Work, cpu_s_of, rate

_WORKERS = 2


def play(place: Place) -> Found:
    """The rate is from the first start to the last; each start but the first follows an ack by the same worker."""
    count = place.sizes.throughput
    work = Work(place)
    two, bare_us = place.floors.benchmark(_WORKERS), place.floors.bare_us
    with place.engine(workers=_WORKERS) as host:
        with held(place, _WORKERS):
            unused = spent(place.client)
            work.schedule([place.now_us()] * count)
            until(lambda: place.ready() >= count, "made all tasks ready")
            workers = host.children("worker")
            before = cpu_s_of(workers)
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
