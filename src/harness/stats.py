"""Percentiles by nearest rank: each is a value that occurred."""

from __future__ import annotations

import math
from collections.abc import Sequence

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "max": 1.0}


def quantile(ordered: Sequence[float], q: float) -> float | None:
    """The smallest of the ``ordered`` values that at least the share ``q`` of them does not exceed; None if empty."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else None


def summary_ms(values_us: Sequence[float]) -> dict[str, float | None]:
    """p50, p95, p99 and max in milliseconds of values in microseconds; None where there are no values."""
    ordered = sorted(values_us)
    found = {name: quantile(ordered, q) for name, q in QUANTILES.items()}
    return {name: None if value is None else round(value / 1000, 3) for name, value in found.items()}
