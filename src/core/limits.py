"""When a worker has done enough and is to be replaced: against memory that leaks slowly."""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one worker; 0: none."""

    tasks: int = 0
    memory_mib: float = 0.0

    def left(self, tasks_run: int) -> int | None:
        """How many more tasks a worker may run; None if there is no limit."""
        return max(0, self.tasks - tasks_run) if self.tasks else None

    def too_large(self) -> bool:
        """Whether this process has more memory than it should."""
        return bool(self.memory_mib) and resident_bytes() > self.memory_mib * _MIB


NO_LIMITS = Limits()


def resident_bytes() -> int:
    """The memory that this process has in RAM; where the system does not tell, the most that it ever had."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    except FileNotFoundError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
