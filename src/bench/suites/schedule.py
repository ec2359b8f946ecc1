"""How fast one client schedules: one by one, waiting for each reply, and in bulk."""

from __future__ import annotations

import time

from ..figures import Figure
from ..floors import ROUND_TRIPS
from ..place import Place
from ..tasks import mark
from ..work import CHUNK, Found
from .memory import PADDING

_HOUR_S = 3600.0
_PIPELINE = 16


def play(place: Place) -> Found:
    """No engine runs: this measures the producer alone, with its encoding."""
    found = Found()
    one = place.floors.round_trips
    piped = place.floors.benchmark(1, _PIPELINE)
    found.figures += [
        Figure("schedule", "one by one", _one_by_one(place), "/s", one, ROUND_TRIPS),
        Figure("schedule", "bulk", _bulk(place), "/s", piped.per_second, piped.name),
    ]
    return found


def _one_by_one(place: Place) -> float:
    producer, count = place.producer, place.sizes.one_by_one
    producer.schedule_many([mark.call_after(_HOUR_S)(0, PADDING)])  # not counted: it connects
    began = time.perf_counter()
    for number in range(count):
        producer.schedule_many([mark.call_after(_HOUR_S)(number, PADDING)])
    return count / (time.perf_counter() - began)


def _bulk(place: Place) -> float:
    count, took_s = place.sizes.bulk, 0.0
    for at in range(0, count, CHUNK):
        some = range(at, min(at + CHUNK, count))
        began = time.perf_counter()
        place.producer.schedule_many(mark.call_after(_HOUR_S + number / count)(number, PADDING) for number in some)
        took_s += time.perf_counter() - began
        place.progress("in bulk", some.stop, count)
    return count / took_s
