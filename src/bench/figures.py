"""A figure: a measured value, its floor (the best that this machine allows), and its target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Target:
    """The most, or the least, that a figure should be: in its own unit, or in multiples of its floor."""

    relation: Literal["≤", "≥"]
    limit: float
    of_floor: bool = False

    def spell(self, unit: str) -> str:
        """For people: ``≤ 3 × floor``, ``≥ 10,000/s``."""
        return (
            f"{self.relation} {self.limit:g} × floor" if self.of_floor else f"{self.relation} {spell(self.limit, unit)}"
        )

    def met(self, value: float, floor: float | None) -> bool | None:
        """Whether ``value`` meets the target; None if that needs a floor that is not known."""
        if self.of_floor and floor is None:
            return None
        limit = self.limit * floor if self.of_floor and floor is not None else self.limit
        return value <= limit if self.relation == "≤" else value >= limit


TARGETS: dict[tuple[str, str], Target] = {
    ("lateness", "started p50"): Target("≤", 3, of_floor=True),
    ("lateness", "started p99"): Target("≤", 4, of_floor=True),
    ("burst", "started"): Target("≥", 10_000),
    ("burst", "first started after"): Target("≤", 2),
    ("throughput", "done"): Target("≥", 20_000),
    ("throughput", "worker CPU a task"): Target("≤", 200),
    ("schedule", "one by one"): Target("≥", 0.9, of_floor=True),
    ("schedule", "bulk"): Target("≥", 40_000),
    ("idle", "commands a process"): Target("≤", 0.5),
    ("memory", "Redis a pending task"): Target("≤", 350),
    ("scale", "started p99, most ÷ fewest pending"): Target("≤", 1.5),
    ("scale", "Redis time a task, most ÷ fewest pending"): Target("≤", 1.5),
    ("throughput", "Redis CPU a task"): Target("≤", 35),
    ("throughput", "Redis commands a task"): Target("≤", 8),
    ("recovery", "run again p99"): Target("≤", 500),
    ("startup", "first start p50"): Target("≤", 800),
    ("restart", "run again max"): Target("≤", 1000),
}
"""By suite and figure."""

BEYOND: dict[str, frozenset[tuple[str, str]]] = {
    "buckets": frozenset(
        {
            *(("lateness", "started p50"), ("lateness", "started p99"), ("burst", "first started after")),
            ("throughput", "Redis commands a task"),
        }
    ),
    "keyspace": frozenset(
        {
            *(("lateness", "started p50"), ("lateness", "started p99")),
            *(("memory", "Redis a pending task"), ("throughput", "Redis commands a task")),
        }
    ),
}
"""The targets that a strategy cannot meet by its design: ``buckets`` waits for full seconds and counts what is in each,
``keyspace`` waits until Redis gets to an expired key, and has such a key beside the index for each task."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. ``floor`` is in the same unit; ``floor_name`` says what it is. A value of None is not known.

    Where the same figure is measured in several situations, ``at`` and ``at_what`` name the situation: ``1,000
    pending``, ``2 dispatchers``.
    """

    suite: str
    name: str
    value: float | None
    unit: str
    floor: float | None = None
    floor_name: str = ""
    at: int | None = None
    at_what: str = ""

    @property
    def target(self) -> Target | None:
        return TARGETS.get((self.suite, self.name))

    @property
    def ratio(self) -> float | None:
        """The value in multiples of its floor."""
        return self.value / self.floor if self.value is not None and self.floor else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None if there is no target, or if that is not known."""
        if self.target is None or self.value is None:
            return None
        return self.target.met(self.value, self.floor)

    def as_json(self, strategy: str) -> dict[str, Any]:
        """The figure of ``strategy`` as JSON values; numbers to six digits."""
        beyond = self.met is False and (self.suite, self.name) in BEYOND.get(strategy, ())
        return {
            "suite": self.suite,
            "name": self.name,
            "at": self.at,
            "at_what": self.at_what,
            "value": _short(self.value),
            "unit": self.unit,
            "floor": _short(self.floor),
            "floor_name": self.floor_name,
            "ratio": _short(self.ratio),
            "target": self.target.spell(self.unit) if self.target else None,
            "met": None if beyond else self.met,
            "beyond": beyond,
        }


def label(figure: Mapping[str, Any]) -> str:
    """The label of a figure of the JSON report: ``started p99, 1,000 pending``."""
    beside = "" if figure["at"] is None else f", {figure['at']:,} {figure['at_what']}"
    return f"{figure['name']}{beside}"


def spell(value: float | None, unit: str) -> str:
    """A number for people, to three digits and with its unit: ``1.62 ms``, ``12,300/s``; a dash for None."""
    if value is None:
        return "–"
    number = f"{value:,.0f}" if value == 0 or abs(value) >= 100 else f"{value:.3g}"
    return f"{number}{unit}" if unit.startswith("/") else f"{number} {unit}".rstrip()


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
