"""Measured values in words, for readers who do not know how Python writes its values."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def spelled(value: object) -> str:
    """``value`` for people: ``worker_lost 3, lease_expired 1``; ``none`` for None or empty; ``yes`` for True."""
    match value:
        case str():
            return value
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case Mapping():
            return ", ".join(f"{spelled(name)} {spelled(item)}" for name, item in value.items()) or "none"
        case Collection():
            return ", ".join(map(spelled, value)) or "none"
        case BaseException():
            return f"{type(value).__name__}: {value}"
    return str(value)
