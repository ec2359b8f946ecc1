"""Chaos runs: a real dueq under injected faults, judged by a ledger that the tasks themselves write."""

OWN_APP_VARIABLE = "DUEQ_CHAOS_APP"
"""Environment variable that names the application whose tasks ``watched`` records in a ledger."""
