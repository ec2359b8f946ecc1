"""A connection that is lost at its k-th command, noticed at once, by its answer, or not at all."""

from __future__ import annotations

from typing import Any, Literal

from redis.exceptions import ConnectionError

from dueq.core.namespace import Namespace

How = Literal["before", "after", "unnoticed"]
"""The k-th command does not get there; it does, but its answer does not come; it and all that follow go nowhere."""


class Cut:
    """Counts the commands of a namespace's connections and loses one, once: that which sends the ``at``-th; 0: none."""

    def __init__(self, at: int = 0, how: How = "before") -> None:
        self.at, self.how, self.sent = at, how, 0


def severed(namespace: Namespace, cut: Cut) -> Namespace:
    """``namespace``, one of whose connections from now on is lost as ``cut`` says."""
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
                self.read_response(disable_decoding=True)  # so that Redis has done it for certain
                self.disconnect()

    pool.connection_class = Severed
    return namespace
