"""The cost of waiting: one task an hour away, and nothing else."""

from __future__ import annotations

import time

import psutil

from ...core.clock import US
from ...harness.host import Host
from ..figures import Figure
from ..place import Place
from ..redis_cost import spent
from ..tasks import mark
from ..work import Found, cpu_s_of

_HOUR_S = 3600
_SETTLE_S = 2.0  # time for the costs of the start to end
_TICK_S = 1.0


def play(place: Place) -> Found:
    """Two workers, a dispatcher, a reaper and the supervisor, for some seconds."""
    seconds = place.sizes.idle_s
    with place.engine() as host:
        place.producer.schedule_many([mark.call_at(place.now_us() / US + _HOUR_S)(0)])
        time.sleep(_SETTLE_S)
        processes = _processes(host)
        before, cpu_s = spent(place.client), cpu_s_of(processes)
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            place.progress("idle for s", int(passed), round(seconds))
            time.sleep(min(_TICK_S, seconds - passed))
        cost, cpu_s = spent(place.client).since(before), cpu_s_of(processes) - cpu_s
        passed = time.monotonic() - began
    found = Found()
    found.note_end(host)
    found.figures += [
        Figure("idle", "commands a process", cost.commands / passed / len(processes), "/s"),
        Figure("idle", "processes", len(processes), ""),
        Figure("idle", "CPU of all", 1000 * cpu_s / passed, "ms/s"),
    ]
    if not place.own:
        found.notes.append("idle: the commands of other clients of this Redis are counted, too")
    return found


def _processes(host: Host) -> list[psutil.Process]:
    return [psutil.Process(host.pid), *host.children()]
