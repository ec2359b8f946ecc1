"""How soon ``dueq run`` starts its first task, from the start of the program."""

from __future__ import annotations

import subprocess
import sys
import time

from ...harness.host import Host
from ...harness.stats import quantile
from ..figures import Figure
from ..place import Place
from ..work import Found, Work

_PACKAGES = "import multiprocess, prometheus_client, redis, typer"
_FLOOR = "Python and the packages"


def play(place: Place) -> Found:
    """One start after another. Each engine finds a due task."""
    floor_ms = _floor_ms(place.sizes.starts)
    work, hosts, took_ms = Work(place), list[Host](), list[float]()
    for number in range(place.sizes.starts):
        work.schedule([place.now_us()])
        began_us = place.now_us()
        with place.engine() as host:
            work.wait()
        hosts.append(host)
        took_ms += [(start_us - began_us) / 1000 for start_us in work.starts_us([number])]
        place.progress("starts", number + 1, place.sizes.starts)
    found = work.judge(hosts[-1])
    for host in hosts[:-1]:
        found.note_end(host)
    median, longest = quantile(sorted(took_ms), 0.5), max(took_ms, default=None)
    found.figures += [
        Figure("startup", "first start p50", median, "ms", floor_ms, _FLOOR),
        Figure("startup", "first start max", longest, "ms", floor_ms, _FLOOR),
    ]
    return found


def _floor_ms(rounds: int) -> float:
    """The quickest of ``rounds`` starts of a Python that imports dueq's packages, and ends."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", _PACKAGES], stdin=subprocess.DEVNULL, check=True)
        times.append(1000 * (time.perf_counter() - began))
    return min(times)
