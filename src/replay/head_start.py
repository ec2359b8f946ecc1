"""How far ahead of its first job a log must be scheduled, so that the replay itself makes no job late."""

from __future__ import annotations

import time

from ..admin.housekeeping import purge
from ..core.app.application import Dueq
from ..core.clock import US, now_us
from ..core.config import Settings
from ..core.namespace import Namespace
from ..harness.job_app import job

_SAMPLE_S, _LEAST_SAMPLE = 1.0, 5000  # long enough to include moments in which other processes have the processor
_CHUNK = 1000
_FAR_US = 86_400 * US
_LEAST_S = 1.0
_FEW, _SURE_RATE = 2000, 2000.0  # so few jobs need no measurement: every machine schedules this many a second
_SLOWER = 2.0  # how much slower than the sample it may get: the sample is taken while the machine is still idle


def seconds(settings: Settings, jobs: int) -> float:
    """Seconds that scheduling ``jobs`` may take here, measured in a namespace beside that of ``settings``.

    Takes a second or two for many jobs. Leaves nothing behind. Raises what scheduling does.
    """
    if jobs <= _FEW:
        return _LEAST_S + jobs / _SURE_RATE
    return _LEAST_S + _SLOWER * jobs / _rate(settings)


def _rate(settings: Settings) -> float:
    beside = Settings(settings.redis_url, f"{settings.namespace}-probe", settings.strategy)
    opened = Namespace.open(beside)
    try:
        producer = Dueq(beside.redis_url, namespace=beside.namespace, strategy=beside.strategy)
        due_us = now_us() + _FAR_US
        calls = [job.call_at(due_us / US)(due_us, 0) for _ in range(_CHUNK)]
        producer.schedule_many(calls)  # not counted: it connects, claims the namespace, and loads the scripts
        done, began = 0, time.perf_counter()
        while (took := time.perf_counter() - began) < _SAMPLE_S or done < _LEAST_SAMPLE:
            producer.schedule_many([job.call_at(due_us / US)(due_us, 0) for _ in range(_CHUNK)])
            done += _CHUNK
        return done / took
    finally:
        purge(opened)
        opened.close()
