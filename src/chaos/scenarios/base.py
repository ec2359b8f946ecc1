"""The type of a scenario."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..stage import Stage


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fault, and what is expected under it. ``play`` does everything from the first host to ``Stage.finish``.

    ``causes`` are the causes that duplicates may have. In every scenario no task may be lost, and every duplicate must
    have a cause. ``play`` checks what else is expected.
    """

    name: str
    fault: str
    expected: str
    play: Callable[[Stage], None]
    causes: frozenset[str] = frozenset()
    options: Mapping[str, str] = field(default_factory=dict)
    """Settings of the scenario's Redis."""
    tasks: int | None = None
    """How many tasks, if other than the default."""
    loses: bool = False
    """Whether Redis itself loses data, so that some tasks may be lost. ``play`` then checks which may not."""
    skews_clocks: bool = False
    """Whether the hosts' clocks are wrong. Tasks may then start early if the store goes by the hosts' clocks."""


LOST_OWNER = frozenset({"worker_lost", "lease_expired"})
