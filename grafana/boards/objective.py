"""The objective for lateness, said once: the recording rules, the alerts and the dashboards all go by it."""

from __future__ import annotations

OBJECTIVE = 0.999
"""Share of task starts that are to be on time. The rest is the error budget."""

# Bucket bounds of dueq_task_lateness_seconds, spelt as the page spells them: between bounds nothing can be read off.
ON_TIME = "1.0"
"""Seconds late at which a start is still on time."""
ON_TIME_BUCKETS = "2.5"
"""The same under the strategy ``buckets``, which by its nature may be a second late."""

PROMISED_RECOVERY = {"worker_lost": "1.0", "lease_expired": "15.0"}
"""Seconds within which lost work is promised to run again, by how it was lost: same host, and host gone."""

WINDOWS = ("5m", "30m", "1h", "6h", "3d")
"""Those of the burn-rate alerts: a long one says that it matters, a short one that it still goes on."""
