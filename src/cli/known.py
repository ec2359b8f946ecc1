"""Which tasks exist: those of the application if it is given, else those that the supervisors registered."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.app.application import Dueq
from ..core.app.options import Expires
from ..core.app.task import DEFAULT_QUEUE, HANDLER, Task
from ..core.errors import InvalidTask, ServerRefused
from ..core.upkeep import engines
from .options import opened

_NEAREST = 3


@dataclass(frozen=True, slots=True)
class KnownTasks:
    """The tasks that ``source`` knows. ``queues`` has the queue of each, or is None: then any name is accepted."""

    source: str = ""
    queues: Mapping[str, str] | None = None
    tasks: Mapping[str, Task[..., Any]] = field(default_factory=dict)
    """The tasks themselves, as far as they are known."""

    def check(self, task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raises InvalidTask if ``task`` is unknown, or does not take these arguments."""
        if self.queues is not None and task not in self.queues:
            if task == HANDLER:
                raise InvalidTask(
                    f"{self.source} has no handler (@app.handler) for plain data: name a task, "
                    'by --task or by "task" in the line of the file'
                )
            raise InvalidTask(f"{self.source} knows no task {task}{_nearest(task, self.queues)}")
        if (known := self.tasks.get(task)) is not None:
            known.check_json(args, kwargs)

    def queue_of(self, task: str) -> str:
        """The queue that the task itself names."""
        return (self.queues or {}).get(task, DEFAULT_QUEUE)

    def expiry_of(self, task: str) -> Expires | None:
        """How long after its due time the task itself says that it may start, as far as that is known."""
        known = self.tasks.get(task)
        return None if known is None else known.expires


def of_app(app: Dueq, target: str) -> KnownTasks:
    """The tasks of an application."""
    tasks = app.tasks
    return KnownTasks(target, {name: task.queue for name, task in tasks.items()}, tasks)


def of_namespace(redis_url: str | None, namespace: str | None) -> KnownTasks:
    """The tasks that the supervisors of a namespace serve.

    Nothing is known if no supervisor is registered, or if the Redis user may not read the registry.
    """
    try:
        with opened(redis_url, namespace) as space:
            queues = engines.task_queues(space)
            source = f"the engine of namespace {space.keys.namespace} (for newer code give --app MODULE:APP)"
    except ServerRefused:
        return KnownTasks()
    return KnownTasks(source, queues or None)


def _nearest(task: str, known: Iterable[str]) -> str:
    names = [name for name in known if name != HANDLER]
    last = {name.rsplit(".", 1)[-1]: name for name in names}
    near = difflib.get_close_matches(task, names, _NEAREST) or [
        last[short] for short in difflib.get_close_matches(task.rsplit(".", 1)[-1], last, _NEAREST)
    ]
    if near:
        return f": did you mean {' or '.join(near)}?"
    return f": it knows {', '.join(sorted(names)[:10]) or 'none'}{', …' if len(names) > 10 else ''}"
