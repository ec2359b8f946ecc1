"""The commands that Redis runs, and the time that it spends.

A command that a script calls, or that waits in MULTI, stands in ``commandstats`` twice: by itself, and as a part of
EVALSHA or EXEC. So *commands* are counted with what scripts call, but *time* is not the sum of ``usec``: it would be
nearly double. Redis 7.2 and later, and Valkey, keep the sum of outermost commands alone
(``eventloop_duration_cmd_sum``). Where that is missing, it is the server's CPU time, reading and writing sockets
included; a ratio of two such times says the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

_OUTERMOST = "eventloop_duration_cmd_sum"
COMMAND_TIME, CPU_TIME = "its commands", "its CPU, since it does not add up its commands"


@dataclass(frozen=True, slots=True)
class Spent:
    """Counters of a server, or the difference between two readings: commands run, microseconds, and of what."""

    commands: int
    time_us: float
    time_of: str

    def since(self, before: Spent) -> Spent:
        """What was spent since an earlier reading, without that reading itself."""
        return Spent(self.commands - before.commands - 1, self.time_us - before.time_us, self.time_of)


def cpu_us(client: redis.Redis) -> float:
    """Microseconds of CPU that the server has used in all, sockets, timers and background work included."""
    info: Any = client.info()
    return _cpu_us(info)


def spent(client: redis.Redis) -> Spent:
    """Read the counters. They are the server's: on one that others use, they hold others' commands, too."""
    info: Any = client.info()  # without a section: Redis 2.4 knows none
    commands = int(info["total_commands_processed"])
    if _OUTERMOST in info:
        return Spent(commands, float(info[_OUTERMOST]), COMMAND_TIME)
    return Spent(commands, _cpu_us(info), CPU_TIME)


def _cpu_us(info: dict[str, Any]) -> float:
    return 1e6 * (float(info["used_cpu_user"]) + float(info["used_cpu_sys"]))
