"""An actor that dies just before, or just after, its k-th command reaches Redis."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Literal

from redis.exceptions import RedisError, ResponseError

from dueq.core.namespace import Namespace

When = Literal["before", "after"]

_BLOCKING = ("BLPOP", "BRPOP", "BRPOPLPUSH", "BLMOVE")


class Killed(BaseException):
    """The process is gone: nothing catches this, as nothing catches SIGKILL."""


class Fate:
    """Counts the commands of one actor and kills it at the ``at``-th; 0: never."""

    def __init__(self, at: int = 0, when: When = "before") -> None:
        self.at, self.when = at, when
        self.sent = 0
        self.dead = False

    def allowed(self, asked: int) -> int:
        """How many of the next ``asked`` commands still go out; fewer means death once they have."""
        if self.dead:
            raise Killed
        last = self.at if self.when == "after" else self.at - 1
        if self.at == 0 or self.sent + asked < self.at:
            self.sent += asked
            return asked
        go = max(0, last - self.sent)
        self.dead = True
        return go


def interrupted(namespace: Namespace, meanwhile: Callable[[], object]) -> Namespace:
    """``namespace``, all of whose connections call ``meanwhile`` before each single command goes out."""
    base: type[Any] = _renewed(namespace)

    class Interrupted(base):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._answers: deque[Any] = deque()

        def send_command(self, *args: Any, **kwargs: Any) -> None:
            meanwhile()
            super().send_command(*args, **kwargs)

        def pack_commands(self, commands: Any) -> Any:
            # one by one, each answered before the others act: the server could interleave them just so
            for command in commands:
                meanwhile()
                super().send_packed_command(super().pack_commands([command]))
                try:
                    self._answers.append(super().read_response())
                except ResponseError as error:
                    self._answers.append(error)
            return []

        def read_response(self, *args: Any, **kwargs: Any) -> Any:
            if not self._answers:
                return super().read_response(*args, **kwargs)
            answer = self._answers.popleft()
            if isinstance(answer, ResponseError):
                raise answer
            return answer

    namespace.client.connection_pool.connection_class = Interrupted
    return namespace


def _renewed(namespace: Namespace) -> type[Any]:
    """Hang up everywhere; returns the class of the connections to come."""
    pool = namespace.client.connection_pool
    pool.disconnect()
    pool.reset()
    base: type[Any] = pool.connection_class
    return base


def mortal(namespace: Namespace, fate: Fate) -> Namespace:
    """``namespace``, all of whose connections from now on obey ``fate``."""
    base: type[Any] = _renewed(namespace)

    class Mortal(base):  # type: ignore[misc]
        def send_command(self, *args: Any, **kwargs: Any) -> None:
            go = fate.allowed(1)
            if go:
                super().send_command(*args, **kwargs)
            if fate.dead:
                self._die(go if args[0] not in _BLOCKING else 0)

        def pack_commands(self, commands: Any) -> Any:
            commands = list(commands)
            go = fate.allowed(len(commands))
            if fate.dead:
                if go:
                    super().send_packed_command(super().pack_commands(commands[:go]))
                self._die(go)
            return super().pack_commands(commands)

        def _die(self, replies: int) -> None:
            for _ in range(replies):  # so that Redis has done what it was told before the next actor looks
                try:
                    self.read_response(disable_decoding=True)
                except RedisError:
                    continue
            raise Killed

    namespace.client.connection_pool.connection_class = Mortal
    return namespace
