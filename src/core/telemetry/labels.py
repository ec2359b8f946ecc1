"""Names as label values of metrics: the first hundred that a process meets, and ``other`` for the rest.

Every label value is a series for ever, in the process, on the page and in Prometheus. What is known at the start comes
first, so that all processes of a supervisor name the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable

OTHER = "other"
MOST = 100


class Names:
    """Which names of one kind, such as queues, are label values."""

    def __init__(self, known: Iterable[str] = (), most: int = MOST) -> None:
        self._most = most
        self._named: dict[str, None] = dict.fromkeys(list(dict.fromkeys(known))[:most])

    def of(self, name: str) -> str:
        """``name``, or ``other`` if there are too many."""
        if name in self._named:
            return name
        if len(self._named) >= self._most:
            return OTHER
        self._named[name] = None
        return name

    def all(self) -> list[str]:
        """The names that are label values so far, in the order in which they were met."""
        return list(self._named)
