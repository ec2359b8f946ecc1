"""The commands that Redis runs, and the time that it spends.

``commandstats`` counts a command inside a script or a MULTI twice: by itself, and as a part of EVALSHA or EXEC. So
*commands* include those that scripts call, but *time* is not the sum of ``usec``, which would be nearly double. Redis
7.2 and later, and Valkey, have the sum over outermost commands alone (``eventloop_duration_cmd_sum``). Where that is
missing, the time is the server's CPU time, with reading and writing sockets; it serves as well for ratios.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

_OUTERMOST = "eventloop_duration_cmd_sum"
COMMAND_TIME, CPU_TIME = "its commands", "its CPU, since it does not add up its commands"


@dataclass(frozen=True, slots=True)
class Spent:
    """Counters of a server, or the difference of two readings: commands run, microseconds, and which time that is."""

    commands: int
    time_us: float
    time_of: str
    cpu_us: float
    """Microseconds of CPU of the whole server, with sockets, timers and background work."""

    def since(self, before: Spent) -> Spent:
        """The difference to an earlier reading, without the command of that reading."""
        return Spent(
            self.commands - before.commands - 1,
            self.time_us - before.time_us,
            self.time_of,
            self.cpu_us - before.cpu_us,
        )


def spent(client: redis.Redis) -> Spent:
    """Read the counters. They are of the whole server, so they include the commands of its other clients."""
    info: Any = client.info()  # Redis 2.4 knows no sections
    commands = int(info["total_commands_processed"])
    cpu_us = 1e6 * (float(info["used_cpu_user"]) + float(info["used_cpu_sys"]))
    if _OUTERMOST in info:
        return Spent(commands, float(info[_OUTERMOST]), COMMAND_TIME, cpu_us)
    return Spent(commands, cpu_us, CPU_TIME, cpu_us)
