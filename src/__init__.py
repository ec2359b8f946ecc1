"""dueq: delayed tasks on Redis, on time, never lost, never silently run twice."""

from .core.process.shadowed import imports_of_ours as _imports_of_ours

with _imports_of_ours():
    from .core.app.application import Dueq
    from .core.app.context import Context, current
    from .core.app.policy import Backoff
    from .core.app.task import Call, Handle, Task
    from .core.app.verdicts import Bury, RetryIn, Snooze
    from .core.errors import DueqError, TaskTimeout
    from .core.store.registry import register as _register

for _name in ("lua", "keyspace", "tmpset", "buckets", "watch"):
    _register(_name, f"dueq.strategies.{_name}", f"{_name.capitalize()}Strategy")

__all__ = [
    "Backoff",
    "Bury",
    "Call",
    "Context",
    "Dueq",
    "DueqError",
    "Handle",
    "RetryIn",
    "Snooze",
    "Task",
    "TaskTimeout",
    "current",
]
__version__ = "0.1.0"
