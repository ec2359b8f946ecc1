"""Times and durations as people read them."""

from __future__ import annotations

from ..core.clock import datetime_of


def timestamp(micros: int | None) -> str | None:
    """Epoch microseconds as ISO 8601 in UTC."""
    return None if micros is None else datetime_of(micros).isoformat()


def moment(micros: int) -> str:
    """The same for people, to the second."""
    return f"{datetime_of(micros):%Y-%m-%d %H:%M:%SZ}"


def duration(seconds: float) -> str:
    """``seconds`` for people: 0.25 s, 42 s, 3 m 20 s, 2 h 5 m, 4 d 1 h."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    rounded = round(seconds)
    for big, big_s, small, small_s in (("d", 86_400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if rounded >= big_s:
            rest = rounded % big_s // small_s
            return f"{rounded // big_s} {big}" + (f" {rest} {small}" if rest else "")
    return f"{rounded} s"
