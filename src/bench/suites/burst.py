"""Many tasks due at one instant: dispatch, taking, running and settling, all at once."""

from __future__ import annotations

from ..figures import Figure
from ..floors import WAKE_UP
from ..gate import held
from ..place import Place
from ..work import Found, Work, rate

_WORKERS = 2
_LEAD_S, _LEAD_RATE = 1.0, 3000.0  # seconds from now until they are due, and one more for each 3,000 tasks


def play(place: Place) -> Found:
    """Two workers, each of which has run a task before, and one dispatcher.

    The instant is a full second, so that ``buckets`` does not round it.
    """
    count = place.sizes.burst
    work = Work(place)
    two = place.floors.benchmark(_WORKERS)
    wake = place.floors.wake_up
    with place.engine(workers=_WORKERS) as host:
        with held(place, _WORKERS):
            pass
        due_us = place.full_second_in(_LEAD_S + count / _LEAD_RATE)
        work.schedule([due_us] * count)
        in_time = place.now_us() < due_us
        work.wait()
    found = work.judge(host)
    if not in_time:
        found.notes.append("burst: scheduling lasted past the due time, so the tasks did not come due at one instant")
    starts = work.starts_us()
    if starts:
        found.figures += [
            Figure("burst", "started", rate(starts), "/s", two.per_second, two.name),
            Figure("burst", "first started after", (starts[0] - due_us) / 1000, "ms", wake.p50, WAKE_UP),
            Figure("burst", "last started after", (starts[-1] - due_us) / 1000, "ms", wake.p50, WAKE_UP),
        ]
    return found
