"""When a worker is replaced because it has done enough, against memory that leaks slowly."""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Recycling:
    """When one worker has done enough; 0: never."""

    tasks: int = 0
    memory_mib: float = 0.0

    def left(self, tasks_run: int) -> int | None:
        """How many more tasks a worker may run; None if there is no limit."""
        return max(0, self.tasks - tasks_run) if self.tasks else None

    def too_large(self) -> bool:
        """Whether this process has more memory than allowed."""
        return bool(self.memory_mib) and resident_bytes() > self.memory_mib * _MIB


NO_RECYCLING = Recycling()


def resident_bytes() -> int:
    """The memory that this process has in RAM."""
    import psutil  # imported only where there is a limit: it costs every worker memory

    return int(psutil.Process().memory_info().rss)
