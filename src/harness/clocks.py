"""How far Redis's clock is from this host's: the ledger has times of the host, and due times go by Redis."""

from __future__ import annotations

import time

import redis

from ..core.clock import US

_ROUNDS = 20


def clock_offset_us(client: redis.Redis) -> int:
    """What to add to this host's clock to get Redis's, in microseconds; 0 if both may be the same clock.

    The server reads its clock at some instant between request and reply, so each round gives bounds. If the bounds
    exclude 0, the result is the upper one: lateness never looks better than it is, and a start that counts as early
    is early beyond doubt.
    """
    lowest, highest = -(1 << 62), 1 << 62
    for _ in range(_ROUNDS):
        before = time.time_ns() // 1000
        seconds, micros = client.time()
        after = time.time_ns() // 1000 + 1
        server_us = int(seconds) * US + int(micros)
        lowest, highest = max(lowest, server_us - after), min(highest, server_us - before)
    return 0 if lowest <= 0 <= highest else highest
