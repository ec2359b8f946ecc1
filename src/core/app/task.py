"""A task, a call of one, and the handle of one that was scheduled."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from ..clock import Delay, When, datetime_of, delay_us, due_us
from ..errors import InvalidTask
from ..process.shadowed import imports_of_ours
from ..schema.record import check_id
from .arguments import Signature
from .options import Expires, written
from .payload import decode_body, encode_body
from .policy import Failures, Timeouts

if TYPE_CHECKING:
    from .application import Dueq
    from .rich.conversion import Conversion

P = ParamSpec("P")
R = TypeVar("R")

HANDLER = "dueq.handler"
"""Name of the task that ``schedule_task`` schedules and ``@app.handler`` defines."""

DEFAULT_QUEUE = "default"


def new_id() -> str:
    # 84 random bits: Redis keeps an id of this length in 16 bytes; without "-", so that none looks like an option
    return secrets.token_urlsafe(11)[:14].replace("-", ".")


@dataclass(frozen=True, slots=True, repr=False)
class Handle:
    """A scheduled task. ``created`` is False if the id was in use: then ``state`` says by what, and nothing changed.

    A task that schedules its own id while it runs asks for its next run: ``state`` is then ``after this run``.
    """

    app: Dueq = field(repr=False)
    id: str
    due_us: int
    state: str = "scheduled"
    created: bool = True

    def __repr__(self) -> str:
        said = self.state if self.created else f"NOT scheduled, its id is in use: {self.state}"
        return f"<Handle {self.id}: {said}, due {self.due_at.isoformat()}>"

    @property
    def due_at(self) -> datetime:
        """The due time that was requested (UTC); for a delay, by Redis's clock."""
        return datetime_of(self.due_us)

    def cancel(self, *, redis_timeout: float | None = None) -> bool:
        """Forget the task. True only if it will not run: False once it has started or ended."""
        return self.app.cancel(self.id, redis_timeout=redis_timeout)

    def reschedule(
        self, *, at: When | None = None, after: Delay | None = None, redis_timeout: float | None = None
    ) -> bool:
        """Make the task due ``at`` a time, or ``after`` a delay from now. False once it has started or ended."""
        return self.app.reschedule(self.id, at=at, after=after, redis_timeout=redis_timeout)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a task, due at a time: what ``Task.call_at`` makes and ``Dueq.schedule_many`` takes."""

    task: str
    queue: str
    due: int
    relative: bool
    body: bytes
    id: str
    tail: bytes = b""


class Task(Generic[P, R]):
    """A function that can run later. Called directly, it just runs, here and now."""

    def __init__(
        self,
        app: Dueq,
        function: Callable[P, R],
        name: str,
        queue: str = DEFAULT_QUEUE,
        failures: Failures | None = None,
        timeouts: Timeouts | None = None,
        expires: Expires | None = None,
    ) -> None:
        self.app, self.function, self.name, self.queue = app, function, name, queue
        self.failures, self.timeouts = failures or Failures(), timeouts or app.timeouts
        self.expires = expires
        self.signature = Signature(name, function)
        self._conversion: Conversion | EllipsisType | None = ...
        self._unresolved: Mapping[str, str] = {}
        self.is_plain = False
        """Whether all arguments arrive as JSON has them; False as long as that is not known."""
        self.__doc__ = function.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def at(
        self,
        when: When,
        *,
        id: str | None = None,
        expires: Expires | None = None,
        headers: Mapping[str, str] | None = None,
        redis_timeout: float | None = None,
    ) -> Callable[P, Handle]:
        """Schedule for ``when``: ``task.at(when)(arguments)``. An aware datetime or epoch seconds; past means now.

        A task that has not started by ``expires`` is not started any more, but counted as ``misfired``: seconds or a
        timedelta after its due time, or an aware datetime; by default the task's own ``expires``. ``headers`` (text by
        text, 1 KiB as JSON) are for whoever looks at the task on its way: ``current().headers``.
        For ``redis_timeout`` (seconds), and what is raised, see ``Dueq.schedule_many``.
        """
        due, tail = due_us(when), self._tail(expires, headers)

        def schedule(*args: P.args, **kwargs: P.kwargs) -> Handle:
            call = self._call(due, False, id, tail, args, kwargs)
            return self.app.schedule_many([call], redis_timeout=redis_timeout)[0]

        return schedule

    def after(
        self,
        delay: Delay,
        *,
        id: str | None = None,
        expires: Expires | None = None,
        headers: Mapping[str, str] | None = None,
        redis_timeout: float | None = None,
    ) -> Callable[P, Handle]:
        """Schedule for ``delay`` (seconds or timedelta) from now by Redis's clock: ``task.after(60)(arguments)``.

        For ``expires`` and ``headers`` see ``at``; for ``redis_timeout`` (seconds), and what is raised,
        ``Dueq.schedule_many``.
        """
        due, tail = delay_us(delay), self._tail(expires, headers)

        def schedule(*args: P.args, **kwargs: P.kwargs) -> Handle:
            call = self._call(due, True, id, tail, args, kwargs)
            return self.app.schedule_many([call], redis_timeout=redis_timeout)[0]

        return schedule

    def call_at(
        self,
        when: When,
        *,
        id: str | None = None,
        expires: Expires | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Callable[P, Call]:
        """Like ``at``, but only make the call, for ``app.schedule_many``."""
        due, tail = due_us(when), self._tail(expires, headers)

        def call(*args: P.args, **kwargs: P.kwargs) -> Call:
            return self._call(due, False, id, tail, args, kwargs)

        return call

    def call_after(
        self,
        delay: Delay,
        *,
        id: str | None = None,
        expires: Expires | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Callable[P, Call]:
        """Like ``after``, but only make the call, for ``app.schedule_many``."""
        due, tail = delay_us(delay), self._tail(expires, headers)

        def call(*args: P.args, **kwargs: P.kwargs) -> Call:
            return self._call(due, True, id, tail, args, kwargs)

        return call

    def _tail(self, expires: Expires | None, headers: Mapping[str, str] | None) -> bytes:
        return written(self.expires if expires is None else expires, headers)

    def _call(
        self,
        due: int,
        relative: bool,
        task_id: str | None,
        tail: bytes,
        args: Sequence[Any],
        kwargs: dict[str, Any],
    ) -> Call:
        self.signature.check(args, kwargs)
        if self.is_plain:  # then a call costs no more than its JSON
            body = encode_body(self.name, args, kwargs, self.app.settings.max_payload, self.signature.name)
        else:
            body = self.body(args, kwargs)
        task_id = new_id() if task_id is None else check_id(task_id)
        return Call(self.name, self.queue, due, relative, body, task_id, tail)

    # -- arguments that JSON has no type for

    @property
    def conversion(self) -> Conversion | None:
        """What converts arguments as they are declared; None if they all arrive as JSON has them. Put together once."""
        if self._conversion is ...:
            self._conversion = self._converted()
        return self._conversion

    @property
    def entry(self) -> Callable[..., R]:
        """What a worker calls with the JSON values of a call."""
        return self.function if self.conversion is None else self.conversion.call

    def _converted(self) -> Conversion | None:
        with imports_of_ours():  # late, since an application may never need it
            from .rich.annotations import declared

            found = declared(self.function)
            self._unresolved = found.unresolved
            self.is_plain = not found.types and not found.unresolved
            if not found.types:
                return None
            from .rich.conversion import Conversion
        return Conversion(self.name, self.function, found)

    def body(self, args: Sequence[Any], kwargs: Mapping[str, Any], name: Callable[[int], str] | None = None) -> bytes:
        """A call with these arguments as JSON. Raises InvalidTask if one of them would not arrive as it is.

        ``name`` tells what the positional arguments are called; by default the parameters' names.
        """
        json_args, json_kwargs = args, kwargs
        if (conversion := self.conversion) is not None:
            json_args, json_kwargs = conversion.written(args, kwargs)
        try:
            body = encode_body(
                self.name, json_args, json_kwargs, self.app.settings.max_payload, name or self.signature.name
            )
        except InvalidTask as error:
            raise self._explained(error) from None
        if conversion is not None:
            _, json_args, json_kwargs = decode_body(body)
            conversion.check(args, kwargs, json_args, json_kwargs)
        return body

    def check_json(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raises InvalidTask if the function does not take these arguments, which are JSON values."""
        self.signature.check(args, kwargs)
        if self.conversion is not None:
            self.conversion.read(args, kwargs)

    def _explained(self, error: InvalidTask) -> InvalidTask:
        """``error``, with the annotations that could not be resolved, if any: perhaps they would have helped."""
        if type(error) is not InvalidTask or not self._unresolved:
            return error
        known = "; ".join(f"{parameter}: {reason}" for parameter, reason in self._unresolved.items())
        return InvalidTask(
            f"{error}. Annotations that cannot be resolved do not count ({known}): what they name must be known in the "
            f"function's module when the program runs, so not only under TYPE_CHECKING or inside a function"
        )
