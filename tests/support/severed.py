"""A connection that is lost at its k-th command, which is noticed when it is sent, at its reply, or not at all."""

from __future__ import annotations

from typing import Any, Literal

from redis.exceptions import ConnectionError

from dueq.core.namespace import Namespace

How = Literal["before", "after", "unnoticed"]
"""The k-th command is not sent; it is sent, but its reply is lost; it and all later commands are silently lost."""


class Cut:
    """Counts the commands of a namespace's connections. The connection that sends the ``at``-th is lost (0: none)."""

    def __init__(self, at: int = 0, how: How = "before") -> None:
        self.at, self.how, self.sent = at, how, 0


def severed(namespace: Namespace, cut: Cut) -> Namespace:
    """``namespace``, with new connections of which one is lost as ``cut`` says."""
    pool = namespace.client.connection_pool
    pool.disconnect()
    pool.reset()
    base: type[Any] = pool.connection_class

    class Severed(base):  # type: ignore[misc]
        _lost = False

        def send_command(self, *args: Any, **kwargs: Any) -> None:
            cut.sent += 1
            hit = cut.sent == cut.at
            self._lost = self._lost or (hit and cut.how == "unnoticed")
            if self._lost:
                return
            if hit and cut.how == "before":
                self.disconnect()
                raise ConnectionError("lost before it was sent")
            super().send_command(*args, **kwargs)
            if hit:
                self.read_response(disable_decoding=True)  # so that Redis has certainly executed it
                self.disconnect()

    pool.connection_class = Severed
    return namespace
