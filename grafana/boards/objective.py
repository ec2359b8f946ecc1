"""The objective for lateness, defined once, for the recording rules, the alerts and the dashboards."""

from __future__ import annotations

OBJECTIVE = 0.999
"""The share of task starts that must be on time. The rest is the error budget."""

# These must be bucket bounds of dueq_task_lateness_seconds, written as the metrics page writes them.
ON_TIME = "1.0"
"""Up to so many seconds late, a start is on time."""
ON_TIME_BUCKETS = "2.5"
"""The same under the strategy ``buckets``, which may be a second late by design."""

PROMISED_RECOVERY = {"worker_lost": "1.0", "lease_expired": "15.0"}
"""Seconds within which dueq promises to run lost tasks again: after the loss of a worker, and of its whole host."""

WINDOWS = ("5m", "30m", "1h", "6h", "3d")
"""The windows of the burn-rate alerts. A long window shows that it matters, a short one that it still goes on."""
