"""What a scenario is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..stage import Stage


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fault and what is expected under it. ``play`` does everything from the first host to ``Stage.finish``.

    ``causes`` are those that duplicates may have. Whatever the scenario, no task may be lost and every duplicate must
    have a cause; what else is expected, ``play`` checks.
    """

    name: str
    fault: str
    expected: str
    play: Callable[[Stage], None]
    causes: frozenset[str] = frozenset()
    options: Mapping[str, str] = field(default_factory=dict)
    """Settings of the scenario's Redis."""
    tasks: int | None = None
    """How many tasks, if not as many as others."""
    loses: bool = False
    """Whether Redis itself loses data, so that some tasks may be lost: ``play`` says which may not."""
    skews_clocks: bool = False
    """Whether the hosts' clocks are wrong, so that tasks start early where those are all that a strategy has."""


LOST_OWNER = frozenset({"worker_lost", "lease_expired"})
