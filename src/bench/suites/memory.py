"""The memory of a pending task: in Redis, and in dueq's processes, which should need none for it."""

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
"""Makes the arguments of a task about ``PAYLOAD`` bytes long, with the task's number and the JSON around them."""

_HOUR_S = 3600
_SETTLE_S = 1.5
_NOT_TASKS = ("mem_clients_normal", "mem_aof_buffer")  # parts of used_memory that are not tasks, if reported


def play(place: Place) -> Found:
    """The tasks come due within an hour, in an hour. Their ids are dueq's own."""
    count = place.sizes.memory
    with place.engine() as host:
        fill(place, 1)  # so that the memory of the namespace itself is not counted
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
        found.notes.append("memory: data that other clients of this Redis stored or removed is in the figure, too")
    return found


def fill(place: Place, count: int, *, within_s: float = float("inf")) -> int:
    """Schedule ``count`` tasks that come due within an hour, in an hour. Returns how many there was time for."""
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
    if "mem_clients_normal" not in info:  # not every server has it in the default sections
        return int(info["used_memory"])
    return int(info["used_memory"]) - sum(int(info.get(name, 0)) for name in _NOT_TASKS)


def _process_bytes(host: Host) -> int:
    """The memory that would be free without these processes: memory that they share with others does not count."""
    return sum(process.memory_full_info().uss for process in (psutil.Process(host.pid), *host.children()))
