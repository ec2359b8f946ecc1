"""dueq: delayed tasks on Redis, on time, never lost, never silently run twice."""

try:
    from .core.app import Call, Dueq, Handle, Task
    from .core.context import Context, current
    from .core.errors import DueqError, TaskTimeout
    from .core.retry import Backoff
except (ImportError, AttributeError) as _error:
    from .core.shadowed import complaint, hiding_loaded

    if _files := hiding_loaded():
        raise ImportError(complaint(_files)) from _error
    raise

__all__ = ["Backoff", "Call", "Context", "Dueq", "DueqError", "Handle", "Task", "TaskTimeout", "current"]
__version__ = "0.1.0"
