"""What a pending task takes: in Redis, and in dueq's processes, which should keep none of it."""

from __future__ import annotations

import time
from typing import Any

import psutil

from ...core.clock import US
from ...harness.host import Host
from ..figures import Figure
from ..floors import PAYLOAD
from ..place import Place
from ..tasks import mark
from ..work import CHUNK, Found

PADDING = "x" * (PAYLOAD - 10)
"""Makes the arguments of a task about ``PAYLOAD`` bytes long, with the task's number and JSON's own signs."""

_HOUR_S = 3600
_SETTLE_S = 1.5
_NOT_TASKS = ("mem_clients_normal", "mem_aof_buffer")  # part of used_memory, where the server reports it


def play(place: Place) -> Found:
    """Tasks due over an hour, an hour away; ids are dueq's own."""
    count = place.sizes.memory
    with place.engine() as host:
        fill(place, 1)  # what a namespace takes by itself is not a task's
        time.sleep(_SETTLE_S)
        before, ours = _redis_bytes(place), _process_bytes(host)
        fill(place, count)
        time.sleep(_SETTLE_S)
        grown, kept = _redis_bytes(place) - before, _process_bytes(host) - ours
    found = Found()
    found.note_end(host)
    found.figures += [
        Figure("memory", "Redis a pending task", grown / count, "B", PAYLOAD, "its payload"),
        Figure("memory", "processes a pending task", max(0, kept) / count, "B"),
        Figure("memory", "processes in all", (ours + kept) / 1e6, "MB"),
    ]
    if not place.own:
        found.notes.append("memory: what others on this Redis stored or removed meanwhile is in the figure, too")
    return found


def fill(place: Place, count: int, *, within_s: float = float("inf")) -> int:
    """Schedule ``count`` tasks, due over an hour, an hour away; returns how many there was time for."""
    first_us, began = place.now_us() + _HOUR_S * US, time.monotonic()
    for at in range(0, count, CHUNK):
        some = range(at, min(at + CHUNK, count))
        place.producer.schedule_many(
            mark.call_at((first_us + number * _HOUR_S * US // count) / US)(number, PADDING) for number in some
        )
        place.progress("pending", some.stop, count)
        if time.monotonic() - began > within_s:
            return some.stop
    return count


def _redis_bytes(place: Place) -> int:
    info: Any = place.info()
    if "mem_clients_normal" not in info:  # not in the default sections of every server
        return int(info["used_memory"])
    return int(info["used_memory"]) - sum(int(info.get(name, 0)) for name in _NOT_TASKS)


def _process_bytes(host: Host) -> int:
    """Memory of the whole tree that would be free without it: what processes share counts for none."""
    return sum(process.memory_full_info().uss for process in (psutil.Process(host.pid), *host.children()))
