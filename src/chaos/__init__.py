"""Chaos runs: a real dueq under injected faults, judged by a ledger that the tasks themselves write."""

OWN_APP_VARIABLE = "DUEQ_CHAOS_APP"
"""Environment variable that says which application ``watched`` puts a ledger around."""
